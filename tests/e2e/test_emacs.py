"""Emacs with eglot, configured as docs/editors.md says: a line is completed and written."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from e2e.conftest import had
from e2e.homes import rows
from e2e.install.emacs import emacs, run_batch
from neuralforge_adapters.home import Home

DOCUMENT = Path(__file__).parents[2] / "docs/editors.md"
TEXT = """# Readers, in a file of Emacs.


def read_text(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def read_lines(path):
    wi"""
BEHAVE_AS_TYPED = """
(setq eglot-sync-connect 120)
(find-file (getenv "SOURCE"))
(apply #'eglot (eglot--guess-contact))
(goto-char (point-max))
(completion-at-point)
(save-buffer)
(jsonrpc-request (eglot-current-server) :workspace/executeCommand
                 '(:command "neuralforge.status" :arguments []))
"""
"""The last answer comes when the log is written; ending, Emacs does not wait for the server."""


def test_eglot_completes_a_line_and_reports_it(home: Home, tmp_path: Path) -> None:
    root = had(emacs)
    (lisp,) = re.findall(r"```elisp\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    source, script = tmp_path / "source.py", tmp_path / "try.el"
    source.write_text(TEXT)
    script.write_text(lisp.replace("(add-hook", ";(add-hook") + BEHAVE_AS_TYPED)
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": programs, "HOME": str(tmp_path), "SOURCE": str(source)}
    done = run_batch(root, script, environment)
    last = source.read_text().splitlines()[-1]
    assert last == '    with open(path, encoding="utf-8") as handle:', done.stderr
    assert [row.outcome for row in rows(home, source)] == ["accepted"]
