"""Images of frames, wherever they lie: they fill the input of a network and know no network.

The tracker touches pixels in three places only: where faces are cropped, where the detector sees the whole image, and
where shot changes are looked for. All three go through ``Pixels``; ``gpu_pixels.py`` does the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.spec import Spec
from ..arrays import FloatArray, Image
from ..geometry import Region, fill_planes, warp

if TYPE_CHECKING:
    from ...engines.gpu.device import Part, Stream


Writer = Callable[["Part", "Stream"], None]
"""Queues the writing of crops to some memory of a GPU in a stream."""


class Pixels(Protocol):
    """The image of a frame."""

    @property
    def device(self) -> str:
        """Device that holds it: ``cpu`` or ``cuda:N``."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and 3, upright."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that it takes on its device."""
        ...

    @property
    def image(self) -> Image:
        """BGR on the host, upright."""
        ...

    def copy(self) -> Self:
        """Return the same image as if just decoded."""
        ...

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """Return BGR (height, width, 3) in 0..255: some pixels of the image, evenly chosen."""
        ...


class DevicePixels(Pixels, Protocol):
    """An image on a GPU, which its own kernel crops there."""

    def crops(self, regions: Sequence[Region], size: int) -> FloatArray:
        """Return transforms (k,2,3) from the crops of k regions to the image."""
        ...

    def letterbox(self, width: int, height: int) -> tuple[FloatArray, FloatArray]:
        """Return the transform (1,2,3) from the image reduced to ``width`` x ``height``, and pixels per pixel (4,)."""
        ...

    def writer(self, transforms: FloatArray, spec: Spec) -> AbstractContextManager[Writer]:
        """Open what queues the writing of k crops, normalised as ``spec`` says, to memory on the GPU.

        It must stay open until the crops are written.
        """
        ...


class HostPixels:
    """A BGR array; implements ``Pixels``. Costs next to nothing to make: two are made for every frame."""

    __slots__ = ("image",)
    device = "cpu"

    def __init__(self, image: Image) -> None:
        """Hold ``image``."""
        self.image = image

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.image.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.image.nbytes

    def copy(self) -> HostPixels:
        """Return the same over a copy of the array."""
        return HostPixels(self.image.copy())

    def write_crops(self, regions: Sequence[Region], spec: Spec, out: FloatArray) -> None:
        """Write the normalised crops of k regions to ``out`` (k,3,S,S); outside the image is black."""
        size = spec.size[0]
        for region, planes in zip(regions, out, strict=True):
            fill_planes(planes, warp(self.image, region.to_crop(size), size), spec)

    def write_letterbox(self, width: int, height: int, spec: Spec, out: FloatArray) -> FloatArray:
        """Write the image reduced to ``width`` x ``height`` to the top left of ``out`` (3,H,W), black beyond.

        Returns:
            (4,): pixels of the image per pixel of the reduced one, for x, y, x, y.
        """
        small, halved = self.image, 1
        # Halving is cheap and blends all pixels, so that a linear resize by at most two does not alias.
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
        """Return the nearest pixels."""
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_NEAREST)


def pixels_of(picture: Image | Pixels) -> Pixels:
    """Return the interface to an image: around a BGR array, or itself."""
    return HostPixels(picture) if isinstance(picture, np.ndarray) else picture


def host_pixels(pixels: Pixels) -> HostPixels:
    """Return an image on the host; one on a GPU is fetched."""
    return pixels if isinstance(pixels, HostPixels) else HostPixels(pixels.image)
