"""``nasion plugins``: compile the CUDA kernels and the TensorRT plugins, say where they are, time them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ...engines.errors import NasionError

if TYPE_CHECKING:
    from ...engines.operators.library import Built

plugins = App(name="plugins", help="Compile the CUDA kernels and TensorRT plugins, and say where they are.")


@plugins.command
def build(
    *,
    out: Path | None = None,
    tensorrt: Path | None = None,
    architectures: str | None = None,
    force: bool = False,
    cuda: Annotated[bool, Parameter(negative="--no-cuda")] = True,
    jobs: int = 1,
    verbose: bool = False,
) -> None:
    """Compile what can be compiled here, and say what was left out and what to install for it.

    Needs CMake and a C++ compiler; the kernels need nvcc, the plugins TensorRT's headers besides.

    Args:
        out: folder for the libraries (default: the user's cache, where nasion looks for them).
        force: replace files of the same names in a folder that holds no earlier build.
        tensorrt: folder that holds TensorRT's include (default: $TensorRT_ROOT and the usual places).
        architectures: GPUs to compile for, e.g. 90-real or "86-real;120" (default: all from Turing on).
        cuda: compile kernels and plugins; without them only the plain C++ references.
        jobs: compilers that run at the same time.
        verbose: show what CMake and the compilers print.
    """
    from ...engines.operators import library as native

    if jobs < 1:
        raise NasionError(f"--jobs {jobs}: at least 1")
    if out is not None:
        native.check_folder(out, force=force)
    print(f"compiling in {out or native.default_folder()}; about a minute with CUDA", flush=True)
    found = native.build(
        out,
        cuda=cuda,
        architectures=architectures,
        tensorrt=tensorrt,
        jobs=jobs,
        say=print if verbose else _progress,
    )
    _print(found)
    if found.folder != native.default_folder().resolve():
        print(f"not where nasion looks by itself; set {native.FOLDER_VARIABLE}={found.folder}")


@plugins.command
def where() -> None:
    """Say which libraries are built, from what and where; exits with 1 where there are none of this version."""
    from ...engines.operators import library as native

    found = native.built()
    if found is None or found.stale:
        state = "nothing is built" if found is None else "what is built is of other sources"
        sys.exit(f"nasion: {native.default_folder()}: {state}; run: nasion plugins build")
    _print(found)


@plugins.command
def bench(*, json: Path | None = None, force: bool = False) -> None:
    """Time the CUDA kernels on a GPU, beside the least that memory, caches and arithmetic units allow.

    Args:
        json: write all figures, with GPU, machine and versions, to this file.
        force: replace that file.
    """
    from ...engines.output_paths import check_places
    from ..kernels.bench import run

    check_places({"--json": json}, force=force)
    run(json)


def _progress(line: str) -> None:
    """Of what CMake prints, the steps."""
    if line.startswith("["):
        print(line, flush=True)


def _print(found: Built) -> None:
    for name, path in found.libraries.items():
        print(f"{name:10} {path}")
    for name, why in found.skipped.items():
        print(f"{name:10} skipped: {why}")
    parts = {"C++": found.compiler, "CUDA": found.cuda, "for": found.architectures, "TensorRT": found.tensorrt}
    print("; ".join(f"{name} {version}" for name, version in parts.items() if version))
