"""The stacks that one loaded base can be served with.

Invariant: every loaded stack has a serial number that is never used again, so whatever is keyed
by it (the KV cache) belongs to exactly these weights, even if another stack is given the same
digest or a file is replaced under its name. The plain base is always there. Knows no cache.
"""

from __future__ import annotations

import ctypes
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp

from neuralforge_adapters.convert import check_adapter
from neuralforge_adapters.errors import AdapterError, StackError
from neuralforge_adapters.fold import fold
from neuralforge_adapters.stack import ResolvedStack

KEPT_STACKS = 8
"""Loaded at a time, besides the plain base; the one put in force longest ago goes first."""

FileKey = tuple[str, int, int]
"""Path, size and time of change."""


@dataclass(frozen=True)
class LoadedStack:
    """Adapters as llama.cpp holds them."""

    serial: int
    digest: str
    content: tuple[tuple[FileKey, float], ...]
    adapter: Any
    """llama.cpp's handle of the one, or folded, adapter; None for the plain base."""
    scale: float


class Stacks:
    """Loads, switches and frees stacks of one model and context."""

    def __init__(
        self, model: Any, context: Any, base_digest: str, on_drop: Callable[[int], None]
    ) -> None:
        self._model = model
        self._context = context
        self._base_digest = base_digest
        self._on_drop = on_drop
        self._serials = itertools.count(1)
        self._plain = LoadedStack(0, ResolvedStack().digest, (), None, 1.0)
        self._loaded: dict[str, LoadedStack] = {}
        self._checked: set[FileKey] = set()
        self._computing = self._plain
        self.current = self._plain
        """What requests get that name none."""

    def put_in_force(self, adapters: Sequence[tuple[str, float]], digest: str) -> None:
        """Make `adapters` (path, scale) the current stack, or leave everything as it was.

        Raises:
            AdapterError: a file is missing, damaged, not finite, or for another base.
        """
        if not adapters:
            self.current = self._plain
            return
        content = tuple((_file_key(path), scale) for path, scale in adapters)
        known = self._loaded.pop(digest, None)
        if known is not None and known.content == content:
            self.current = self._loaded[digest] = known
            return
        try:
            self.current = self._load(content, digest)
        except BaseException:
            if known is not None:
                self._loaded[digest] = known
            raise
        if known is not None:
            self._drop(known)
        self._loaded[digest] = self.current
        while len(self._loaded) > KEPT_STACKS:
            self._drop(self._loaded.pop(next(iter(self._loaded))))

    def holds(self, digest: str) -> bool:
        """Whether `use` would find this stack."""
        return digest in ("", self.current.digest, self._plain.digest) or digest in self._loaded

    def use(self, digest: str) -> LoadedStack:
        """Compute with the stack called `digest` from now on; with the current one where empty.

        Raises:
            StackError: no such stack is loaded (any more).
        """
        if digest in ("", self.current.digest):
            stack = self.current
        elif digest == self._plain.digest:
            stack = self._plain
        elif digest in self._loaded:
            stack = self._loaded[digest]
        else:
            raise StackError(f"the stack {digest} is not loaded any more; put it in force again")
        self._switch(stack)
        return stack

    def _switch(self, stack: LoadedStack) -> None:
        if stack is self._computing:
            return
        count = 0 if stack.adapter is None else 1
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * count)(*[stack.adapter] * count)
        scales = (ctypes.c_float * count)(*[stack.scale] * count)
        if llama_cpp.llama_set_adapters_lora(self._context, handles, count, scales) != 0:
            raise StackError("llama.cpp refused the stack; take out the adapter added last")
        self._computing = stack

    def _load(self, content: tuple[tuple[FileKey, float], ...], digest: str) -> LoadedStack:
        for key, _ in content:
            if key not in self._checked:
                check_adapter(Path(key[0]), self._base_digest)
                self._checked.add(key)
        wanted = [(Path(path), scale) for (path, _, _), scale in content if scale != 0]
        adapter, factor = None, 1.0
        if len(wanted) == 1:
            adapter, factor = self._load_adapter(wanted[0][0], str(wanted[0][0])), wanted[0][1]
        elif wanted:
            adapter = self._load_folded(wanted)
        return LoadedStack(next(self._serials), digest, content, adapter, factor)

    def _load_folded(self, adapters: Sequence[tuple[Path, float]]) -> Any:
        with tempfile.TemporaryDirectory(prefix="neuralforge-") as folder:
            folded = Path(folder) / "folded.gguf"
            fold(adapters, folded)
            return self._load_adapter(folded, ", ".join(str(path) for path, _ in adapters))

    def _load_adapter(self, path: Path, name: str) -> Any:
        handle = llama_cpp.llama_adapter_lora_init(self._model, str(path).encode())
        if not handle:
            raise AdapterError(
                f"llama.cpp cannot load the adapter {name}: its shapes do not fit this base; "
                "choose the base that it was trained for"
            )
        return handle

    def _drop(self, stack: LoadedStack) -> None:
        if stack is self._computing:
            self._switch(self._plain)
        if stack.adapter is not None:
            llama_cpp.llama_adapter_lora_free(stack.adapter)
        self._on_drop(stack.serial)


def _file_key(path: str) -> FileKey:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise AdapterError(f"adapter {path}: {error.strerror}; load an existing file") from error
    return path, stat.st_size, stat.st_mtime_ns
