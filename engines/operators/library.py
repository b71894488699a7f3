"""Build, location and loading of the compiled operator libraries.

The sources are in ``engines/operators/cuda``. There are three libraries: ``reference`` (plain C++), ``kernels`` (CUDA
behind a C ABI) and ``plugins`` (the kernels as TensorRT plugins). Only ``nasion plugins build`` compiles them. A build
is stored under the hash of its sources, so that a library of another version is never loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import NasionError, RuntimeUnavailable, SinkError
from ..output_paths import check_output_paths, is_folder, reaching, user_cache, write_file

Kind = Literal["reference", "kernels", "plugins"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SOURCES = Path(__file__).resolve().parent / "cuda"
FOLDER_VARIABLE = "NASION_PLUGINS"  # folder of libraries that were built elsewhere
TENSORRT_VARIABLE = "TensorRT_ROOT"
_REPORT = "native.json"
_SUFFIXES = {"darwin": "dylib", "win32": "dll"}


@dataclass(frozen=True, slots=True)
class Built:
    """Result of a build.

    Attributes:
        folder: folder of the libraries.
        libraries: path of each library that was built.
        skipped: for each other library, why it was not built and what to install for it.
        compiler, cuda, tensorrt: versions used for the build; empty if not used.
        architectures: GPU architectures of the kernels, in CMake's notation.
        sources: hash of the sources.
    """

    folder: Path
    libraries: Mapping[str, Path]
    skipped: Mapping[str, str]
    compiler: str
    cuda: str
    tensorrt: str
    architectures: str
    sources: str

    @property
    def stale(self) -> bool:
        """True if the libraries were built from other sources than the installed ones."""
        return self.sources != source_hash()


def source_hash() -> str:
    """Return the SHA-256 over names and contents of the sources."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file():
            name = path.relative_to(SOURCES).as_posix()
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def default_folder() -> Path:
    """Return the folder to build in and to search: ``$NASION_PLUGINS``, else one in the user's cache by source hash."""
    return user_cache(f"native/{source_hash()[:16]}", FOLDER_VARIABLE)


def built(folder: Path | None = None) -> Built | None:
    """Return the build in a folder (default: ``default_folder()``), or None if there is none.

    Raises:
        NasionError: the record of the build is damaged.
    """
    folder = (folder or default_folder()).resolve()
    record = folder / _REPORT
    if not record.is_file():
        return None
    try:
        report = json.loads(record.read_text())
        libraries = {name: folder / _file_name(name) for name in report["built"]}
        found = Built(
            folder=folder,
            libraries={name: path for name, path in libraries.items() if path.is_file()},
            skipped={name: why for name, why in report["skipped"].items() if why},
            compiler=report["compiler"],
            cuda=report["cuda"],
            tensorrt=report["tensorrt"],
            architectures=report["architectures"],
            sources=report.get("sources", ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise NasionError(f"{record} is damaged ({error}); build again with: nasion plugins build") from error
    return found


def locate(kind: Kind) -> Path:
    """Return the path of a library that was built from the installed sources.

    Raises:
        RuntimeUnavailable: the library was not built, or was built from other sources; the message says what to do.
    """
    if kind not in KINDS:
        raise RuntimeUnavailable(f"library {kind!r} is unknown; allowed: {', '.join(KINDS)}")
    found = built()
    if found is None:
        raise RuntimeUnavailable(f"the {kind} library is not built in {default_folder()}; run: nasion plugins build")
    if found.stale:
        raise RuntimeUnavailable(
            f"the libraries in {found.folder} were built from other sources than this nasion; run: nasion plugins build"
        )
    if kind not in found.libraries:
        why = found.skipped.get(kind, "its file is missing")
        raise RuntimeUnavailable(f"the {kind} library was not built: {why}; then run: nasion plugins build")
    return found.libraries[kind]


def load(path: Path) -> ctypes.CDLL:
    """Load a library into the process. A second call returns the same library.

    Raises:
        RuntimeUnavailable: the file cannot be loaded.
    """
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise RuntimeUnavailable(f"{path} cannot be loaded ({error}); run: nasion plugins build") from error


def build(
    folder: Path | None = None,
    *,
    cuda: bool = True,
    architectures: str | None = None,
    tensorrt: Path | None = None,
    jobs: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Built:
    """Compile the libraries that this machine has the tools for.

    Args:
        folder: output folder (default: ``default_folder()``); only changed sources are compiled again.
        cuda: build the kernels and the plugins.
        architectures: GPU architectures to compile for, e.g. ``90-real`` or ``86-real;120`` (default: all from Turing
            on).
        tensorrt: folder that contains TensorRT's ``include`` (default: ``$TensorRT_ROOT`` and the usual locations).
        jobs: number of parallel compiler processes.
        say: called with each line that CMake and the compilers print.

    Raises:
        NasionError: a tool is missing, ``tensorrt`` has no headers, or a compiler failed; the message has the last
            lines of its output.
    """
    folder = (folder or default_folder()).resolve()
    tree = folder / "tree"
    _check_tools()
    if tensorrt is not None and tensorrt_headers(tensorrt) is None:
        raise NasionError(f"{tensorrt} holds no include/NvInferVersion.h; name the folder of TensorRT's tar, unpacked")
    _make(tree)
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "NASION_CUDA": "ON" if cuda else "OFF",
        "CMAKE_CUDA_ARCHITECTURES": architectures or "",
        TENSORRT_VARIABLE: str(tensorrt or os.environ.get(TENSORRT_VARIABLE, "")),
    }
    given = [f"-D{name}={value}" for name, value in settings.items() if value]
    # paths cached by an earlier build may be stale
    forget = ["-UNASION_TENSORRT_INCLUDE", *(f"-U{name}" for name, value in settings.items() if not value)]
    for step in (
        ["cmake", "-S", str(SOURCES), "-B", str(tree), *forget, *given],
        ["cmake", "--build", str(tree), "--config", "Release", "--parallel", str(max(jobs, 1))],
        ["cmake", "--install", str(tree), "--config", "Release", "--prefix", str(folder)],
    ):
        _run(step, say)
    record = folder / _REPORT
    write_file(record, json.dumps(json.loads(record.read_text()) | {"sources": source_hash()}, indent=2) + "\n")
    found = built(folder)
    assert found is not None
    return found


def check_folder(folder: Path, *, force: bool) -> None:
    """Check that a build in ``folder`` replaces only the files of an earlier build.

    Raises:
        SinkError: the folder has other files of the same names, and ``force`` is False.
    """
    tree = folder / "tree"
    cache = tree / "CMakeCache.txt"
    with reaching(folder, SinkError, named=f"--out {str(folder)!r}"):
        if not is_folder(folder) or (folder / _REPORT).is_file():
            return
        if cache.is_file() and "CMAKE_PROJECT_NAME:STATIC=nasion_native\n" in cache.read_text(errors="replace"):
            return
        if tree.exists() and not force:
            raise SinkError(
                f"--out {str(folder)!r} holds {tree.name!r}; give another folder, or replace it with --force"
            )
        for name in (*map(_file_name, KINDS), "nasion_harness"):
            check_output_paths({"--out": folder / name}, force=force)


def _check_tools() -> None:
    missing = []
    if shutil.which("cmake") is None:
        missing.append("cmake (pip install cmake, or apt-get install cmake)")
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++", "cl")):
        missing.append("a C++ compiler (apt-get install g++)")
    if missing:
        raise NasionError(f"building needs {' and '.join(missing)}")


def _make(tree: Path) -> None:
    cache = tree / "CMakeCache.txt"
    try:
        tree.mkdir(parents=True, exist_ok=True)
        # CMake rejects a tree configured for sources elsewhere, e.g. in a virtual environment that was deleted
        if cache.is_file() and f"HOME_DIRECTORY:INTERNAL={SOURCES}\n" not in cache.read_text():
            shutil.rmtree(tree)
            tree.mkdir()
    except OSError as error:
        raise NasionError(
            f"{tree.parent}: cannot be written ({error.strerror}); give another folder with --out"
        ) from error


def _run(command: Sequence[str], say: Callable[[str], None]) -> None:
    """Run one build step and pass its output on line by line, because a build can take a minute."""
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                say(lines[-1])
        except BaseException:  # e.g. a signal: stop the child process as well
            process.terminate()
            raise
    if process.returncode:
        output = "\n".join(lines[-30:])
        raise NasionError(f"{' '.join(command[:2])} failed:\n{output}")


def _file_name(kind: str) -> str:
    suffix = _SUFFIXES.get(sys.platform, "so")
    return f"{'' if suffix == 'dll' else 'lib'}nasion_{kind}.{suffix}"


def harness(folder: Path | None = None) -> Path | None:
    """Return the path of the program that tests the plugins without TensorRT, or None if it was not built."""
    found = (folder or default_folder()) / "nasion_harness"
    return found if found.is_file() else None


def tensorrt_headers(root: Path | None = None) -> tuple[Path, str] | None:
    """Return the folder of TensorRT's headers and their version, or None if there are none.

    Args:
        root: folder to search (default: ``$TensorRT_ROOT`` and the usual locations, as the build does).
    """
    usual = ("/usr", "/usr/local/tensorrt", "/usr/local/TensorRT", "/opt/tensorrt", "/usr/src/tensorrt")
    for place in [Path(each) for each in ([root] if root else [os.environ.get(TENSORRT_VARIABLE), *usual]) if each]:
        for header in [place / "include" / "NvInferVersion.h", *place.glob("include/*-linux-gnu/NvInferVersion.h")]:
            if header.is_file():
                return header.parent, _version(header.read_text(errors="replace"))
    return None


def _version(header: str) -> str:
    """Parse NvInferVersion.h: older files define NV_TENSORRT_MAJOR as a number, newer ones TRT_MAJOR_ENTERPRISE."""
    parts: list[str] = []
    for part in ("MAJOR", "MINOR", "PATCH"):
        found: Any = re.search(rf"#define (?:NV_TENSORRT_{part}|TRT_{part}_[A-Z]+) +(\d+)", header)
        parts += [found[1]] if found else []
    return ".".join(parts)
