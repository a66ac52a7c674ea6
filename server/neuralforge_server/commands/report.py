"""The command that writes the report."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralforge_server.app import App
from neuralforge_server.commands.arguments import options, text
from neuralforge_server.commands.shared import writer_of
from neuralforge_server.documents import uri_path

if TYPE_CHECKING:
    from neuralforge_server.recorder import Recorder


async def write(app: App, arguments: list[Any]) -> Any:
    """`[{path?}]` → `path` and `uri` of a page of HTML that stands on its own, and its `html`."""
    given = options(arguments, {"path"}).get("path")
    named = None if given is None else text([given], 0, "path")
    home, base = app.host.home, app.host.engine.options.base

    def read(recorder: Recorder) -> Any:
        from neuralforge_server.report.figures import read_figures  # slow to import

        return read_figures(home, recorder.log, base)

    def keep() -> tuple[Path, str]:
        from neuralforge_server.report.page import report_file, write_report

        path = report_file(home) if named is None else Path(uri_path(named) or named).absolute()
        return path, write_report(figures, path)

    figures = await writer_of(app).ask(read)
    path, html = await asyncio.to_thread(keep)
    return {"path": str(path), "uri": path.as_uri(), "html": html}
