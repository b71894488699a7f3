"""One interface for every way to run a network, and the choice of the best one here."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import DeviceError, MissingExtra, ModelError, NasionError, RuntimeUnavailable
from .places import reaching
from .spec import Outputs, Spec

if TYPE_CHECKING:
    from .batches import Fill, Shape

_log = logging.getLogger(__name__)

RuntimeName = Literal["auto", "onnx", "torch", "tensorrt"]

# runtime -> module, class, the files it runs; imported by name so that nothing else ever loads torch
_MODULES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "onnx": ("runtime_onnx", "OnnxRuntime", (".onnx",)),
    "torch": ("runtime_torch", "TorchRuntime", (".pt2",)),
    "tensorrt": ("runtime_tensorrt", "TensorRtRuntime", (".onnx", ".plan")),
}
# what a GPU is offered, best first, as a person calls it
_ON_GPU = {"tensorrt": "TensorRT", "onnx": "ONNX Runtime with CUDA"}


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


def open_runtime(
    model: str | Path,
    *,
    runtime: RuntimeName = "auto",
    threads: int = 1,
    device: str = "auto",
    longest: int | None = None,
) -> Runtime:
    """Load a model file.

    Args:
        model: path of an ``.onnx`` or ``.pt2`` file written by ``nasion export``, or a ``.plan`` of ``nasion compile``.
        runtime: ``auto`` runs an ``.onnx`` file in the first of these that works: TensorRT, ONNX Runtime with CUDA,
            ONNX Runtime on the CPU; the runtime's ``reason`` says why. Any other file has one runtime only.
        threads: threads one call may use; 0 leaves the choice to the runtime.
        device: ``cpu``, ``cuda:N``, or ``auto`` for a GPU where the runtime can use one.
        longest: a side that pictures will have, in pixels, where a network takes any size; what has to know
            beforehand, a plan of TensorRT, is made for it.

    Raises:
        ModelError: the file is missing, damaged or not ours.
        RuntimeUnavailable: the runtime or device asked for cannot run here, or not this file. Nothing else is tried.
    """
    path = Path(model)
    if runtime not in get_args(RuntimeName):
        raise RuntimeUnavailable(f"runtime {runtime!r} is unknown; allowed: {', '.join(get_args(RuntimeName))}")
    check_device(device)
    with reaching(path, ModelError, named=f"model {str(model)!r}"):
        is_file = path.is_file()
        if is_file:
            path.open("rb").close()  # what a library says of a file that may not be read is of little help
    if not is_file:
        raise ModelError(f"model {str(model)!r} is not a file; give the name of a shipped model or a path")
    if runtime != "auto":
        _check_suffix(runtime, path)
        return _load(runtime, path, threads, device, longest, reason=f"asked for: {runtime}")
    name = _by_suffix(path)
    if name == "onnx":
        return _best(path, threads, device, longest)
    return _load(name, path, threads, device, longest, reason=f"a {path.suffix} file runs in {name}")


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


def _best(path: Path, threads: int, device: str, longest: int | None) -> Runtime:
    """TensorRT, then ONNX Runtime on the GPU, then on the CPU."""
    if device == "cpu":
        return _load("onnx", path, threads, "cpu", longest, reason="the CPU was asked for")
    passed: list[str] = []
    wanted = "cuda:0" if device == "auto" else device
    try:
        from .driver import gpu

        gpu(gpu_number(wanted))
    except DeviceError as error:
        passed.append(str(error))
    else:
        for name, title in _ON_GPU.items():
            try:
                reason = "; ".join([*passed, f"{title} works on {wanted}"])
                return _load(name, path, threads, wanted, longest, reason=reason)
            # where the file itself is at fault, the last one says so, too
            except (RuntimeUnavailable, DeviceError, MissingExtra, ModelError) as error:
                _log.info("%s is passed over: %s", title, error)
                passed.append(f"{title}: {error}")
    if device != "auto":
        raise RuntimeUnavailable(f"no runtime works on {device}: {'; '.join(passed)}")
    return _load("onnx", path, threads, "cpu", longest, reason="; ".join([*passed, "so the CPU"]))


def _load(name: str, path: Path, threads: int, device: str, longest: int | None, *, reason: str) -> Runtime:
    module, class_name, _ = _MODULES[name]
    loader = getattr(importlib.import_module(f".{module}", __package__), class_name)
    opened: Runtime = loader(path, threads=threads, device=device, longest=longest)
    opened.reason = reason
    return opened


def _check_suffix(name: str, path: Path) -> None:
    suffixes = _MODULES[name][2]
    if path.suffix not in suffixes:
        raise RuntimeUnavailable(
            f"runtime {name!r} runs {' and '.join(suffixes)} files, not {path.name!r}; "
            f"give one that nasion export wrote, from a checkpoint or a recipe: -o NAME{suffixes[0]}"
        )


def _by_suffix(path: Path) -> str:
    for name, (_, _, suffixes) in _MODULES.items():
        if path.suffix in suffixes:
            return name
    allowed = dict.fromkeys(suffix for _, _, suffixes in _MODULES.values() for suffix in suffixes)
    raise ModelError(f"model {path.name!r} has suffix {path.suffix!r}; allowed: {', '.join(allowed)}")


def working_runtimes() -> Sequence[tuple[str, str]]:
    """Name of each runtime and, for a person, whether it works here or why not."""
    report = []
    for name, (module, _, _) in _MODULES.items():
        try:
            report.append((name, str(importlib.import_module(f".{module}", __package__).describe())))
        except NasionError as error:
            report.append((name, f"not available: {error}"))
    return report
