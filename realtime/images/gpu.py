"""Images of frames decoded on a GPU, cropped there by our kernel.

The kernel writes the crops directly into the network's input. An image is copied to the host only to be drawn, or for a
network that does not run on the same GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.gpu.device import Memory, Stream
from ...engines.operators.bindings import DeviceImage
from ...engines.operators.cropper import Cropper
from ...engines.spec import Spec
from ..values.arrays import FloatArray, Image
from .pixels import Writer


class GpuPixels:
    """NV12 image on a GPU; implements ``DevicePixels``.

    Attributes:
        shape: height, width and 3 of the upright image.
        device: device that holds the image, ``cuda:N``.
    """

    def __init__(
        self,
        cropper: Cropper,
        stored: DeviceImage,
        download: Callable[[], Image],
        *,
        upright: FloatArray | None = None,
    ) -> None:
        """Wrap a complete image, to which nothing writes any more.

        Args:
            cropper: crop kernel of the GPU that holds the image.
            stored: addresses and layout of the stored image.
            download: copies the image to the host, upright; also keeps its memory alive.
            upright: (2, 3) transform from pixels of the upright image to pixels of the stored one; None if they are the
                same.
        """
        self._cropper, self._stored, self._download, self._upright = cropper, stored, download, upright
        self._image: Image | None = None
        self._lock = Lock()  # detector and aligner may request the image from different threads
        sideways = upright is not None and bool(upright[0, 1])
        height, width = (stored.width, stored.height) if sideways else (stored.height, stored.width)
        self.shape, self.device = (height, width, 3), cropper.name

    @property
    def nbytes(self) -> int:
        """Size in bytes on the GPU."""
        return self._stored.width * self._stored.height * 3 // 2

    @property
    def image(self) -> Image:
        """BGR image on the host, copied on the first access."""
        with self._lock:
            if self._image is None:
                self._image = self._download()
            return self._image

    def copy(self) -> GpuPixels:
        """Return the same image, not yet copied to the host."""
        return GpuPixels(self._cropper, self._stored, self._download, upright=self._upright)

    def letterbox(self, width: int, height: int) -> tuple[FloatArray, FloatArray]:
        """Return the transform (1,2,3) from the image reduced to ``width`` x ``height``, and pixels per pixel (4,).

        The reduced image is one large crop that extends beyond the image.
        """
        full_height, full_width, _ = self.shape
        x, y = full_width / width, full_height / height
        transform = np.array([[[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]], np.float32)
        return transform, np.array([x, y, x, y], np.float32)

    @contextmanager
    def writer(self, parts: Sequence[tuple[GpuPixels, FloatArray]], spec: Spec) -> Iterator[Writer]:
        """Open a writer of crops of images on this GPU, given transforms (k,2,3) from crops to each upright image."""
        stored = [(image._stored, image._as_stored(ways)) for image, ways in parts]
        with self._cropper.buffers() as buffers:

            def write(memory: Memory, stream: Stream) -> None:
                buffers.crop(stored, memory, stream, spec)

            yield write

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """Return the nearest pixels, as on the host. Each is a crop of its own, so none is interpolated."""
        ways = _points(self.shape, width, height, None if self._upright is None else self._upright.tobytes())
        return self._cropper.fetch(self._stored, ways).reshape(height, width, 3)

    def _as_stored(self, ways: FloatArray) -> FloatArray:
        """Convert transforms to the upright image into transforms to the stored image."""
        return ways if self._upright is None else _turned(ways, self._upright)

    def __repr__(self) -> str:
        """Return one line with the size and the device."""
        return f"GpuPixels({self.shape[1]}x{self.shape[0]} on {self.device})"


def _turned(ways: FloatArray, upright: FloatArray) -> FloatArray:
    stored: FloatArray = upright[:, :2] @ ways
    stored[:, :, 2] += upright[:, 2]
    return stored


@lru_cache(maxsize=8)
def _points(shape: tuple[int, int, int], width: int, height: int, upright: bytes | None) -> FloatArray:
    """Return transforms (height x width, 2, 3) to the pixels that OpenCV's nearest-neighbour resize picks.

    Images of one size share the array, so that it is uploaded once. ``upright`` has the bytes of the transform to the
    stored image.
    """
    ways = np.zeros((height, width, 2, 3), np.float32)
    ways[:, :, 0, 2] = np.arange(width) * shape[1] // width
    ways[:, :, 1, 2] = (np.arange(height) * shape[0] // height)[:, None]
    flat = ways.reshape(-1, 2, 3)
    if upright is not None:
        flat = _turned(flat, np.frombuffer(upright, np.float32).reshape(2, 3))
    flat.setflags(write=False)
    return flat
