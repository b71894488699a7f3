"""Pixels of a frame that was decoded on a GPU: our kernel crops them there, straight into the network's input.

They come to the host only where somebody draws them, or where a network does not run on that GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.cropper import Cropper
from ..engines.device import Memory, Stream
from ..engines.kernels import Picture
from ..engines.runtime import GpuRuntime, Runtime, takes_images_on
from ..engines.spec import Outputs
from .faces import FloatArray, Image
from .geometry import Region, from_crops
from .pixels import HostPixels, canvas_of


class GpuPixels:
    """An NV12 picture on a GPU; implements ``Pixels``.

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

    def crops(self, runtime: Runtime, regions: Sequence[Region]) -> Outputs:
        """All cropped in one launch, or as many as the network takes at a time."""
        if not takes_images_on(runtime, self.device):
            return HostPixels(self.image).crops(runtime, regions)
        size, most = runtime.spec.size[0], runtime.most_on_gpu
        ways = from_crops(regions, size)
        parts = [self._run(runtime, ways[i : i + most], size, size) for i in range(0, len(ways), most)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def fitted(self, runtime: Runtime, wide: int, high: int) -> tuple[Outputs, FloatArray]:
        """As one large crop that reaches beyond the picture on the right and below."""
        if not takes_images_on(runtime, self.device):
            return HostPixels(self.image).fitted(runtime, wide, high)
        height, width, _ = self.shape
        x, y = width / wide, height / high
        way = np.array([[[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]], np.float32)
        outputs = self._run(runtime, way, *canvas_of(wide, high, runtime.spec.stride))
        return outputs, np.array([x, y, x, y], np.float32)

    def thumbnail(self, width: int, height: int) -> NDArray[Any]:
        """The nearest pixels, as on the host: each is a crop of its own, so that none is blended with others."""
        ways = self._as_stored(_points(self.shape, width, height))
        return self._cropper.fetch(self._picture, ways).reshape(height, width, 3)

    def _run(self, runtime: GpuRuntime, ways: FloatArray, height: int, width: int) -> Outputs:
        """The network on crops (k, 3, height, width), given the ways (k, 2, 3) from each to the upright picture."""
        with self._cropper.desk() as desk:

            def fill(memory: Memory, stream: Stream) -> None:
                desk.crop(self._picture, self._as_stored(ways), memory, stream, runtime.spec)

            return runtime.run((len(ways), 3, height, width), fill)

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
