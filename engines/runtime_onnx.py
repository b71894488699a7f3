"""ONNX Runtime: the embedded default, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .closing import Closing
from .errors import ModelError
from .runtime import Outputs
from .spec import METADATA_KEY, Spec

_ort: Any = onnxruntime  # its names are not declared to type checkers


class OnnxRuntime(Closing):
    """An ONNX file in ONNX Runtime on the CPU; implements ``engines.runtime.Runtime``."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Load ``path``; one call uses at most ``threads`` threads (0: ONNX Runtime's choice).

        Raises:
            ModelError: the file cannot be parsed or carries no spec.
        """
        options = _ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads that spin double the CPU time of a small network (docs/benchmarks.md).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = _ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}); export or download it again") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ModelError(f"{path}: carries no {METADATA_KEY} entry; write it with: nasion export CHECKPOINT")
        self.spec = Spec.from_json(metadata[METADATA_KEY], origin=str(path))
        self.provider: str = self._session.get_providers()[0]
        self.threads = threads
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run images (B,3,H,W), already normalised."""
        if self._session is None:
            raise ModelError("this runtime is closed; open it again")
        values = self._session.run(self._outputs, {self._input: images})
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Free the session."""
        self._session = None


def describe() -> str:
    """Version and providers, for ``nasion doctor``."""
    return f"works: ONNX Runtime {_ort.__version__} ({', '.join(_ort.get_available_providers())})"
