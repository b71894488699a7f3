"""A ``torch.export`` file (``.pt2``) run by torch: the reference the other runtimes are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .closing import Closing
from .errors import MissingExtra, ModelError
from .runtime import Outputs
from .spec import METADATA_KEY, Spec

try:
    import torch
except ImportError as missing:
    raise MissingExtra("torch", "train", "the torch runtime") from missing


class TorchRuntime(Closing):
    """A ``.pt2`` program in torch on the CPU; implements ``engines.runtime.Runtime``.

    ``threads`` holds for the whole process, because torch has one pool only.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Load ``path``.

        Raises:
            ModelError: the file is no exported program or carries no spec.
        """
        extra = {METADATA_KEY: ""}
        try:
            self._module: Any = torch.export.load(path, extra_files=extra).module()
        except Exception as error:
            raise ModelError(f"{path}: torch cannot load it ({error}); export it again") from error
        if not extra[METADATA_KEY]:
            raise ModelError(f"{path}: carries no {METADATA_KEY} entry; write it with: nasion export CHECKPOINT")
        self.spec = Spec.from_json(extra[METADATA_KEY], origin=str(path))
        self.provider = "torch CPU"
        self.threads = threads
        if threads:
            torch.set_num_threads(threads)

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images (B,3,H,W), already normalised."""
        if self._module is None:
            raise ModelError("this runtime is closed; open it again")
        with torch.inference_mode():
            outputs: dict[str, torch.Tensor] = self._module(torch.from_numpy(images))
        return {name: value.numpy() for name, value in outputs.items()}

    def close(self) -> None:
        """Free the program."""
        self._module = None


def describe() -> str:
    """Version, for ``nasion doctor``."""
    return f"works: torch {torch.__version__} (.pt2 files, CPU)"
