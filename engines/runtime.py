"""The interface of a loaded network, whatever runs it."""

from __future__ import annotations

import logging
import re
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from .errors import RuntimeUnavailable
from .spec import Outputs, Spec

if TYPE_CHECKING:
    from .gpu.graphs import Fill, Shape

_log = logging.getLogger(__name__)

RuntimeName = Literal["auto", "onnx", "torch", "tensorrt"]


class Runtime(Protocol):
    """A loaded network. Safe to call from several threads; a context manager that frees everything.

    Attributes:
        spec: what the file says about itself.
        provider: what really runs it, e.g. ``CPUExecutionProvider``.
        device: where it runs: ``cpu`` or ``cuda:N``.
        reason: why this runtime and device, for people.
        threads: threads one call may use (0 means the runtime's own choice).
    """

    spec: Spec
    provider: str
    device: str
    reason: str
    threads: int

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images (B,3,H,W), already normalised, and return each output by name."""
        ...

    def close(self) -> None:
        """Free the network; calling it again does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class GpuRuntime(Runtime, Protocol):
    """A runtime that also takes images made on its GPU.

    Attributes:
        most_on_gpu: images that go together in ``run``; 0 where it takes images of the host only after all.
    """

    most_on_gpu: int

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images (B,3,H,W) which ``fill(memory, stream)`` puts into the stream to be written to the memory."""
        ...


def takes_images_on(runtime: Runtime, device: str) -> TypeGuard[GpuRuntime]:
    """Whether a runtime takes images that are made on a device, ``cuda:N``."""
    return runtime.device == device and most_on_gpu(runtime) > 0


def most_on_gpu(runtime: Runtime) -> int:
    """``most_on_gpu`` of a runtime; 0 for one that has no ``run``."""
    most: int = getattr(runtime, "most_on_gpu", 0)
    return most


def check_device(device: str) -> None:
    """See that a device is ``auto``, ``cpu`` or ``cuda:N``.

    Raises:
        RuntimeUnavailable: it is none of these.
    """
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda:\d+", device):
        raise RuntimeUnavailable(f"device {device!r} is unknown; allowed: auto, cpu, cuda:N (for example cuda:0)")


def gpu_number(device: str) -> int:
    """N of ``cuda:N``; 0 for ``auto``."""
    return int(device.partition(":")[2] or 0)
