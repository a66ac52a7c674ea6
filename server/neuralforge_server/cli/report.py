"""`neuralforge report`: what was suggested, taken and kept, as a page for a browser."""

from __future__ import annotations

from pathlib import Path

import click

from neuralforge_adapters.home import Home
from neuralforge_server.cli.common import profile_option
from neuralforge_server.report.figures import read_figures
from neuralforge_server.report.page import report_file, write_report
from neuralforge_server.session.log import SessionLog


@click.command(name="report", epilog="Example: neuralforge report --output report.html --open")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write it there instead of into the home.")  # fmt: skip
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@profile_option
def command(output: Path | None, show: bool, home: Home) -> None:
    """Write a page with acceptance, what was kept, latency, and your adapters' measurements.

    It holds figures alone, none of your code, and asks nothing of the network.
    """
    path = (output or report_file(home)).absolute()
    with SessionLog.open_to_read(home.session_log) as log:
        figures = read_figures(home, log)
    write_report(figures, path)
    click.echo(str(path))
    if show:
        click.launch(path.as_uri())
