"""Pixels of a frame that was decoded on a GPU: our kernel crops them there, straight into the network's input.

They come to the host only where somebody draws them, or where a network does not run on that GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.gpu.device import Part, Stream
from ...engines.operators.bindings import Picture
from ...engines.operators.cropper import Cropper
from ...engines.spec import Spec
from ..arrays import FloatArray, Image
from ..geometry import Region, from_crops
from .pixels import Writer


class GpuPixels:
    """An NV12 picture on a GPU; implements ``DevicePixels``.

    Attributes:
        shape: height, width and 3, upright.
        device: where it lies, ``cuda:N``.
    """

    def __init__(
        self,
        cropper: Cropper,
        picture: Picture,
        download: Callable[[], Image],
        *,
        upright: FloatArray | None = None,
    ) -> None:
        """A picture that is complete: nothing writes to it any more.

        Args:
            cropper: of the GPU where it lies.
            picture: where and how it lies there, as it was stored.
            download: fetches it, upright; keeps it alive.
            upright: (2, 3), from pixels of the upright picture to pixels as stored; None where they are the same.
        """
        self._cropper, self._picture, self._download, self._upright = cropper, picture, download, upright
        self._image: Image | None = None
        self._lock = Lock()  # one thread may ask for the detector's sake, another for the aligner's
        turned = upright is not None and bool(upright[0, 1])
        height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
        self.shape, self.device = (height, width, 3), cropper.name

    @property
    def nbytes(self) -> int:
        """Bytes on the GPU."""
        return self._picture.width * self._picture.height * 3 // 2

    @property
    def image(self) -> Image:
        """BGR on the host, fetched when it is asked for at first."""
        with self._lock:
            if self._image is None:
                self._image = self._download()
            return self._image

    def copy(self) -> GpuPixels:
        """The same picture, not yet fetched."""
        return GpuPixels(self._cropper, self._picture, self._download, upright=self._upright)

    def crops(self, regions: Sequence[Region], size: int) -> FloatArray:
        """Return transforms (k,2,3) from the crops of k regions to the image."""
        return from_crops(regions, size)

    def letterbox(self, width: int, height: int) -> tuple[FloatArray, FloatArray]:
        """Return the transform from one large crop, which reaches beyond the image, and pixels per pixel (4,)."""
        full_height, full_width, _ = self.shape
        x, y = full_width / width, full_height / height
        transform = np.array([[[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]], np.float32)
        return transform, np.array([x, y, x, y], np.float32)

    @contextmanager
    def writer(self, transforms: FloatArray, spec: Spec) -> Iterator[Writer]:
        """Open what queues the writing of k crops, given transforms (k,2,3) from each to the upright image."""
        with self._cropper.desk() as desk:

            def write(memory: Part, stream: Stream) -> None:
                desk.crop(self._picture, self._as_stored(transforms), memory, stream, spec)

            yield write

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """The nearest pixels, as on the host: each is a crop of its own, so that none is blended with others."""
        ways = self._as_stored(_points(self.shape, width, height))
        return self._cropper.fetch(self._picture, ways).reshape(height, width, 3)

    def _as_stored(self, ways: FloatArray) -> FloatArray:
        """The same ways on to the picture as it is stored."""
        if self._upright is None:
            return ways
        turned: FloatArray = self._upright[:, :2] @ ways
        turned[:, :, 2] += self._upright[:, 2]
        return turned

    def __repr__(self) -> str:
        """Where it lies, and its size."""
        return f"GpuPixels({self.shape[1]}x{self.shape[0]} on {self.device})"


@lru_cache(maxsize=8)
def _points(shape: tuple[int, int, int], width: int, height: int) -> FloatArray:
    """Ways (height x width, 2, 3) to the pixels that OpenCV takes for the nearest ones of a picture resized."""
    ways = np.zeros((height, width, 2, 3), np.float32)
    ways[:, :, 0, 2] = np.arange(width) * shape[1] // width
    ways[:, :, 1, 2] = (np.arange(height) * shape[0] // height)[:, None]
    ways.setflags(write=False)
    return ways.reshape(-1, 2, 3)
