"""One interface for every way to run a network, and the choice of the best one here."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, NasionError, RuntimeUnavailable
from .spec import Spec

RuntimeName = Literal["auto", "onnx", "torch"]
Outputs = dict[str, NDArray[np.float32]]

# file suffix -> runtime; the torch module is imported by name so that nothing else ever loads torch
_MODULES = {
    "onnx": ("runtime_onnx", "OnnxRuntime", ".onnx"),
    "torch": ("runtime_torch", "TorchRuntime", ".pt2"),
}


class Runtime(Protocol):
    """A loaded network. Safe to call from several threads; a context manager that frees everything.

    Attributes:
        spec: what the file says about itself.
        provider: what really runs it, e.g. ``CPUExecutionProvider``.
        threads: threads one call may use (0 means the runtime's own choice).
    """

    spec: Spec
    provider: str
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


def open_runtime(model: str | Path, *, runtime: RuntimeName = "auto", threads: int = 1) -> Runtime:
    """Load a model file.

    Args:
        model: path of an ``.onnx`` or ``.pt2`` file written by ``nasion export``.
        runtime: ``auto`` goes by the file's suffix.
        threads: threads one call may use; 0 leaves the choice to the runtime.

    Raises:
        ModelError: the file is missing, damaged or not ours.
        RuntimeUnavailable: the runtime asked for cannot run here, or not this file.
    """
    path = Path(model)
    if runtime not in get_args(RuntimeName):
        raise RuntimeUnavailable(f"runtime {runtime!r} is unknown; allowed: {', '.join(get_args(RuntimeName))}")
    if not path.is_file():
        raise ModelError(f"model {str(model)!r} is not a file; give the name of a shipped model or a path")
    name = _by_suffix(path) if runtime == "auto" else runtime
    module, class_name, suffix = _MODULES[name]
    if path.suffix != suffix:
        raise RuntimeUnavailable(
            f"runtime {name!r} runs {suffix} files, not {path.name!r}; "
            f"write one with: nasion export CHECKPOINT -o {path.stem}{suffix}"
        )
    loader = getattr(importlib.import_module(f".{module}", __package__), class_name)
    opened: Runtime = loader(path, threads=threads)
    return opened


def _by_suffix(path: Path) -> str:
    for name, (_, _, suffix) in _MODULES.items():
        if path.suffix == suffix:
            return name
    allowed = ", ".join(suffix for _, _, suffix in _MODULES.values())
    raise ModelError(f"model {path.name!r} has suffix {path.suffix!r}; allowed: {allowed}")


def working_runtimes() -> Sequence[tuple[str, str]]:
    """Name of each runtime and, for a person, whether it works here or why not."""
    report = []
    for name, (module, _, _) in _MODULES.items():
        try:
            report.append((name, str(importlib.import_module(f".{module}", __package__).describe())))
        except NasionError as error:
            report.append((name, f"not available: {error}"))
    return report
