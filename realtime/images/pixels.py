"""Interface to frame images on any device, and its implementation on the host.

The tracker accesses pixels for three purposes only: to crop faces, to letterbox the whole image for the detector, and
to detect shot changes. All three go through ``Pixels``. ``images/gpu.py`` implements it on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.spec import Spec
from ..values.arrays import FloatArray, Image
from ..values.geometry import Region, fill_planes, warp

if TYPE_CHECKING:
    from ...engines.gpu.device import Memory, Stream


Writer = Callable[["Memory", "Stream"], None]
"""Function that queues the writing of crops to GPU memory in a stream."""


class Pixels(Protocol):
    """Image of a frame on any device."""

    @property
    def device(self) -> str:
        """Device that holds the image: ``cpu`` or ``cuda:N``."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and 3 of the upright image."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in bytes on its device."""
        ...

    @property
    def image(self) -> Image:
        """Upright BGR image on the host."""
        ...

    def copy(self) -> Self:
        """Return a copy as if freshly decoded."""
        ...

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """Return evenly sampled pixels of the image, BGR (height, width, 3) in 0..255."""
        ...


class DevicePixels(Pixels, Protocol):
    """Image on a GPU, cropped there by a kernel."""

    def letterbox(self, width: int, height: int) -> tuple[FloatArray, FloatArray]:
        """Return the transform (1,2,3) from the image reduced to ``width`` x ``height``, and pixels per pixel (4,)."""
        ...

    def writer(self, parts: Sequence[tuple[Self, FloatArray]], spec: Spec) -> AbstractContextManager[Writer]:
        """Open a writer of crops of images on this GPU to its memory, normalised according to ``spec``.

        Keep it open until the crops are written.

        Args:
            parts: images, each with transforms (k,2,3) from its crops to the upright image.
            spec: spec of the network.
        """
        ...


class HostPixels:
    """BGR array; implements ``Pixels``. Cheap to build: two are built for every frame."""

    __slots__ = ("image",)
    device = "cpu"

    def __init__(self, image: Image) -> None:
        """Wrap ``image`` without copying it."""
        self.image = image

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.image.shape

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return self.image.nbytes

    def copy(self) -> HostPixels:
        """Return a copy that owns its array."""
        return HostPixels(self.image.copy())

    def write_crops(self, regions: Sequence[Region], spec: Spec, out: FloatArray) -> None:
        """Write the normalised crops of k regions to ``out`` (k,3,S,S); pixels outside the image are black."""
        size = spec.size[0]
        for region, planes in zip(regions, out, strict=True):
            fill_planes(planes, warp(self.image, region.to_crop(size), size), spec)

    def write_letterbox(self, width: int, height: int, spec: Spec, out: FloatArray) -> FloatArray:
        """Write the image resized to ``width`` x ``height`` to the top left of ``out`` (3,H,W), padded with black.

        Returns:
            Scale factors (4,): pixels of the image per pixel of the resized one, for x, y, x, y.
        """
        small, halved = self.image, 1
        # Halving is cheap and averages all pixels, so the linear resize by less than two that remains does not alias.
        while 2 * width <= small.shape[1] and 2 * height <= small.shape[0]:
            even = small[: small.shape[0] // 2 * 2, : small.shape[1] // 2 * 2]
            small = np.asarray(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
            halved *= 2
        x, y = halved * small.shape[1] / width, halved * small.shape[0] / height
        canvas = np.zeros((*out.shape[1:], 3), np.uint8)
        canvas[:height, :width] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        fill_planes(out, canvas, spec)
        return np.array([x, y, x, y], np.float32)

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """Return the image resized with nearest-neighbour interpolation."""
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_NEAREST)


def pixels_of(image: Image | Pixels) -> Pixels:
    """Return an image as ``Pixels``: a BGR array is wrapped, ``Pixels`` are returned unchanged."""
    return HostPixels(image) if isinstance(image, np.ndarray) else image


def host_pixels(pixels: Pixels) -> HostPixels:
    """Return an image on the host; one on a GPU is copied."""
    return pixels if isinstance(pixels, HostPixels) else HostPixels(pixels.image)
