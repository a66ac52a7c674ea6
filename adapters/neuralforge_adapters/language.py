"""The language of a file, by its name: the language ids of the Language Server Protocol.

Invariant: only files of code have a language; prose, data and configuration have none, and
are never trained on. Knows no file's content.
"""

from __future__ import annotations

from pathlib import PurePosixPath

_BY_SUFFIX = {
    "bash": "shellscript",
    "c": "c",
    "cc": "cpp",
    "clj": "clojure",
    "cpp": "cpp",
    "cs": "csharp",
    "css": "css",
    "cxx": "cpp",
    "dart": "dart",
    "erl": "erlang",
    "ex": "elixir",
    "exs": "elixir",
    "fs": "fsharp",
    "go": "go",
    "h": "c",
    "hh": "cpp",
    "hpp": "cpp",
    "hs": "haskell",
    "html": "html",
    "java": "java",
    "jl": "julia",
    "js": "javascript",
    "jsx": "javascriptreact",
    "kt": "kotlin",
    "kts": "kotlin",
    "lua": "lua",
    "m": "objective-c",
    "mjs": "javascript",
    "ml": "ocaml",
    "nix": "nix",
    "php": "php",
    "pl": "perl",
    "pm": "perl",
    "ps1": "powershell",
    "py": "python",
    "pyi": "python",
    "pyx": "python",
    "r": "r",
    "rb": "ruby",
    "rs": "rust",
    "sass": "sass",
    "scala": "scala",
    "scss": "scss",
    "sh": "shellscript",
    "sql": "sql",
    "svelte": "svelte",
    "swift": "swift",
    "tf": "terraform",
    "ts": "typescript",
    "tsx": "typescriptreact",
    "vim": "viml",
    "vue": "vue",
    "zig": "zig",
    "zsh": "shellscript",
}
_BY_NAME = {"Dockerfile": "dockerfile", "Makefile": "makefile", "CMakeLists.txt": "cmake"}


def language_of(path: str) -> str | None:
    """The LSP language id of the file at `path` ('/' between folders); None if it is not code."""
    name = PurePosixPath(path)
    return _BY_NAME.get(name.name) or _BY_SUFFIX.get(name.suffix[1:].lower())
