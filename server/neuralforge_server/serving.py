"""Starting a server: the engine's process first, so that it loads while the rest is imported.

Knows no protocol: pygls is imported only once the engine is on its way.
"""

from __future__ import annotations

import asyncio
import gc
import sys

from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.home import Home
from neuralforge_server.host import EngineHost, engine_options
from neuralforge_server.notice import Notice
from neuralforge_server.options import ServeOptions
from neuralforge_server.settings import EngineSettings

_SWITCH_SECONDS = 0.0005
"""How long a thread that scrubs or writes may hold up the event loop; Python's own is 5 ms."""


def serve(options: ServeOptions) -> int:
    """Serve one editor until it leaves; returns the exit status.

    Raises:
        BaseFileError, HomeError: there is no base at all, or the profile cannot be used.
        OSError: the TCP address cannot be bound.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    return asyncio.run(_serve(options))


async def _serve(options: ServeOptions) -> int:
    early: list[Notice] = []
    home = Home.find(options.profile)
    settings = EngineSettings(endpoint=options.endpoint)
    try:
        first = engine_options(settings, options.base, home)
    except BaseFileError:  # the client is told when the settings are followed
        first = engine_options(settings, None, home)
    host = EngineHost(first, home, options.adapters, early.append)
    await asyncio.sleep(0)  # lets the engine's process start
    from neuralforge_server.app import App
    from neuralforge_server.lsp import Server

    server = Server(App(options, host))
    gc.freeze()  # a collection need not walk over the protocol's thousands of classes
    host.notify = server.app.notice
    for notice in early:
        server.app.link.show(notice)
    return await server.run()
