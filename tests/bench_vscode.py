"""How long a key takes to its ghost text on the screen, in a real VS Code with the real server.

Run it as `python tests/bench_vscode.py`. Each key is timed in the page itself: from its keydown
event to the first change of the page after which ghost text is drawn. VS Code waits 50 ms after a
key before it asks (its own debounce); what is left is the extension, the server and the drawing.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from e2e.install.extension import vsix
from e2e.install.vscode import vscode
from e2e.vscode.conftest import READERS, SETTINGS
from e2e.vscode.driver import BROWSER_ARGUMENTS, CodeServer

DEBOUNCE_MS = 50
_KEYS = "with open(path, encodin"
_ROUNDS = 3
_WATCH = """() => {
  const drawn = () => document.querySelector('.ghost-text-decoration') !== null;
  let pressed = null;
  window.spent = [];
  document.addEventListener('keydown', event => {
    if (event.key.length === 1 && !event.ctrlKey && !drawn()) pressed = performance.now();
  }, true);
  new MutationObserver(() => {
    if (pressed === null || !drawn()) return;
    window.spent.push(performance.now() - pressed);
    pressed = null;
  }).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


def main() -> None:
    """Measure, and print the figures as JSON."""
    program, root = vscode(), Path(tempfile.mkdtemp())
    code = CodeServer(program, root / "code", {"NEURALFORGE_HOME": str(root / "home")})
    code.configure(SETTINGS)
    code.install(vsix())
    code.start()
    (root / "work").mkdir()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program.chromium, args=BROWSER_ARGUMENTS
            )
            with code.window(browser, root / "work") as window:
                window.page.evaluate(_WATCH)
                for turn in range(_ROUNDS):
                    file = root / "work" / f"readers{turn}.py"
                    file.write_text(READERS)
                    window.show(file)
                    window.press("Control+End")
                    for key in _KEYS:
                        _press(window.page, key)
                spent: list[float] = window.page.evaluate("() => window.spent")
            browser.close()
    finally:
        code.stop()
    json.dump(_figures(spent), sys.stdout, indent=2)


def _press(page: Page, key: str) -> None:
    """One key where no ghost text is on show; the ghost text that comes is put away again."""
    before = page.evaluate("() => window.spent.length")
    page.keyboard.type(key)
    page.wait_for_function(f"() => window.spent.length > {before}")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.querySelector('.ghost-text-decoration') === null")


def _figures(spent: list[float]) -> dict[str, object]:
    cuts = statistics.quantiles(spent, n=20)
    return {
        "n": len(spent),
        "p50_ms": round(statistics.median(spent), 1),
        "p95_ms": round(cuts[18], 1),
        "lowest_ms": round(min(spent), 1),
        "p50_without_debounce_ms": round(statistics.median(spent) - DEBOUNCE_MS, 1),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
