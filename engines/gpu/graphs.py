"""Batches of any size on a GPU network, by CUDA graphs of a few batch sizes.

A batch is padded to the next power of two. For each such size and each image size, the network and the copies of its
results to the host are recorded once as a CUDA graph. From then on a call is one copy to the GPU, one launch and one
wait at the end. This module does not depend on TensorRT, so it runs and is tested without it.
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
from ..spec import Outputs, joined
from .device import Device, Graph, Memory, Stream

_log = logging.getLogger(__name__)

MOST_RECORDINGS = 16
"""Maximum number of graphs in memory: six batch sizes for a few image sizes."""

Shape = tuple[int, ...]
Fill = Callable[[Memory, Stream], None]


class ArrayType(NamedTuple):
    """Shape and dtype of an input or output."""

    shape: Shape
    dtype: np.dtype[Any]


class PreparedNetwork(Protocol):
    """A network prepared for one input shape.

    Attributes:
        input: shape and dtype of the input.
        outputs: shape and dtype of each output by name.
    """

    input: ArrayType
    outputs: Mapping[str, ArrayType]

    def bind(self, images: int, outputs: Mapping[str, int]) -> None:
        """Set the addresses of input and outputs, which never change afterwards."""
        ...

    def enqueue(self, stream: int) -> None:
        """Enqueue one run on a stream, without waiting or allocating."""
        ...

    def close(self) -> None:
        """Free all resources."""
        ...


class Batches(Closing):
    """Runner of a network on batches. Thread-safe: concurrent calls run one after the other."""

    def __init__(
        self, device: Device, prepare: Callable[[Shape], PreparedNetwork], *, most: int, least: int = 1
    ) -> None:
        """Run the network that ``prepare`` returns for a shape (B,3,H,W), in batches of ``least`` to ``most``."""
        self._device, self._prepare, self._most, self._least = device, prepare, most, least
        self._lock = Lock()
        self._recordings: dict[Shape, _Recording] = {}
        self._closed = False

    def warm_up(self, size: Shape) -> None:
        """Record all batch sizes for images (3,H,W), so that no later call takes the time for it.

        The largest comes first: the others then fit the memory that it needs. A size for which there is no memory is
        left out.

        Raises:
            DeviceError: there is no memory for any size.
        """
        failed: DeviceError | None = None
        sizes = {bucket(1 << power, self._least, self._most) for power in range(self._most.bit_length() + 1)}
        with self._lock, self._device.current():
            for count in sorted(sizes, reverse=True):
                try:
                    self._recording((count, *size))
                except DeviceError as error:
                    failed = error
                    _log.warning("batches of %d images do not fit the GPU: %s", count, error)
            if failed is not None and not self._recordings:
                raise failed

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images (B,3,H,W) in host memory."""
        return self._run(images.shape, lambda recording, begin, end: recording.upload(images[begin:end]))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images that are on the GPU or are produced there; ``fill`` enqueues the work that writes them.

        Raises:
            ModelError: there are more images than the maximum batch size.
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
        return joined(parts)

    def _part(self, shape: Shape, begin: int, end: int, fill: Callable[[_Recording, int, int], None]) -> Outputs:
        recording = self._recording((bucket(end - begin, self._least, self._most), *shape[1:]))
        fill(recording, begin, end)
        return recording.run(end - begin)

    def _recording(self, shape: Shape) -> _Recording:
        """Return the recording for a shape, made on first use; the least recently used one is evicted."""
        recording = self._recordings.pop(shape, None)
        if recording is None:
            while len(self._recordings) >= MOST_RECORDINGS:
                self._recordings.pop(next(iter(self._recordings))).close()
            recording = _Recording(self._device, self._prepare(shape))
        self._recordings[shape] = recording
        return recording

    def close(self) -> None:
        """Free all recordings. Further calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with self._device.current():
                while self._recordings:
                    self._recordings.popitem()[1].close()


def bucket(count: int, least: int, most: int) -> int:
    """Return the batch size for ``count`` images: the next power of two, limited to ``least`` .. ``most``."""
    return min(max(1 << max(count - 1, 0).bit_length(), least), most)


class _Recording(Closing):
    """A network at one shape, with its memory on host and GPU and, if it can be recorded, its graph."""

    def __init__(self, device: Device, work: PreparedNetwork) -> None:
        self._work = work
        with ExitStack() as opened:
            self._stream = opened.enter_context(device.stream())
            self._input = opened.enter_context(device.memory(*work.input))
            self._host = opened.enter_context(device.pinned(*work.input))
            self._outputs = {name: opened.enter_context(device.memory(*each)) for name, each in work.outputs.items()}
            self._results = {name: opened.enter_context(device.pinned(*each)) for name, each in work.outputs.items()}
            opened.callback(work.close)  # runs before the memory is freed, which it may still use
            work.bind(self._input.address, {name: memory.address for name, memory in self._outputs.items()})
            self._stream.upload(self._host.array, self._input)
            self._enqueue()  # a warm-up: work done only in the first run must not be part of the graph
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
        """Enqueue the copy of some images to the GPU; the rest of the batch keeps its old content."""
        part = self._host.array[: len(images)]
        np.copyto(part, images, casting="same_kind")
        self._stream.upload(part, self._input)

    def fill(self, fill: Fill) -> None:
        """Enqueue the work that writes the images."""
        fill(self._input, self._stream)

    def run(self, count: int) -> Outputs:
        """Run, wait, and return copies of the results of the first ``count`` images."""
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        self._stream.wait()
        return {name: result.array[:count].astype(np.float32) for name, result in self._results.items()}

    def close(self) -> None:
        """Wait for pending work and free all resources."""
        self._opened.close()
