"""Measures in a real Neovim: from a keystroke to ghost text on the screen.

`PYTHONPATH=tests python -m e2e.nvim.latency [n]` types one character into a text that the server
has not seen, n times by each drawing in turn, and prints the percentiles and the server's share.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from e2e.install.neovim import neovim
from e2e.nvim.conftest import PATIENT, READERS, Desk, open_desk
from neuralforge_adapters.home import Home

_SAMPLES = 50
_CHANGE = "vim.api.nvim_buf_set_lines(0, 0, 1, true, { '# Readers, as of ' .. ... })"
_SHOW = "vim.api.nvim_set_hl(0, 'ComplHint', { link = 'NeuralForgeGhost' })"


def measure(desk: Desk, number: int) -> tuple[float, float]:
    """Milliseconds until ghost text is drawn, and what the server says of its own."""
    nvim = desk.nvim
    nvim.type("<Esc>")
    nvim.lua(_CHANGE, str(number))
    nvim.command("normal! G0D")
    nvim.type("iw<Esc>")
    nvim.look()
    nvim.wait("nothing on show", lambda: not nvim.ghost())
    began = time.perf_counter()
    nvim.type("ai")
    nvim.wait("ghost text", nvim.ghost)
    shown = (time.perf_counter() - began) * 1000
    return shown, desk.execute("log.show", {"limit": 1})["rows"][0]["latency_ms"]


def _percentiles(name: str, values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=20)
    middle = statistics.median(values)
    return f"{name}: p50 {middle:.0f} ms, p5 {cuts[0]:.0f}, p95 {cuts[-1]:.0f}, n = {len(values)}"


def main() -> None:
    """Measure both, alternating."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _SAMPLES
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        desks = {
            drawing: open_desk(
                neovim(), Path(folder) / drawing, home, {"ghost_text": drawing, "settings": PATIENT}
            )
            for drawing in ("own", "builtin")
        }
        taken: dict[str, list[tuple[float, float]]] = {drawing: [] for drawing in desks}
        for desk in desks.values():
            desk.nvim.lua(_SHOW)
            desk.open("source.py", READERS + "    \n")
            desk.type_until_ghost("Gowi")
        for number in range(count):
            for drawing, desk in desks.items():
                taken[drawing].append(measure(desk, number))
        for drawing, pairs in taken.items():
            print(_percentiles(f"{drawing}, keystroke to screen", [shown for shown, _ in pairs]))
            print(_percentiles(f"{drawing}, server's own", [server for _, server in pairs]))
            print(_percentiles(f"{drawing}, the rest", [shown - server for shown, server in pairs]))
        for desk in desks.values():
            desk.nvim.close()


if __name__ == "__main__":
    main()
