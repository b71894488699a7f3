"""Interface of a loaded network, common to all runtimes."""

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
    """A loaded network. Thread-safe, and a context manager that frees all resources on exit.

    Attributes:
        spec: spec of the model file.
        provider: the backend in use, e.g. ``CPUExecutionProvider``.
        device: the device in use, ``cpu`` or ``cuda:N``.
        reason: human-readable reason for the choice of runtime and device.
        threads: number of threads a call may use (0: the runtime's own choice).
    """

    spec: Spec
    provider: str
    device: str
    reason: str
    threads: int

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run normalised images (B,3,H,W) and return each output by name."""
        ...

    def close(self) -> None:
        """Free the network. Further calls do nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class GpuRuntime(Runtime, Protocol):
    """A runtime that also accepts images in memory of its GPU.

    Attributes:
        most_on_gpu: maximum batch size of ``run``; 0 if only images in host memory are accepted.
    """

    most_on_gpu: int

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images (B,3,H,W); ``fill(memory, stream)`` enqueues the work on the stream that writes them to memory."""
        ...


def takes_images_on(runtime: Runtime, device: str) -> TypeGuard[GpuRuntime]:
    """Return True if a runtime accepts images in memory of a device, ``cuda:N``."""
    return runtime.device == device and most_on_gpu(runtime) > 0


def most_on_gpu(runtime: Runtime) -> int:
    """Return ``most_on_gpu`` of a runtime; 0 if it has no ``run``."""
    most: int = getattr(runtime, "most_on_gpu", 0)
    return most


def device_name(device: str) -> str:
    """Return the device ``auto``, ``cpu`` or ``cuda:N``; ``cuda`` stands for ``cuda:0``.

    Raises:
        RuntimeUnavailable: the device is none of these.
    """
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise RuntimeUnavailable(
            f"device {device!r} is unknown; allowed: auto, cpu, cuda (the same as cuda:0) or cuda:N"
        )
    return "cuda:0" if device == "cuda" else device


def gpu_number(device: str) -> int:
    """Return N of ``cuda:N``; 0 for ``auto``."""
    return int(device.partition(":")[2] or 0)
