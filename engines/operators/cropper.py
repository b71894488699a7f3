"""The crop kernel on one GPU, with the little memory that it needs besides the picture and the crops."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..gpu.device import Device, Memory, Part, Pinned, Stream
from ..spec import Spec
from .bindings import Kernels, Picture

_PLAIN = Spec("landmarks", "as it is", (1, 1), channels="bgr", std=(1.0, 1.0, 1.0))


class Cropper(Closing):
    """Our crop kernel on one GPU. Several threads may use it at once.

    Attributes:
        name: of the GPU, ``cuda:N``.
        device: the GPU.
    """

    def __init__(self, number: int) -> None:
        """Load the kernels, and take hold of ``cuda:number``.

        Raises:
            RuntimeUnavailable: the kernels are not built.
            DeviceError: there is no such GPU.
        """
        self._kernels = Kernels()
        self.device = Device(number)
        self.name = f"cuda:{number}"
        self._idle: deque[Desk] = deque()

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """A place to work at, for one thread at a time, which waits for the GPU before it leaves."""
        try:
            desk = self._idle.pop()
        except IndexError:
            desk = Desk(self.device, self._kernels)
        try:
            yield desk
        finally:
            self._idle.append(desk)

    def fetch(self, picture: Picture, ways: NDArray[np.float32]) -> NDArray[np.float32]:
        """BGR (k, 3) in 0..255 of single pixels, given the ways (k, 2, 3) to them."""
        with self.device.current(), self.desk() as desk:
            return desk.fetch(picture, ways)

    def close(self) -> None:
        """Free all memory; pictures on this GPU cannot be cropped any more."""
        self._idle.clear()
        self.device.close()


@cache
def cropper(number: int) -> Cropper:
    """The one of GPU ``cuda:number``.

    It is kept as long as the process lives: frames, which lie in the memory of its context, live as long as their
    last owner likes.

    Raises:
        RuntimeUnavailable: the kernels are not built.
        DeviceError: there is no such GPU.
    """
    return Cropper(number)


class Desk:
    """What a launch of the kernel needs beside the picture: the ways from crops to picture, in memory of the GPU."""

    def __init__(self, device: Device, kernels: Kernels) -> None:
        """Nothing is allocated until it is used."""
        self._device, self._kernels = device, kernels
        self._ways: tuple[Pinned, Memory] | None = None
        self._stream: Stream | None = None
        self._found: tuple[Pinned, Memory] | None = None

    def crop(
        self, picture: Picture, ways: NDArray[np.float32], memory: Memory | Part, stream: Stream, spec: Spec
    ) -> None:
        """Put into a stream what writes crops (k, 3, height, width) of a picture, normalised, to the memory.

        Args:
            picture: the picture, as it is stored.
            ways: (k, 2, 3), each from pixels of a crop to pixels of the picture. Read before this returns.
            memory: (at least k, 3, height, width), float32 or float16.
            stream: the stream.
            spec: of the network that will read the memory.
        """
        self._ways = self._room(self._ways, ways.shape)
        pinned, there = self._ways
        part = pinned.array[: len(ways)]
        part[...] = ways
        stream.upload(part, there)
        self._kernels.crop(
            picture, there.address, count=len(ways), height=memory.shape[2], width=memory.shape[3],
            output=memory.address, mean=spec.mean, std=spec.std, rgb=spec.channels == "rgb",
            half=memory.dtype == np.float16, stream=stream.handle,
        )  # fmt: skip

    def fetch(self, picture: Picture, ways: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crops of a pixel each, (k, 3), on the host."""
        self._stream = self._stream or self._device.stream()
        self._found = self._room(self._found, (len(ways), 3, 1, 1))
        pinned, there = self._found
        self.crop(picture, ways, there, self._stream, _PLAIN)
        part = pinned.array[: len(ways)]
        self._stream.download(there, part)
        self._stream.wait()
        return part.reshape(-1, 3).copy()

    def _room(self, held: tuple[Pinned, Memory] | None, shape: tuple[int, ...]) -> tuple[Pinned, Memory]:
        """Pinned memory, and as much on the GPU, for a float32 array: what is held, if that is long enough."""
        if held is not None and held[0].array.shape[0] >= shape[0]:
            return held
        for each in held or ():
            each.close()
        shape = 1 << (shape[0] - 1).bit_length(), *shape[1:]
        return self._device.pinned(shape, np.float32), self._device.memory(shape, np.float32)
