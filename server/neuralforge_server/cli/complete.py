"""`neuralforge complete FILE:LINE:COLUMN`: one completion, without an editor."""

from __future__ import annotations

from pathlib import Path

import click

from neuralforge_adapters.base import open_base
from neuralforge_adapters.fim import Window, split_lines
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import StackFile, check_entries, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.cli.common import (
    adapter_option,
    base_option,
    json_option,
    print_json,
    profile_option,
    stack_entry,
)
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest
from neuralforge_server.engine.stopping import StopRules


@click.command(name="complete", epilog="Example: neuralforge complete src/app.py:12:9")
@click.argument("place", metavar="FILE:LINE:COLUMN")
@click.option("--lines", type=click.IntRange(1), default=1, show_default=True, help="At most.")
@base_option
@adapter_option
@profile_option
@json_option
def command(
    place: str,
    lines: int,
    base: Path | None,
    adapters: tuple[str, ...],
    home: Home,
    as_json: bool,
) -> None:
    """Complete once at PLACE; line and column count from 1, as compilers print them."""
    path, line, column = parse_place(place)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {path} as UTF-8 text: {error}") from error
    prefix, suffix = Window().cut(split_lines(text), line - 1, column - 1)
    entries = check_entries((*StackFile(home).read(), *map(stack_entry, adapters)))
    chosen = open_base(base, home)
    stack = resolve(entries, AdapterStore(home), chosen.digest)
    with EngineClient(chosen) as engine:
        engine.set_stack(stack)
        completion = engine.complete(CompleteRequest(prefix, suffix, rules=StopRules(lines)))
    if as_json:
        print_json({"place": place, "completion": completion, "stack": stack.describe()})
    else:
        click.echo(completion.text)


def parse_place(place: str) -> tuple[Path, int, int]:
    """Split FILE:LINE:COLUMN from the right, since a file's name may hold colons.

    Raises:
        click.BadParameter: line or column is missing or no positive number.
    """
    file, *numbers = place.rsplit(":", 2)
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise click.BadParameter(f"{place!r} is not FILE:LINE:COLUMN, for example app.py:12:9")
    return Path(file), int(numbers[0]), int(numbers[1])
