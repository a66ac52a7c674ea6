"""llama-server, built from the llama.cpp source inside the installed llama-cpp-python's sdist.

So both run the same kernels: the same source, the same compiler, the flags by which pip builds
the package. The binary is cached by version under the user's cache folder; building takes some
minutes, at low priority. Invariant: a binary is only put into the cache whole, and only where it
computes with the same features of the CPU as the package. Knows nothing of what it serves.

    python tests/llama_server.py        builds it and prints its path
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import platformdirs
import psutil

from neuralforge_adapters.errors import NeuralForgeError

_PACKAGE = "llama-cpp-python"
_NICE = 19
_START_SECONDS = 120.0
_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
"""The package leaves every flag of ggml at its default (native); so do these."""


class LlamaServerError(NeuralForgeError):
    """There is no llama-server, and none can be built or started."""


class KernelsDifferError(LlamaServerError):
    """A llama-server computes with other kernels than NeuralForge: they cannot be compared."""


class LlamaServer:
    """A running server on a free port; a context manager."""

    def __init__(self, binary: Path, model: Path, flags: Sequence[str] = ()) -> None:
        """Start it and wait until it listens.

        Raises:
            LlamaServerError: it ended, or said nothing in time.
        """
        command = [str(binary), "--model", str(model), "--host", "127.0.0.1", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--no-ui", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.url = self._address()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> LlamaServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _address(self) -> str:
        """The address from its log, once the model is loaded as well."""
        url, last, loaded = "", "", False
        while True:
            try:
                line = self._lines.get(timeout=_START_SECONDS)
            except queue.Empty:
                raise LlamaServerError(f"llama-server says nothing more after {last!r}") from None
            if line is None:
                raise LlamaServerError(f"llama-server ended; its last words: {last!r}")
            last = line.strip() or last
            if found := re.search(r"listening on (http://\S+)", line):
                url = found.group(1)
            loaded = loaded or "model loaded" in line
            if url and loaded:
                return url

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


def find_llama_server() -> Path:
    """The binary for the installed package, built where there is none yet.

    Raises:
        LlamaServerError: it cannot be built; the message says what is missing.
    """
    cached = cached_llama_server()
    return cached if cached.exists() else _build(cached)


def cached_llama_server() -> Path:
    """Where the binary for the installed package stands, or would."""
    version = importlib.metadata.version(_PACKAGE)
    folder = platformdirs.user_cache_path("neuralforge") / "llama-server" / version
    return folder / ("llama-server.exe" if os.name == "nt" else "llama-server")


def check_kernels(binary: Path) -> str:
    """What both `binary` and the package compute with, for example `AVX2 = 1 | FMA = 1`.

    Raises:
        KernelsDifferError: they differ in it.
        LlamaServerError: `binary` does not say, or cannot be run.
    """
    import llama_cpp

    wanted = _features(llama_cpp.llama_print_system_info().decode())
    # it says so before it finds that there is no model, and ends
    command = [str(binary), "--model", "none", "--port", "0", "--no-ui", "--verbosity", "4"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LlamaServerError(f"{binary} cannot be run: {error}; build it again") from error
    said = re.search(r"system_info: [^|]*\|(.*)", done.stdout + done.stderr)
    if said is None:
        raise LlamaServerError(f"{binary} does not say what it computes with; build it again")
    found = _features(said.group(1))
    if found != wanted:
        only, lacks = " | ".join(sorted(found - wanted)), " | ".join(sorted(wanted - found))
        raise KernelsDifferError(
            f"{binary} computes with other kernels than {_PACKAGE} (only it: {only or 'nothing'}; "
            f"only the package: {lacks or 'nothing'}). Delete it, and build it with the compiler "
            "and the CMAKE_ARGS that the package was built with."
        )
    return " | ".join(sorted(wanted))


def _features(info: str) -> set[str]:
    """The parts of llama.cpp's line on the system, which begins with the kind of backend."""
    return {part.strip().removeprefix("CPU : ") for part in info.split("|") if part.strip()}


def _build(target: Path) -> Path:
    tools = _tools()
    print(f"building llama-server for {target}: some minutes, once", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="llama-server-") as name:
        folder = Path(name)
        source = _source(folder)
        build = folder / "build"
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        _run([tools, *generator, "-S", str(source), "-B", str(build), *_FLAGS])
        jobs = str(psutil.cpu_count() or 1)
        _run([tools, "--build", str(build), "--config", "Release", "--target", "llama-server",
              "--parallel", jobs])  # fmt: skip
        found = next(p for p in build.rglob(target.name) if p.is_file())
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        check_kernels(found)
        shutil.copy2(found, partial)
        partial.replace(target)
    return target


def _tools() -> str:
    """CMake's path.

    Raises:
        LlamaServerError: something is missing.
    """
    cmake = shutil.which("cmake")
    if cmake is None:
        raise LlamaServerError("there is no cmake; `pip install cmake` brings one")
    if os.name != "nt" and not (shutil.which("c++") or os.environ.get("CXX")):
        raise LlamaServerError("there is no C++ compiler; install one, for example g++")
    return cmake


def _source(folder: Path) -> Path:
    """llama.cpp as the package's sdist has it."""
    version = importlib.metadata.version(_PACKAGE)
    wanted = f"{_PACKAGE}=={version}"
    _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
          _PACKAGE, "--dest", str(folder), wanted])  # fmt: skip
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.glob("*/vendor/llama.cpp"))


def _run(command: Sequence[str]) -> None:
    """Run at low priority.

    Raises:
        LlamaServerError: it failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    low = _NICE
    if sys.platform == "win32":
        low = psutil.BELOW_NORMAL_PRIORITY_CLASS
    psutil.Process(process.pid).nice(low)
    output, _ = process.communicate()
    if process.returncode:
        raise LlamaServerError(f"`{' '.join(command[:4])} …` failed: {output[-1500:]}")


if __name__ == "__main__":
    print(find_llama_server())
