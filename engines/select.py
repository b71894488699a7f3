"""Choice of the runtime: by name, by file suffix, or the best that works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import get_args

from .cpu import has_vnni
from .errors import DeviceError, MissingExtra, ModelError, NasionError, NoGpu, RuntimeUnavailable
from .output_paths import reaching
from .runtime import Runtime, RuntimeName, device_name, gpu_number

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of runtime.

    Attributes:
        module: module of the runtime, with a function ``describe``. Imported on demand, because torch may be needed.
        name: name of its class there.
        suffixes: file suffixes that it accepts.
    """

    module: str
    name: str
    suffixes: tuple[str, ...]

    def load(self) -> Callable[..., Runtime]:
        """Return the class of the runtime."""
        found: Callable[..., Runtime] = getattr(import_module(self.module, __package__), self.name)
        return found

    def describe(self) -> str:
        """Return a description of the installed version.

        Raises:
            NasionError: the runtime is not available.
        """
        text: str = import_module(self.module, __package__).describe()
        return text


_KINDS = {
    "onnx": _Kind(".onnx_runtime", "OnnxRuntime", (".onnx",)),
    "torch": _Kind(".torch.runtime", "TorchRuntime", (".pt2",)),
    "tensorrt": _Kind(".tensorrt.runtime", "TensorRtRuntime", (".onnx", ".plan")),
}
# runtimes to try on a GPU, best first, with their display names
_ON_GPU = {"tensorrt": "TensorRT", "onnx": "ONNX Runtime with CUDA"}


def open_runtime(
    model: str | Path,
    *,
    runtime: RuntimeName = "auto",
    threads: int = 1,
    device: str = "auto",
    longest: int | None = None,
    int8: Path | None = None,
) -> Runtime:
    """Load a model file.

    Args:
        model: path of an ``.onnx`` or ``.pt2`` file written by ``nasion export``, or a ``.plan`` of ``nasion compile``.
        runtime: ``auto`` runs an ``.onnx`` file in the first of these that works: TensorRT, ONNX Runtime with CUDA,
            ONNX Runtime on the CPU. With the device ``auto``, a network for which the CPU is faster than that GPU
            runs on the CPU; this is measured once (``engines/gpu/choice.py``). The ``reason`` of the runtime explains
            the choice. Any other file type has one runtime only.
        threads: number of threads a call may use; 0 leaves the choice to the runtime.
        device: ``cpu``, ``cuda`` or ``cuda:N``, or ``auto`` for a GPU if the runtime can use one.
        longest: longest side of the images in pixels, for a network with dynamic size. A TensorRT plan is built to
            cover this size; other runtimes ignore it.
        int8: int8 version of an ``.onnx`` file. It is loaded instead where ONNX Runtime runs on a CPU with VNNI.

    Raises:
        ModelError: the file is missing, damaged or not a nasion model.
        RuntimeUnavailable: the requested runtime or device does not work on this machine, or cannot run this file. No
            other one is tried.
    """
    if runtime not in get_args(RuntimeName):
        raise RuntimeUnavailable(f"runtime {runtime!r} is unknown; allowed: {', '.join(get_args(RuntimeName))}")
    path, device = Path(model), device_name(device)
    with reaching(path, ModelError, named=f"model {str(path)!r}"):
        is_file = path.is_file()
        if is_file:
            path.open("rb").close()  # gives a clearer error for an unreadable file than the libraries do
    if not is_file:
        raise ModelError(f"model {str(path)!r} is not a file; give the name of a shipped model or a path")
    wanted = _Wanted(path, int8, threads, longest)
    if runtime != "auto":
        _check_suffix(runtime, path)
        return _load(runtime, wanted, device, reason=f"asked for: {runtime}")
    name = _by_suffix(path)
    if name == "onnx":
        return _best(wanted, device)
    return _load(name, wanted, device, reason=f"a {path.suffix} file runs in {name}")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Arguments of ``open_runtime`` that do not depend on the choice."""

    path: Path
    int8: Path | None
    threads: int
    longest: int | None


def _best(wanted: _Wanted, device: str) -> Runtime:
    """Load an ONNX file in TensorRT, else in ONNX Runtime on the GPU, else on the CPU."""
    if device == "cpu":
        return _load("onnx", wanted, "cpu", reason="the CPU was asked for")
    passed: list[str] = []
    place = "cuda:0" if device == "auto" else device
    try:
        _check_gpu(place)
    except NoGpu as error:
        _log.info("%s", error)
        if device == "auto":
            return _load("onnx", wanted, "cpu", reason="no NVIDIA GPU found")
        passed.append(str(error))
    except DeviceError as error:
        passed.append(str(error))
    else:
        for name, title in _ON_GPU.items():
            try:
                reason = "; ".join([*passed, f"{title} works on {place}"])
                if device == "auto":
                    return _fastest(name, title, wanted, reason)
                return _load(name, wanted, place, reason=reason)
            # if the file itself is the cause, the last runtime reports it as well
            except (RuntimeUnavailable, DeviceError, MissingExtra, ModelError) as error:
                _log.info("%s is skipped: %s", title, error)
                passed.append(f"{title}: {error}")
    if device != "auto":
        raise RuntimeUnavailable(f"no runtime works on {device}: {'; '.join(passed)}")
    return _load("onnx", wanted, "cpu", reason="; ".join([*passed, "so the CPU"]))


def _fastest(name: str, title: str, wanted: _Wanted, reason: str) -> Runtime:
    """Load a network on the first GPU or, if that was measured to be slower for it, in float32 on the CPU."""
    from .gpu import choice
    from .gpu.driver import gpu

    first, on_cpu = gpu(0), replace(wanted, int8=None)  # the measurement must not decide the precision
    file = choice.file_of(wanted.path, title, first, wanted.threads)
    known = choice.read(file)
    if known is None or known.prefers_gpu:
        opened = _load(name, wanted, "cuda:0", reason=reason)
        if known is None:
            try:
                with _load("onnx", on_cpu, "cpu", reason="") as slow:
                    known = choice.Choice.measured(wanted.path.stem, title, first, opened, slow)
            except BaseException:
                opened.close()
                raise
            choice.store(file, known)
        opened.reason = f"{reason}; {known}"
        if known.prefers_gpu:
            return opened
        opened.close()
    return _load("onnx", on_cpu, "cpu", reason=f"the CPU is faster for this network: {known}")


def _load(name: str, wanted: _Wanted, device: str, *, reason: str) -> Runtime:
    make = _KINDS[name].load()
    if name == "onnx" and device == "auto" and not _onnx_may_use_a_gpu():
        device = "cpu"
    path = wanted.path
    quantized = wanted.int8 if name == "onnx" and has_vnni() else None
    if quantized and device == "cpu":
        path, reason = quantized, f"{reason}; in int8, because it has VNNI"
    opened = make(path, threads=wanted.threads, device=device, longest=wanted.longest)
    if quantized and device == "auto" and opened.device == "cpu":  # there is a GPU, but it does not work
        opened.close()
        return _load(name, wanted, "cpu", reason=reason)
    opened.reason = reason
    return opened


def _onnx_may_use_a_gpu() -> bool:
    from .onnx_runtime import has_cuda

    if not has_cuda():
        return False
    try:
        _check_gpu("cuda:0")
    except DeviceError as error:
        _log.info("%s", error)
        return False
    return True


def _check_gpu(device: str) -> None:
    """Check that a GPU works.

    Raises:
        DeviceError: it does not.
    """
    from .gpu.driver import gpu

    gpu(gpu_number(device))


def _check_suffix(name: str, path: Path) -> None:
    suffixes = _KINDS[name].suffixes
    if path.suffix not in suffixes:
        raise RuntimeUnavailable(
            f"runtime {name!r} runs {' and '.join(suffixes)} files, not {path.name!r}; "
            f"give one that nasion export wrote, from a checkpoint or a recipe: -o NAME{suffixes[0]}"
        )


def _by_suffix(path: Path) -> str:
    for name, kind in _KINDS.items():
        if path.suffix in kind.suffixes:
            return name
    allowed = dict.fromkeys(suffix for kind in _KINDS.values() for suffix in kind.suffixes)
    message = f"model {path.name!r} has suffix {path.suffix!r}; allowed: {', '.join(allowed)}"
    if path.suffix in (".pt", ".pth"):
        message += f"; nasion export writes one from a checkpoint: nasion export {path.name} -o {path.stem}.onnx"
    raise ModelError(message)


def working_runtimes() -> Sequence[tuple[str, str]]:
    """Return the name of each runtime with a description of its state: its version, or why it is not available."""
    report = []
    for name, kind in _KINDS.items():
        try:
            report.append((name, kind.describe()))
        except NasionError as error:
            report.append((name, f"not available: {error}"))
    return report
