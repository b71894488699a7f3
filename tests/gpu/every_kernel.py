"""Call every kernel once in every variant, on small data with all that is odd in it, and compare with the reference.

A program rather than a test, and of NumPy alone, so that NVIDIA's compute-sanitizer can watch it:

    compute-sanitizer --tool memcheck python tests/gpu/every_kernel.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from nasion.engines.gpu.device import Device, Stream
from nasion.engines.operators import reference
from nasion.engines.operators.bindings import DeviceImage, Kernels, Level

Array = np.ndarray[Any, Any]
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ``call(kernels, inputs, outputs, stream)`` with addresses fills arrays like ``expected``."""

    name: str
    inputs: Sequence[Array]
    expected: Sequence[Array]
    tolerance: float
    call: Callable[[Kernels, Sequence[int], Sequence[int], int], None]


def calls() -> Iterator[Call]:
    """Every kernel, in every variant that is compiled."""
    for half, last, sampling, normalize in product((False, True), (False, True), (1, 2, 3, 4), (False, True)):
        yield regions(half=half, last=last, sampling=sampling, normalize=normalize)
    for half, width, threshold in product((False, True), (7, 16, 120), (0.5, 2.0)):
        yield points(half=half, width=width, threshold=threshold)
    for half, kind, rgb in product((False, True), ("bgr words", "bgr bytes", "nv12"), (False, True)):
        yield crops(half=half, kind=kind, rgb=rgb)


def regions(*, half: bool, last: bool, sampling: int, normalize: bool) -> Call:
    """Maps of many and of single cells; boxes inside, across the border, outside, empty, of no image, no numbers."""
    rng, dtype = np.random.default_rng(0), np.float16 if half else np.float32
    sizes = [(24, 12, 16), (64, 6, 8), (8, 1, 1), (8, 5, 1), (336, 3, 4), (8, 70, 90)]
    scales = [1 / 4, 1 / 8, 1 / 64, 1 / 8, 1 / 16, 2]  # in the last, bins lie many cells apart
    maps = [rng.normal(size=(2, *size)).astype(dtype) for size in sizes]
    boxes = [(8, 4, 40, 30), (-20, -30, 90, 100), (500, 500, 540, 540), (13, 21, 13, 21), (NAN, 0, 9, 9)]
    rois = np.float32([(image, *box) for image in (0, 1, -1, 2) for box in boxes])
    out = reference.multi_level_roi_align(
        maps, rois, scales=scales, output_size=7, sampling_ratio=sampling, normalize=normalize
    )
    given = [np.ascontiguousarray(each.transpose(0, 2, 3, 1)) if last else each for each in maps]
    expected = out.transpose(0, 2, 3, 1) if last else out

    def call(kernels: Kernels, inputs: Sequence[int], outputs: Sequence[int], stream: int) -> None:
        kernels.multi_level_roi_align(
            [Level(at, *size, scale) for at, size, scale in zip(inputs, sizes, scales, strict=False)], batch=2,
            rois=inputs[-1], regions=len(rois), output=outputs[0], output_size=7, sampling_ratio=sampling,
            normalize=normalize, half=half, channels_last=last, stream=stream,
        )  # fmt: skip

    name = f"regions, {dtype.__name__}, {'channels last' if last else 'planes'}, {sampling} samples, {normalize=}"
    return Call(name, [*given, rois], [expected.astype(dtype)], 4e-3 if half else 5e-5, call)


def points(*, half: bool, width: int, threshold: float) -> Call:
    """Maps of whole loads and of single values, with and without a cell that counts."""
    dtype = np.float16 if half else np.float32
    maps = (np.random.default_rng(1).random((2, 5, 9, width)) ** 3).astype(dtype)
    expected = [each.astype(np.float32) for each in reference.location_reweight(maps, threshold=threshold)]

    def call(kernels: Kernels, inputs: Sequence[int], outputs: Sequence[int], stream: int) -> None:
        kernels.location_reweight(
            inputs[0], (2, 5, 9, width), points=outputs[0], confidence=outputs[1], threshold=threshold, half=half,
            stream=stream,
        )  # fmt: skip

    return Call(f"points, {dtype.__name__}, {width} wide, {threshold=}", [maps], expected, 5e-4, call)


def crops(*, half: bool, kind: str, rgb: bool) -> Call:
    """A frame whose rows end where it ends; crops inside, across each border, outside, halved, no numbers."""
    rng, height, width = np.random.default_rng(2), 46, 62 if kind == "bgr bytes" else 64
    places = [(8, 6, 1.2), (-9, -7, 1.1), (width - 12, height - 9, 0.9), (900, 0, 1), (1, 1, 1.8), (0, 0, 2.6)]
    transforms = np.float32([[[zoom, -0.1, x], [0.1, zoom, y]] for x, y, zoom in places] + [np.full((2, 3), NAN)])
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    chroma = rng.integers(0, 256, (height // 2, width // 2, 2), np.uint8)
    yuv = reference.Nv12(frame[..., 0].copy(), chroma, reference.yuv_to_bgr())
    nv12 = kind == "nv12"
    colour = tuple(yuv.colour.ravel().tolist())
    options = {"height": 17, "width": 19, "mean": (104.0, 117.0, 123.0), "std": (58.0, 57.0, 59.0), "rgb": rgb}
    with np.errstate(invalid="ignore"):  # the transform that is not a number
        expected = reference.crop(yuv if nv12 else frame, transforms, **options)

    def call(kernels: Kernels, inputs: Sequence[int], outputs: Sequence[int], stream: int) -> None:
        pitches = (width, width) if nv12 else (3 * width,)
        image = DeviceImage(
            tuple(inputs[:-1]), pitches, width, height, "nv12" if nv12 else "bgr", colour if nv12 else ()
        )
        kernels.crop(
            image, inputs[-1], count=len(transforms), output=outputs[0], half=half, stream=stream, **options
        )  # fmt: skip

    planes = [yuv.luma, chroma] if nv12 else [frame]
    dtype = np.float16 if half else np.float32
    name = f"crops, {kind} to {dtype.__name__}, {'rgb' if rgb else 'bgr'}"
    return Call(name, [*planes, transforms], [expected.astype(dtype)], 5e-3 if half else 5e-4, call)


def check(each: Call, device: Device, stream: Stream, kernels: Kernels) -> str:
    """Make the call; what is wrong with its results, or nothing."""
    given = [device.memory(array.shape, array.dtype) for array in each.inputs]
    room = [device.memory(array.shape, array.dtype) for array in each.expected]
    staged = [device.pinned(array.shape, array.dtype) for array in (*each.inputs, *each.expected)]
    for memory, pinned, array in zip(given, staged, each.inputs, strict=False):
        pinned.array[...] = array
        stream.upload(pinned.array, memory)
    each.call(kernels, [memory.address for memory in given], [memory.address for memory in room], stream.handle)
    results = staged[len(given) :]
    for memory, pinned in zip(room, results, strict=True):
        stream.download(memory, pinned.array)
    stream.wait()
    gaps = [
        np.abs(pinned.array.astype(np.float64) - array).max()
        for pinned, array in zip(results, each.expected, strict=True)
    ]
    for resource in (*given, *room, *staged):
        resource.close()
    return "" if max(gaps) <= each.tolerance else f"{each.name}: {max(gaps):.3g} off the reference"


def main() -> None:
    """Call all; ends with 1 where a result is wrong."""
    kernels, count, wrong = Kernels(), 0, []
    with Device(0) as device, device.current(), device.stream() as stream:
        for each in calls():
            count += 1
            if said := check(each, device, stream, kernels):
                wrong.append(said)
    print("\n".join([*wrong, f"{count} calls, {len(wrong)} of them wrong"]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
