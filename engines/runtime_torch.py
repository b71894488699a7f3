"""A ``torch.export`` file (``.pt2``) run by torch: the reference the other runtimes are compared with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .closing import Closing
from .errors import MissingExtra, ModelError, RuntimeUnavailable
from .runtime import gpu_number
from .spec import METADATA_KEY, Outputs, Spec

try:
    import torch
    from torch.export.passes import move_to_device_pass
except ImportError as missing:
    raise MissingExtra("torch", "train", "the torch runtime") from missing


class TorchRuntime(Closing):
    """A ``.pt2`` program in torch; implements ``engines.runtime.Runtime``.

    ``threads`` holds for the whole process, because torch has one pool only. On a GPU it computes without TF32.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "auto", longest: int | None = None) -> None:
        """Load ``path``, on ``auto`` to the first GPU that torch can use; ``longest`` is of no consequence here.

        Raises:
            ModelError: the file is no exported program or carries no spec.
            RuntimeUnavailable: a GPU was asked for by name and torch cannot use it.
        """
        self.device, self.reason = _device(device), "asked for: torch"
        extra = {METADATA_KEY: ""}
        try:
            with _quiet():
                program = torch.export.load(path, extra_files=extra)
            if self.device != "cpu":
                torch.backends.cudnn.allow_tf32 = False  # 10 bits of each number, and the points would move
                program = move_to_device_pass(program, self.device)
            self._module: Any = program.module()
        except Exception as error:
            raise ModelError(
                f"{path}: torch cannot load it ({error}); export it again. Where a program has operators of its own, "
                "import what registers them first (ours: nasion.trainers.operators)"
            ) from error
        if not extra[METADATA_KEY]:
            raise ModelError(f"{path}: carries no {METADATA_KEY} entry; write it with: nasion export CHECKPOINT")
        self.spec = Spec.from_json(extra[METADATA_KEY], origin=str(path))
        self.provider = "torch CPU" if self.device == "cpu" else "torch CUDA"
        self.threads = threads
        if threads:
            torch.set_num_threads(threads)

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images (B,3,H,W), already normalised."""
        if self._module is None:
            raise ModelError("this runtime is closed; open it again")
        with torch.inference_mode():
            outputs: dict[str, torch.Tensor] = self._module(torch.from_numpy(images).to(self.device))
        return {name: value.cpu().numpy() for name, value in outputs.items()}

    def close(self) -> None:
        """Free the program."""
        self._module = None


def _device(device: str) -> str:
    """The device to use for the one asked for."""
    gpus = torch.cuda.device_count()
    if device == "auto":
        return "cuda:0" if gpus else "cpu"
    if device != "cpu" and gpu_number(device) >= gpus:
        raise RuntimeUnavailable(
            f"torch {torch.__version__} sees {gpus} GPUs and cannot use {device}; use --device cpu, or install a torch "
            "with CUDA: https://pytorch.org/get-started/locally"
        )
    return device


@contextmanager
def _quiet() -> Iterator[None]:
    """Let torch not tell of an error that is raised anyway, at the length of a traceback."""
    told = logging.getLogger("torch.export")
    before = told.level
    told.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        told.setLevel(before)


def describe() -> str:
    """Version and GPUs, for ``nasion doctor``."""
    gpus = torch.cuda.device_count()
    return f"works: torch {torch.__version__} (.pt2 files, CPU{f' and {gpus} GPUs' if gpus else ''})"
