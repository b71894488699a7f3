"""Input of a network in GPU memory, for runtimes that take the address of an array there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np

from ..closing import Closing
from ..errors import ModelError
from .device import Device, Memory, Stream
from .graphs import Fill, Shape, bucket

MOST = 64
"""Maximum number of images in a batch, as of the crops of a tracker."""
_SIZES = 8  # sizes of images whose memory is kept


class GpuInput(Closing):
    """Memory of one GPU in which images are produced. Thread-safe: concurrent calls run one after the other."""

    def __init__(self, number: int) -> None:
        """Lend memory of ``cuda:number``, which is opened when the first images are produced there."""
        self._number, self._lock = number, Lock()
        self._opened: tuple[Device, Stream] | None = None
        self._memory: dict[Shape, Memory] = {}

    @contextmanager
    def filled(self, shape: Shape, fill: Fill) -> Iterator[Memory]:
        """Lend float32 memory for at least the images (B,3,H,W) of ``shape``, with the first B written by ``fill``.

        Raises:
            ModelError: there are more images than ``MOST``.
            DeviceError: there is no GPU of that number, or it failed.
        """
        if shape[0] > MOST:
            raise ModelError(f"{shape[0]} images are given at once; at most {MOST} go together: give fewer")
        with self._lock:
            device, stream = self._open()
            with device.current():
                memory = self._room(device, shape)
                fill(memory, stream)
                stream.wait()
                yield memory

    def _open(self) -> tuple[Device, Stream]:
        """Return the GPU and a stream on it."""
        if self._opened is None:
            device = Device(self._number)
            with device.current():
                self._opened = device, device.stream()
        return self._opened

    def _room(self, device: Device, shape: Shape) -> Memory:
        """Return memory for images of one size; that of the size used longest ago is freed."""
        size = shape[1:]
        held = self._memory.pop(size, None)
        if held is not None and held.shape[0] < shape[0]:
            held.close()
            held = None
        if held is None:
            while len(self._memory) >= _SIZES:
                self._memory.pop(next(iter(self._memory))).close()
            held = device.memory((bucket(shape[0], 1, MOST), *size), np.float32)
        self._memory[size] = held
        return held

    def close(self) -> None:
        """Free the memory. Further calls do nothing."""
        if self._opened is not None:
            self._opened[0].close()
