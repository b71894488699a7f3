"""Kernel calls timed by ``nasion plugins bench``: sizes, inputs and counted work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...engines.operators import reference
from ...engines.operators.bindings import DeviceImage, Kernels, Level
from .roofline import Work, of_crops, of_points, of_regions

Array = NDArray[Any]
Shape = tuple[int, ...]
Call = Callable[[Kernels, Sequence[int], Sequence[int], int], None]

RDFN_TAPS = [(4, c) for c in (64, 64, 256)] + [(8, c) for c in (128, 128, 512)] + [(16, c) for c in (256, 256, 1024)]
"""Stride and channels of the nine feature maps that RDFN pools its regions from."""


@dataclass(frozen=True, slots=True)
class Case:
    """One call of a kernel.

    Attributes:
        kernel: ``regions``, ``points`` or ``crops``.
        variant: types and layout.
        size: description of the size for users.
        work: counted work of the call.
        inputs: function that makes the arrays for the GPU.
        outputs: shapes and types of the outputs.
        call: function that calls the kernel, with addresses of inputs and outputs and a stream.
    """

    kernel: Literal["regions", "points", "crops"]
    variant: str
    size: str
    work: Work
    inputs: Callable[[], Sequence[Array]]
    outputs: Sequence[tuple[Shape, type]]
    call: Call

    @property
    def name(self) -> str:
        """Kernel, variant and size, for messages."""
        return f"{self.kernel}, {self.variant}, {self.size}"


def cases(*, images: int = 8, maps: int = 64, crops: int = 1024, side: int = 128) -> Iterator[Case]:
    """Yield each kernel in each variant at a size that fills a GPU, and 64 crops.

    Args:
        images: number of images of 320 x 256 with 16 faces each, whose regions are pooled.
        maps: number of faces with 68 score maps each.
        crops: number of crops of a frame of 1920 x 1080 at a time.
        side: side of a crop in pixels.
    """
    for half in (False, True):
        for last in (False, True):
            yield regions(images, 16, half=half, channels_last=last)
    for half in (False, True):
        yield points((maps, 68, 120, 120), half=half)
    for count in (crops, min(64, crops)):
        for kind in ("bgr", "nv12"):
            for half in (False, True):
                yield crop(count, side, kind=kind, half=half)


def regions(images: int, faces: int, *, half: bool, channels_last: bool) -> Case:
    """Return the case of RDFN: nine maps of images of 320 x 256, faces of 60 to 160 pixels, 14 x 14 bins."""
    rng = np.random.default_rng(0)
    dtype = np.float16 if half else np.float32
    levels = [(channels, 256 // stride, 320 // stride, 1 / stride) for stride, channels in RDFN_TAPS]
    side = rng.uniform(60, 160, (images * faces, 1))
    corners = rng.uniform(0, 1, (images * faces, 2)) * (np.array([320, 256]) - side)
    index = np.repeat(np.arange(images), faces)[:, None]
    rois = np.concatenate([index, corners, corners + side], axis=1).astype(np.float32)
    channels = sum(channels for channels, *_ in levels)

    def inputs() -> list[Array]:
        return [*(_random((images, *level[:3]), dtype) for level in levels), rois]

    def call(kernels: Kernels, given: Sequence[int], out: Sequence[int], stream: int) -> None:
        kernels.multi_level_roi_align(
            [Level(address, *level) for address, level in zip(given, levels, strict=False)],
            batch=images, rois=given[-1], regions=len(rois), output=out[0], output_size=14, half=half,
            channels_last=channels_last, stream=stream,
        )  # fmt: skip

    work = of_regions(levels, rois, output_size=14, half=half, channels_last=channels_last)
    variant = f"{dtype.__name__}, {'channels last' if channels_last else 'planes'}"
    outputs = [((len(rois), channels, 14, 14), dtype)]  # the same number of bytes in either layout
    return Case("regions", variant, f"{len(rois)} regions of {images} images", work, inputs, outputs, call)


def points(shape: tuple[int, int, int, int], *, half: bool) -> Case:
    """Return the case of score maps in which one cell in a thousand reaches the threshold."""
    dtype = np.float16 if half else np.float32

    def inputs() -> list[Array]:
        return [_random(shape, dtype) * dtype(0.5005)]

    def call(kernels: Kernels, given: Sequence[int], out: Sequence[int], stream: int) -> None:
        kernels.location_reweight(given[0], shape, points=out[0], confidence=out[1], half=half, stream=stream)

    size = f"{shape[0]} x {shape[1]} maps of {shape[3]} x {shape[2]}"
    outputs = [((*shape[:2], 2), np.float32), (shape[:2], np.float32)]
    return Case("points", dtype.__name__, size, of_points(shape, half=half), inputs, outputs, call)


def crop(count: int, side: int, *, kind: str, half: bool, frame: tuple[int, int] = (1080, 1920)) -> Case:
    """Return the case of crops of faces of 100 to 260 pixels, rolled by up to about 17 degrees."""
    rng, (height, width) = np.random.default_rng(3), frame
    shown, angle = rng.uniform(0.78, 2.03, count), rng.uniform(-0.3, 0.3, count)
    cos, sin = shown * np.cos(angle), shown * np.sin(angle)
    x, y = rng.uniform(0.1, 0.9, (2, count)) * np.array([[width], [height]])
    middle = (side - 1) / 2
    rows = [cos, -sin, x - middle * (cos - sin)], [sin, cos, y - middle * (sin + cos)]
    transforms = np.stack([np.stack(row, axis=1) for row in rows], axis=1).astype(np.float32)
    colour = tuple(reference.yuv_to_bgr("bt709").ravel().tolist())
    nv12 = kind == "nv12"

    def inputs() -> list[Array]:
        shape = (height * 3 // 2, width) if nv12 else (height, width, 3)
        return [np.random.default_rng(4).integers(0, 256, shape, np.uint8), transforms]

    def call(kernels: Kernels, given: Sequence[int], out: Sequence[int], stream: int) -> None:
        planes = (given[0], given[0] + height * width)
        image = (
            DeviceImage(planes, (width, width), width, height, "nv12", colour)
            if nv12
            else DeviceImage(planes[:1], (3 * width,), width, height)
        )
        kernels.crop(
            image, given[1], count=count, height=side, width=side, output=out[0], half=half, stream=stream
        )  # fmt: skip

    work = of_crops(frame, transforms, height=side, width=side, kind="nv12" if nv12 else "bgr", half=half)
    dtype = np.float16 if half else np.float32
    variant, size = f"{kind} to {dtype.__name__}", f"{count} of {side} x {side}"
    return Case("crops", variant, size, work, inputs, [((count, 3, side, side), dtype)], call)


def _random(shape: Shape, dtype: type) -> Array:
    """Return numbers in 0..1. The same 2**20 values are repeated, because only the time of the call matters."""
    return np.resize(np.random.default_rng(1).random(1 << 20, np.float32).astype(dtype), shape)
