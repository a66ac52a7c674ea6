"""What examines Lua: luacheck from Debian, and StyLua's build for WebAssembly from npm."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from e2e.install.cache import InstallError, installed
from e2e.install.debian import unpack
from e2e.install.node import Node, node

_STYLUA = "2.5.2"
_UNFORMATTED = """
import { readFileSync } from 'node:fs';
import * as stylua from '@johnnymorganz/stylua';
const [settings, ...paths] = process.argv.slice(1);
const kinds = { indent_type: stylua.IndentType, quote_style: stylua.QuoteStyle };
const configured = () => {  // anew for each file, since formatting takes it away
  const config = stylua.Config.new();
  for (const [name, value] of Object.entries(JSON.parse(settings))) {
    config[name] = name in kinds ? kinds[name][value] : value;
  }
  return config;
};
const differs = path => {
  const code = readFileSync(path, 'utf8');
  const none = stylua.OutputVerification.None;
  return stylua.formatCode(code, configured(), undefined, none) !== code;
};
console.log(JSON.stringify(paths.filter(differs)));
"""


def luacheck(folder: Path) -> subprocess.CompletedProcess[str]:
    """Let luacheck examine a folder, by its `.luacheckrc`.

    Raises:
        InstallError: there is none for this machine.
    """
    if sys.platform != "linux":
        raise InstallError("luacheck is installed on Linux only")
    root = installed("luacheck-stable", lambda path: unpack(path, "stable", "lua-check")) / "root"
    libraries, modules = root / "usr/lib/x86_64-linux-gnu", root / "usr/share/lua/5.1"
    loader = [root / "usr/lib64/ld-linux-x86-64.so.2", "--library-path", libraries]
    return subprocess.run(
        [*loader, root / "usr/bin/lua5.1", root / "usr/bin/luacheck", "--no-color", "."],
        cwd=folder,
        env={
            "LUA_PATH": f"{modules}/?.lua;{modules}/?/init.lua",
            "LUA_CPATH": f"{libraries}/lua/5.1/?.so",
        },
        capture_output=True,
        text=True,
    )


def unformatted(folder: Path) -> list[str]:
    """The Lua files of a folder that StyLua would write otherwise, by its `.stylua.toml`.

    Raises:
        InstallError: it cannot be had.
    """
    javascript = node()
    stylua = installed(f"stylua-{_STYLUA}", lambda path: _stylua(path, javascript))
    settings = tomllib.loads((folder / ".stylua.toml").read_text(encoding="utf-8"))
    done = subprocess.run(
        [javascript.program, "--input-type=module", "--eval", _UNFORMATTED, json.dumps(settings),
         *sorted(folder.rglob("*.lua"))],
        cwd=stylua, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(done.stdout)
    return found


def _stylua(folder: Path, javascript: Node) -> None:
    (folder / "package.json").write_text(json.dumps({"private": True}))
    javascript.npm(["install", "--ignore-scripts", f"@johnnymorganz/stylua@{_STYLUA}"], folder)
