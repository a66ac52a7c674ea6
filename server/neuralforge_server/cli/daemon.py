"""`neuralforge daemon`: learn in the background without an editor.

The settings file is a JSON object with the editor's settings and a list `repositories`; without
one it is `daemon.json` in the profile's folder, if that is there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from neuralforge_adapters.home import Home
from neuralforge_server.cli.common import base_option, profile_option
from neuralforge_server.errors import DaemonError
from neuralforge_server.learning.trainer_process import require_packages
from neuralforge_server.settings import Settings, parse

_SETTINGS_FILE = "daemon.json"


@click.command(name="daemon", epilog="Example: neuralforge daemon ~/src/one ~/src/two")
@click.argument("repositories", nargs=-1, type=click.Path(path_type=Path))
@click.option("--settings", type=click.Path(path_type=Path), metavar="FILE", help="A JSON file.")
@click.option("--once", is_flag=True, help="Learn what can be learnt now, then end.")
@base_option
@profile_option
def command(
    repositories: tuple[Path, ...], settings: Path | None, once: bool, base: Path | None, home: Home
) -> None:
    """Learn from REPOSITORIES and from datasets that are put into the inbox.

    Naming a repository here, or in the settings file, is the yes to learning from it. Trainings
    start and wait as they do behind an editor: while nobody types, on mains power, within the
    hours and the budget of the settings. A dataset in the inbox goes to its folder `done` or
    `rejected`, with the reason in a file beside it. SIGTERM ends the daemon; a training that runs
    keeps its checkpoint, and the next daemon goes on.
    """
    from neuralforge_server.learning.daemon import Daemon, only_daemon

    require_packages()
    chosen, named, problems = read_settings(settings, home)
    for problem in problems:
        _say(f"warning: {problem}")
    roots = [_root(path) for path in (*repositories, *named)]
    with only_daemon(home):
        daemon = Daemon(home, chosen, tuple(dict.fromkeys(roots)), _say, base)
        asyncio.run(daemon.run(once=once))


def read_settings(path: Path | None, home: Home) -> tuple[Settings, Sequence[Path], list[str]]:
    """(settings, repositories, what is wrong with the file).

    Raises:
        DaemonError: the file cannot be read, or is not a JSON object.
    """
    file = path or home.profile_dir / _SETTINGS_FILE
    if path is None and not file.exists():
        return Settings(), (), []
    try:
        content: Any = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DaemonError(f"cannot read the settings file {file}: {error}") from error
    if not isinstance(content, dict):
        raise DaemonError(f"the settings file {file} holds no JSON object")
    named = content.pop("repositories", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise DaemonError(f"`repositories` in {file} must be a list of paths, not {named!r:.60}")
    settings, problems = parse(content)
    return settings, [file.parent / Path(name).expanduser() for name in named], problems


def _root(path: Path) -> Path:
    """The repository that a path lies in.

    Raises:
        DaemonError: it is no folder, or lies in none.
    """
    from neuralforge_server.session.exclude import find_repository  # slow to import

    folder = path.expanduser().absolute()
    root = find_repository(folder) if folder.is_dir() else None
    if root is None:
        raise DaemonError(f"{path} is no folder of a git repository; name one")
    return root


def _say(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)
