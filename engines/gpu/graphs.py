"""Batches of any size through a network on a GPU that is prepared for a few sizes.

A batch is filled up to the next power of two. For each such size, and each size of picture, the network and the way
of its results back to the host are recorded once as a CUDA graph; from then on a call is one copy to the GPU, one
launch, and one wait at its end. Knows nothing of TensorRT, so that all of this runs, and is tested, without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..errors import DeviceError, ModelError
from ..spec import Outputs
from .device import Device, Graph, Memory, Stream

_log = logging.getLogger(__name__)

MOST_RECORDINGS = 16
"""Sizes kept ready at a time: six of a batch, and a few of the picture."""

Shape = tuple[int, ...]
Fill = Callable[[Memory, Stream], None]


class Tensor(NamedTuple):
    """Shape and dtype of an input or output."""

    shape: Shape
    dtype: np.dtype[Any]


class Work(Protocol):
    """A network made ready for one shape of its input.

    Attributes:
        input: shape and dtype of what it takes.
        outputs: those of what it gives, by name.
    """

    input: Tensor
    outputs: Mapping[str, Tensor]

    def bind(self, images: int, outputs: Mapping[str, int]) -> None:
        """Take note of the addresses that it reads from and writes to, always the same."""
        ...

    def enqueue(self, stream: int) -> None:
        """Put one run into a stream; neither waits nor allocates."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Batches(Closing):
    """Runs a network on batches. Several threads may call at once; they take turns."""

    def __init__(self, device: Device, prepare: Callable[[Shape], Work], *, most: int, least: int = 1) -> None:
        """Run what ``prepare`` makes ready for a shape (B,3,H,W), in batches of ``least`` to ``most``."""
        self._device, self._prepare, self._most, self._least = device, prepare, most, least
        self._lock = Lock()
        self._recordings: dict[Shape, _Recording] = {}
        self._closed = False

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images (B,3,H,W) of the host."""
        return self._run(images.shape, lambda recording, begin, end: recording.upload(images[begin:end]))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images that are on the GPU already, or are made there: ``fill`` puts into a stream what writes them.

        Raises:
            ModelError: more images than go together.
        """
        if shape[0] > self._most:
            raise ModelError(f"{shape[0]} images are given at once; at most {self._most} go together: give fewer")
        return self._run(shape, lambda recording, begin, end: recording.fill(fill))

    def _run(self, shape: Shape, fill: Callable[[_Recording, int, int], None]) -> Outputs:
        with self._lock:
            if self._closed:
                raise ModelError("this runtime is closed; open it again")
            with self._device.current():
                count = shape[0]
                starts = range(0, max(count, 1), self._most)
                parts = [self._part(shape, begin, min(begin + self._most, count), fill) for begin in starts]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, shape: Shape, begin: int, end: int, fill: Callable[[_Recording, int, int], None]) -> Outputs:
        recording = self._recording((bucket(end - begin, self._least, self._most), *shape[1:]))
        fill(recording, begin, end)
        return recording.run(end - begin)

    def _recording(self, shape: Shape) -> _Recording:
        """The one for this shape, made on first use; the one that was not used for longest makes room for it."""
        recording = self._recordings.pop(shape, None)
        if recording is None:
            while len(self._recordings) >= MOST_RECORDINGS:
                self._recordings.pop(next(iter(self._recordings))).close()
            recording = _Recording(self._device, self._prepare(shape))
        self._recordings[shape] = recording
        return recording

    def close(self) -> None:
        """Free all recordings; calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with self._device.current():
                while self._recordings:
                    self._recordings.popitem()[1].close()


def bucket(count: int, least: int, most: int) -> int:
    """The size of the batch that ``count`` images run in: a power of two, but within ``least`` and ``most``."""
    return min(max(1 << max(count - 1, 0).bit_length(), least), most)


class _Recording(Closing):
    """A network at one shape, with its memory on both sides and, where it can be recorded, its graph."""

    def __init__(self, device: Device, work: Work) -> None:
        self._work = work
        with ExitStack() as opened:
            self._stream = opened.enter_context(device.stream())
            self._input = opened.enter_context(device.memory(*work.input))
            self._host = opened.enter_context(device.pinned(*work.input))
            self._outputs = {name: opened.enter_context(device.memory(*each)) for name, each in work.outputs.items()}
            self._results = {name: opened.enter_context(device.pinned(*each)) for name, each in work.outputs.items()}
            opened.callback(work.close)  # first, because it may still use the memory
            work.bind(self._input.address, {name: memory.address for name, memory in self._outputs.items()})
            self._stream.upload(self._host.array, self._input)
            self._enqueue()  # what a network does at its first run only does not belong in the graph
            self._stream.wait()
            self._graph = self._record()
            if self._graph is not None:
                opened.enter_context(self._graph)
            opened.callback(self._stream.wait)
            self._opened = opened.pop_all()

    def _record(self) -> Graph | None:
        try:
            with self._stream.recording() as graph:
                self._enqueue()
        except DeviceError as error:
            _log.warning("runs without a CUDA graph, a little slower: %s", error)
            return None
        return graph

    def _enqueue(self) -> None:
        self._work.enqueue(self._stream.handle)
        for name, memory in self._outputs.items():
            self._stream.download(memory, self._results[name].array)

    def upload(self, images: NDArray[np.float32]) -> None:
        """Put the copy of some images into the stream; what is left of the batch keeps what it held."""
        part = self._host.array[: len(images)]
        np.copyto(part, images, casting="same_kind")
        self._stream.upload(part, self._input)

    def fill(self, fill: Fill) -> None:
        """Put into the stream what writes the images."""
        fill(self._input, self._stream)

    def run(self, count: int) -> Outputs:
        """Run, wait, and return the results of the first ``count`` images as arrays of their own."""
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        self._stream.wait()
        return {name: result.array[:count].astype(np.float32) for name, result in self._results.items()}

    def close(self) -> None:
        """Wait for what is under way and free it."""
        self._opened.close()
