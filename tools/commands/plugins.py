"""``nasion plugins``: compile, locate and time the CUDA kernels and TensorRT plugins."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ...engines.errors import NasionError
from ..machine import provenance
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...engines.operators.library import Built

plugins = App(name="plugins", help="Compile, locate and time the CUDA kernels and TensorRT plugins.")


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
    json: Json = None,
) -> None:
    """Compile the parts that can be compiled here, and report what is missing for the others.

    Needs CMake and a C++ compiler. The kernels also need nvcc; the plugins also need nvcc and TensorRT's headers.

    Args:
        out: folder for the libraries (default: the user's cache, where nasion finds them).
        force: replace files of the same names in a folder that holds no earlier build, and the file of --json.
        tensorrt: folder that holds TensorRT's include folder (default: $TensorRT_ROOT and the usual locations).
        architectures: GPUs to compile for, e.g. 90-real or "86-real;120" (default: all from Turing on).
        cuda: compile kernels and plugins; with --no-cuda only the plain C++ references.
        jobs: number of parallel compiler processes.
        verbose: show the output of CMake and the compilers.
        json: also write libraries, compilers and what was skipped, with machine and versions, to this file; - for
            standard output (default: none).
    """
    from ...engines.operators import library as native

    if jobs < 1:
        raise NasionError(f"--jobs is {jobs}; it must be at least 1")
    if out is not None:
        native.check_folder(out, force=force)
    with json_results(json, force=force) as to_json:
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
            print(f"nasion does not look in this folder by default; set {native.FOLDER_VARIABLE}={found.folder}")
        to_json.write(provenance() | asdict(found))


@plugins.command
def where(*, json: Json = None, force: bool = False) -> None:
    """List the built libraries, with compilers and paths; exit with 1 if none of this version is built.

    Args:
        json: also write libraries, compilers and what was skipped, with machine and versions, to this file; - for
            standard output (default: none).
        force: replace that file.
    """
    from ...engines.operators import library as native

    with json_results(json, force=force) as to_json:
        found = native.built()
        if found is None or found.stale:
            state = "nothing is built" if found is None else "the built libraries are of other sources"
            sys.exit(f"nasion: {native.default_folder()}: {state}; run: nasion plugins build")
        _print(found)
        to_json.write(provenance() | asdict(found))


@plugins.command
def bench(*, json: Json = None, force: bool = False) -> None:
    """Time the CUDA kernels on a GPU, and compare with the limits of memory, caches and arithmetic units.

    Args:
        json: also write all results, with GPU, machine and versions, to this file; - for standard output (default:
            none).
        force: replace that file.
    """
    from ..kernels.bench import run

    with json_results(json, force=force) as to_json:
        to_json.write(run())


def _progress(line: str) -> None:
    """Print a line of CMake's output if it is a build step."""
    if line.startswith("["):
        print(line, flush=True)


def _print(found: Built) -> None:
    for name, path in found.libraries.items():
        print(f"{name:10} {path}")
    for name, why in found.skipped.items():
        print(f"{name:10} skipped: {why}")
    parts = {"C++": found.compiler, "CUDA": found.cuda, "for": found.architectures, "TensorRT": found.tensorrt}
    print("; ".join(f"{name} {version}" for name, version in parts.items() if version))
