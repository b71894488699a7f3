"""Batched calls of a network on crops of images or on whole images of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeVar, cast

import numpy as np

from ...engines.runtime import GpuRuntime, Runtime, takes_images_on
from ...engines.spec import Outputs, joined
from ..images.pixels import DevicePixels, Pixels, host_pixels
from ..values.arrays import FloatArray
from ..values.geometry import Region, from_crops

P = TypeVar("P", bound=Pixels)
Crops = tuple[Pixels, Sequence[Region]]
_OnDevice = tuple[DevicePixels, FloatArray]


def run_crops(runtime: Runtime, parts: Sequence[Crops]) -> tuple[Outputs, FloatArray | None]:
    """Run a network of square crops on the regions of one or several images in one call.

    Images on the network's GPU are cropped there, directly into its input.

    Args:
        runtime: the network.
        parts: images, each with at least one region.

    Returns:
        Outputs of all crops, in the order of ``parts``; and the normalised crops (k, 3, S, S), None if they were made
        on a GPU.
    """
    size = runtime.spec.size[0]
    if on_device := _on_device(runtime, [image for image, _ in parts]):
        ways = from_crops([region for _, regions in parts for region in regions], size)
        ends = list(accumulate(len(regions) for _, regions in parts))
        each = [ways[begin:end] for begin, end in pairwise([0, *ends])]
        return _run_on_device(runtime, list(zip(on_device, each, strict=True)), size, size), None
    batch = np.empty((sum(len(regions) for _, regions in parts), 3, size, size), np.float32)
    at = 0
    for image, regions in parts:
        host_pixels(image).write_crops(regions, runtime.spec, batch[at : at + len(regions)])
        at += len(regions)
    return runtime(batch), batch


def run_letterbox(runtime: Runtime, images: Sequence[Pixels], width: int, height: int) -> tuple[Outputs, FloatArray]:
    """Run a network on letterboxed images, each resized to ``width`` x ``height`` and padded to the network's stride.

    Returns:
        Outputs of all images, and scale factors (B,4): pixels of each image per pixel of the resized one, for
        x, y, x, y.
    """
    stride = runtime.spec.stride
    high, wide = (-(-side // stride) * stride for side in (height, width))
    if on_device := _on_device(runtime, images):
        placed = [image.letterbox(width, height) for image in on_device]
        whole = [(image, transform) for image, (transform, _) in zip(on_device, placed, strict=True)]
        return _run_on_device(runtime, whole, high, wide), np.stack([ratio for _, ratio in placed])
    batch = np.empty((len(images), 3, high, wide), np.float32)
    ratios = [
        host_pixels(image).write_letterbox(width, height, runtime.spec, planes)
        for image, planes in zip(images, batch, strict=True)
    ]
    return runtime(batch), np.stack(ratios)


def _on_device(runtime: Runtime, images: Sequence[Pixels]) -> list[DevicePixels]:
    """Return the images if all are on the network's GPU and it accepts them there, otherwise an empty list."""
    if not all(takes_images_on(runtime, image.device) for image in images):
        return []
    return [cast(DevicePixels, image) for image in images]  # only these have the device of a GPU


def _run_on_device(runtime: Runtime, parts: Sequence[_OnDevice], height: int, width: int) -> Outputs:
    """Run a network on crops made on its GPU, in batches of at most its largest."""
    runtime = cast(GpuRuntime, runtime)
    outputs = []
    for batch in split(parts, runtime.most_on_gpu):
        with batch[0][0].writer(batch, runtime.spec) as write:
            outputs.append(runtime.run((sum(len(ways) for _, ways in batch), 3, height, width), write))
    return joined(outputs)


def split(parts: Sequence[tuple[P, Any]], most: int) -> Iterator[list[tuple[P, Any]]]:
    """Split the crops of images into batches.

    Args:
        parts: images, each with a sequence or array that has an item for each of its crops.
        most: maximum number of crops in a batch.

    Returns:
        Batches of the same form, in the same order; the crops of an image may be in several.
    """
    batch: list[tuple[P, Any]] = []
    room = most
    for image, crops in parts:
        at = 0
        while at < len(crops):
            taken = crops[at : at + room]
            batch.append((image, taken))
            at, room = at + len(taken), room - len(taken)
            if not room:
                yield batch
                batch, room = [], most
    if batch:
        yield batch
