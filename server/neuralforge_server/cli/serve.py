"""`neuralforge serve`: the language server, on stdio or one TCP connection."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from neuralforge_adapters.home import Home
from neuralforge_server.cli.common import (
    adapter_option,
    base_option,
    profile_option,
    stack_entry,
)
from neuralforge_server.options import ServeOptions
from neuralforge_server.serving import serve


@click.command(name="serve", epilog="Example: neuralforge serve --adapter team.lora*0.5")
@base_option
@adapter_option
@profile_option
@click.option(
    "--engine",
    "endpoint",
    default="",
    metavar="URL",
    help="Compute there instead: a llama-server or an OpenAI-compatible server.",
)
@click.option("--tcp", metavar="HOST:PORT", help="Listen there instead; port 0 picks a free one.")
@click.option("--stdio", is_flag=True, help="Speak on stdin and stdout (the default).")
@click.option("--verbose", "-v", is_flag=True, help="Log more to stderr.")
def command(
    base: Path | None,
    adapters: tuple[str, ...],
    home: Home,
    endpoint: str,
    tcp: str | None,
    stdio: bool,
    verbose: bool,
) -> None:
    """Serve completions to an editor over LSP, until it leaves."""
    if stdio and tcp:
        raise click.UsageError("--stdio and --tcp exclude each other")
    if verbose:
        logging.getLogger("neuralforge_server").setLevel(logging.DEBUG)
    options = ServeOptions(
        base=base,
        adapters=tuple(map(stack_entry, adapters)),
        endpoint=endpoint,
        profile=home.profile,
        tcp=None if tcp is None else _address(tcp),
    )
    try:
        sys.exit(serve(options))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {tcp}: {error}") from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, for example 127.0.0.1:7007")
    return host.strip("[]") or "127.0.0.1", int(port)
