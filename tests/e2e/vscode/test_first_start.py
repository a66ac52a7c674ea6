"""VS Code: the first start on a machine without the server, and what can go wrong then."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from e2e.package_index import PackageIndex
from e2e.vscode.conftest import READERS, SETTINGS, Desk, Start
from e2e.vscode.driver import READY, Window

pytestmark = pytest.mark.slow

PYTHON = str(Path(sys.base_prefix) / "bin/python3")
_ALONE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_QUIET": "3",
    "PIP_RETRIES": "0",
}
"""pip with no other source than the one of the settings, and silent."""
_INSTALL_MS = 280_000


def without_server() -> dict[str, str]:
    """An environment in which no `neuralforge` is found."""
    folders = os.environ["PATH"].split(os.pathsep)
    return {"PATH": os.pathsep.join(f for f in folders if not (Path(f) / "neuralforge").exists())}


def settings(**own: str) -> dict[str, Any]:
    kept = {name: value for name, value in SETTINGS.items() if "server.path" not in name}
    return kept | {f"neuralforge.server.{name}": value for name, value in own.items()}


def agree(window: Window) -> None:
    offer = window.notice("NeuralForge needs its server")
    expect(offer).to_be_visible(timeout=60_000)
    offer.get_by_role("button", name="Install Without Training").click()


def test_without_a_source_it_is_said_what_to_set_and_nothing_is_installed(start: Start) -> None:
    """On the public index the server's name is another project's."""
    desk = start(without_server(), settings(python=PYTHON))
    with desk.window(ready=False) as window:
        expect(window.notice("an index that has it")).to_be_visible(timeout=60_000)
        expect(window.status()).to_contain_text("no server", timeout=60_000)


def test_the_server_is_installed_after_asking_and_works_at_once(
    start: Start, package_index: PackageIndex
) -> None:
    desk = start(without_server(), settings(index_url=package_index.url, python=PYTHON))
    with desk.window(ready=False) as window:
        expect(window.status()).to_contain_text("no server", timeout=60_000)
        assert package_index.requests == [] or "neuralforge" not in package_index.requests[-1]
        window.screenshot("install-offer")
        agree(window)
        expect(window.notice("Installing neuralforge")).to_be_visible(timeout=60_000)
        window.screenshot("install-progress")
        expect(window.status()).to_contain_text(READY, timeout=_INSTALL_MS)
        window.get_ready(desk.code.root / "scratch.py")
        window.show(desk.write(READERS))
        assert window.type_until_ghost("wi").strip()
        window.run("NeuralForge: What Is Logged, and Where")
        expect(window.webview.get_by_text(str(desk.home.root)).first).to_be_visible()


def test_uv_installs_it_where_there_is_uv(
    start: Start, package_index: PackageIndex, uv_folder: Path
) -> None:
    profile = f'PATH="{uv_folder}:$PATH"'  # VS Code takes the PATH of the user's login shell
    desk = start(without_server(), settings(index_url=package_index.url), profile)
    with desk.window(ready=False) as window:
        agree(window)
        expect(window.status()).to_contain_text(READY, timeout=_INSTALL_MS)
        (environment,) = desk.code.root.rglob("pyvenv.cfg")
        assert "uv = " in environment.read_text()
        window.get_ready(desk.code.root / "scratch.py")
        window.show(desk.write(READERS))
        assert window.type_until_ghost("wi").strip()


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (
            {"python": "/no/such/python", "index_url": "http://127.0.0.1:9/simple"},
            "There is no Python on this machine",
        ),
        # pip says it in warnings, which the user's own settings may keep from being printed
        ({"python": PYTHON, "index_url": "http://127.0.0.1:9/simple"}, "cannot be reached"),
    ],
    ids=["no Python", "no network"],
)
def test_an_installation_that_fails_says_the_step_that_mends_it(
    start: Start, own: dict[str, str], says: str
) -> None:
    desk = start(without_server() | _ALONE, settings(**own))
    with desk.window(ready=False) as window:
        agree(window)
        expect(window.notice(says)).to_be_visible(timeout=_INSTALL_MS)
        expect(window.status()).to_contain_text("no server")


def test_a_server_of_another_version_is_named(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "neuralforge"
    program.write_text(
        f"#!{sys.executable}\nfrom neuralforge_server import cli, lsp\n"
        "lsp.version = lambda _: '9.4.0'\ncli.main()\n"
    )
    program.chmod(0o755)
    desk: Desk = start(settings=SETTINGS | {"neuralforge.server.path": str(program)})
    with desk.window(ready=False) as window:
        expect(window.notice("The server is version 9.4.0")).to_have_count(1, timeout=60_000)
        window.get_ready(desk.code.root / "scratch.py")
        window.show(desk.write(READERS))
        assert window.type_until_ghost("wi").strip()
