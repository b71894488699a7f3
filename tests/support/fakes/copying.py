"""A network for the device layer that only copies: what goes in comes out again, as it is and as single bytes.

It does so on the GPU, real or fake, by copies from memory to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from nasion.engines.gpu.device import Device
from nasion.engines.gpu.graphs import ArrayType, Shape


class Copying:
    """Work (``engines.batches.PreparedNetwork``): one image per item of the batch."""

    def __init__(self, device: Device, shape: Shape, *, waits: bool) -> None:
        self.input = ArrayType(shape, np.dtype(np.float32))
        self._size = int(np.prod(shape)) * 4
        flat = ArrayType((shape[0], self._size // shape[0]), np.dtype(np.uint8))
        self.outputs = {"same": self.input, "bytes": flat}
        self._device, self._waits = device, waits
        self.closed = False

    def bind(self, images: int, outputs: Mapping[str, int]) -> None:
        self._from, self._to = images, outputs

    def enqueue(self, stream: int) -> None:
        with self._device.current() as driver:
            if self._waits:
                driver.wait(stream)
            for address in self._to.values():
                driver.library("cuMemcpyDtoDAsync_v2", address, self._from, self._size, stream)

    def close(self) -> None:
        self.closed = True


def counted(device: Device, works: list[Copying] | None = None, *, waits: bool = False) -> Callable[[Shape], Copying]:
    """Return a function that makes such work for a shape and appends it to ``works``."""

    def prepare(shape: Shape) -> Copying:
        work = Copying(device, shape, waits=waits)
        if works is not None:
            works.append(work)
        return work

    return prepare
