"""A real server over stdio: one for each test file, or one of its own for a test that breaks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from neuralforge_adapters.home import Home
from neuralforge_server.lsp_client import LspClient

Starter = Callable[..., Awaitable[LspClient]]

BASE_ALONE: dict[str, Any] = {"memory": {"scale": 0}, "context": {"enabled": False}}
"""Settings under which a text depends on the document and the base alone."""


@pytest.fixture(scope="module")
def editor_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home of the file's shared server."""
    return Home(tmp_path_factory.mktemp("home"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def editor(editor_home: Home) -> AsyncIterator[LspClient]:
    """The file's shared server, initialised; its texts come from the base alone."""
    async with LspClient(home=editor_home.root, settings=BASE_ALONE) as client:
        await client.initialize()
        yield client


@pytest_asyncio.fixture
async def start(home: Home) -> AsyncIterator[Starter]:
    """Start servers of a test's own: `await start(*arguments, initialize=..., ...)`."""
    async with AsyncExitStack() as stack:

        async def starter(*arguments: str, initialize: Any = True, **options: Any) -> LspClient:
            client = LspClient(arguments or ("serve",), **{"home": home.root, **options})
            await stack.enter_async_context(client)
            if initialize:
                await client.initialize(**(initialize if isinstance(initialize, dict) else {}))
            return client

        yield starter


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file outside any repository, not on disk: only its path is used."""
    return tmp_path / "source.py"
