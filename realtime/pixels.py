"""The one interface to the pixels of a frame, wherever they lie, and its holder on the host.

A tracker touches pixels in three places only: where it crops faces, where a detector sees the whole picture, and where
cuts are looked for. All three ask for them here; ``gpu_pixels.py`` answers the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engines.runtime import Runtime
from ..engines.spec import Outputs
from .arrays import FloatArray, Image
from .geometry import Region, to_tensor, warp


class Pixels(Protocol):
    """The picture of a frame."""

    @property
    def device(self) -> str:
        """Where it lies: ``cpu`` or ``cuda:N``."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and 3, upright."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that it takes where it lies."""
        ...

    @property
    def image(self) -> Image:
        """BGR on the host, upright."""
        ...

    def copy(self) -> Self:
        """The same picture as if just decoded."""
        ...

    def crops(self, runtime: Runtime, regions: Sequence[Region]) -> Outputs:
        """What a network of square crops says of each of k > 0 regions; beyond the picture they are black."""
        ...

    def fitted(self, runtime: Runtime, wide: int, high: int) -> tuple[Outputs, FloatArray]:
        """What a network says of the whole picture, resized, and filled up with black to whole strides of the network.

        Args:
            runtime: the network.
            wide, high: pixels that the picture becomes; what fills it up comes on the right and below.

        Returns:
            Also (4,): pixels of the picture in one of those that the network sees, for x, y, x, y.
        """
        ...

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """BGR (height, width, 3) in 0..255: some pixels of the picture, evenly chosen."""
        ...


def pixels_of(picture: Image | Pixels) -> Pixels:
    """The interface to a picture: to a BGR array, or itself."""
    return HostPixels(picture) if isinstance(picture, np.ndarray) else picture


class HostPixels:
    """A BGR array; implements ``Pixels``. Costs next to nothing to make: two are made for every frame."""

    __slots__ = ("image",)
    device = "cpu"

    def __init__(self, image: Image) -> None:
        """Hold ``image``."""
        self.image = image

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.image.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.image.nbytes

    def copy(self) -> HostPixels:
        """Over a copy of the array."""
        return HostPixels(self.image.copy())

    def crops(self, runtime: Runtime, regions: Sequence[Region]) -> Outputs:
        """Warped one by one, and run together."""
        spec, size = runtime.spec, runtime.spec.size[0]
        crops = [warp(self.image, region.to_crop(size), size) for region in regions]
        return runtime(to_tensor(crops, spec.mean, spec.std, rgb=spec.channels == "rgb"))

    def fitted(self, runtime: Runtime, wide: int, high: int) -> tuple[Outputs, FloatArray]:
        """Resized, and run."""
        spec = runtime.spec
        small, halved = self.image, 1
        # Halving is cheap and blends all pixels, so that a linear resize by at most two does not alias.
        while 2 * wide <= small.shape[1] and 2 * high <= small.shape[0]:
            even = small[: small.shape[0] // 2 * 2, : small.shape[1] // 2 * 2]
            small = np.asarray(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
            halved *= 2
        x, y = halved * small.shape[1] / wide, halved * small.shape[0] / high
        canvas = np.zeros((*canvas_of(wide, high, spec.stride), 3), np.uint8)
        canvas[:high, :wide] = cv2.resize(small, (wide, high), interpolation=cv2.INTER_LINEAR)
        outputs = runtime(to_tensor([canvas], spec.mean, spec.std, rgb=spec.channels == "rgb"))
        return outputs, np.array([x, y, x, y], np.float32)

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """The nearest pixels."""
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_NEAREST)


def canvas_of(wide: int, high: int, stride: int) -> tuple[int, int]:
    """Height and width in whole strides that hold a picture."""
    return -(-high // stride) * stride, -(-wide // stride) * stride
