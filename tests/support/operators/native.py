"""Builds the compiled parts for tests, and calls their operators on arrays, on the host or on a GPU."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from nasion.engines.operators import library as plugins
from nasion.engines.operators import reference
from nasion.engines.operators.bindings import DeviceImage, Kernels, Level
from nasion.engines.operators.library import Built

from ...conftest import ROOT

Array = NDArray[Any]


@contextmanager
def _alone() -> Iterator[None]:
    """Of the processes that run tests, one at a time: none loads what another is still writing."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def build(*, cuda: bool) -> Built:
    """Build the libraries of this checkout in ``build/``, so that only changed files are compiled again."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("CMake or a C++ compiler is missing: apt-get install cmake g++")
    if cuda and shutil.which("nvcc") is None:
        pytest.skip("nvcc is missing: the CUDA kernels are not compiled here")
    folder = ROOT / "build" / "tests" / ("all" if cuda else "reference")
    with _alone():
        return plugins.build(folder, cuda=cuda, jobs=os.cpu_count() or 1)


@cache
def build_emulated() -> Path:
    """The kernels compiled for the CPU, with ``tests/emulated`` in the place of CUDA."""
    sources = build(cuda=False).folder.parent / "emulated"  # the references are there, so there is a compiler
    sources.mkdir(exist_ok=True)
    library = sources / "libnasion_emulated.so"
    with _alone():
        files = [plugins.SOURCES / "common" / "status.cpp", *(ROOT / "tests" / "emulated").glob("*.cpp")]
        for path in plugins.SOURCES.rglob("*.cu*"):
            text = path.read_text().replace(
                "extern __shared__ __align__(16) float values[];", "float* const values = emulated::dynamic_shared();"
            )
            copy = sources / path.relative_to(plugins.SOURCES)
            if path.suffix == ".cu":
                copy = copy.with_suffix(".cpp")
                files.append(copy)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text)
        folders = (sources, ROOT / "tests" / "emulated", plugins.SOURCES)
        includes = [word for folder in folders for word in ("-I", str(folder))]
        flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden"]
        subprocess.run(["c++", *flags, *includes, *map(str, files), "-o", f"{library}.new"], check=True)
        Path(f"{library}.new").replace(library)  # whoever has loaded the one before keeps it
    return library


class Machine(Protocol):
    """Runs an operator somewhere."""

    kernels: Kernels

    def run(self, call: Callable[..., None], inputs: Sequence[Array], outputs: Sequence[Array]) -> list[Array]:
        """Call with the addresses of inputs and outputs and a stream; the outputs as they are afterwards."""
        ...


class Host:
    """A library that works on host memory: the plain C++ references, or the emulated kernels."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels

    def run(self, call: Callable[..., None], inputs: Sequence[Array], outputs: Sequence[Array]) -> list[Array]:
        call([each.ctypes.data for each in inputs], [each.ctypes.data for each in outputs], 0)
        return list(outputs)


def blank(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Room for an output in which what is not written shows."""
    return np.full(shape, np.nan, dtype)


def roi_align(
    machine: Machine,
    levels: Sequence[Array],
    rois: Array,
    *,
    scales: Sequence[float],
    output_size: int,
    channels_last: bool = False,
    **options: Any,
) -> Array:
    """The operator on maps (B, C, H, W), which are laid out with the channels last if that is asked for."""
    dtype, channels = levels[0].dtype, sum(each.shape[1] for each in levels)
    given = [np.ascontiguousarray(each.transpose(0, 2, 3, 1) if channels_last else each) for each in levels]
    shape = (len(rois), channels, output_size, output_size)
    out = blank((shape[0], shape[2], shape[3], shape[1]) if channels_last else shape, dtype)

    def call(inputs: list[int], outputs: list[int], stream: int) -> None:
        table = [
            Level(address, *each.shape[1:], scale) for address, each, scale in zip(inputs, levels, scales, strict=False)
        ]
        machine.kernels.multi_level_roi_align(
            table, batch=len(levels[0]), rois=inputs[-1], regions=len(rois), output=outputs[0], output_size=output_size,
            half=dtype == np.float16, channels_last=channels_last, stream=stream, **options,
        )  # fmt: skip

    (found,) = machine.run(call, [*given, np.ascontiguousarray(rois, np.float32)], [out])
    return found.transpose(0, 3, 1, 2) if channels_last else found


def reweight(machine: Machine, maps: Array, *, skip: int = 0, **options: Any) -> tuple[Array, Array]:
    """The operator on maps (K, n, H, W), which begin ``skip`` elements into an allocation."""
    shape, size = maps.shape, maps.itemsize
    given = np.concatenate([np.zeros(skip, maps.dtype), maps.ravel()])

    def call(inputs: list[int], outputs: list[int], stream: int) -> None:
        machine.kernels.location_reweight(
            inputs[0] + skip * size, shape, points=outputs[0], confidence=outputs[1], half=maps.dtype == np.float16,
            stream=stream, **options,
        )  # fmt: skip

    points, confidence = machine.run(call, [given], [blank((*shape[:2], 2)), blank(shape[:2])])
    return points, confidence


def crop(
    machine: Machine,
    frame: Array | reference.Nv12,
    transforms: Array,
    *,
    height: int,
    width: int,
    half: bool = False,
    pad: int = 0,
    **options: Any,
) -> Array:
    """The operator on a frame whose rows are ``pad`` bytes longer than the image."""
    planes_given = [frame.luma, frame.chroma] if isinstance(frame, reference.Nv12) else [frame]
    planes = [np.pad(each.reshape(len(each), -1), ((0, 0), (0, pad)), constant_values=255) for each in planes_given]
    pitches = tuple(each.shape[1] for each in planes)
    out = blank((len(transforms), 3, height, width), np.float16 if half else np.float32)

    def call(inputs: list[int], outputs: list[int], stream: int) -> None:
        addresses, size = tuple(inputs[:-1]), {"width": planes_given[0].shape[1], "height": planes_given[0].shape[0]}
        if isinstance(frame, reference.Nv12):
            colour = tuple(frame.colour.ravel().tolist())
            shown = DeviceImage(addresses, pitches, **size, format="nv12", colour=colour)
        else:
            shown = DeviceImage(addresses, pitches, **size)
        machine.kernels.crop(
            shown, inputs[-1], count=len(transforms), height=height, width=width, output=outputs[0], half=half,
            stream=stream, **options,
        )  # fmt: skip

    (found,) = machine.run(call, [*planes, np.ascontiguousarray(transforms, np.float32)], [out])
    return found
