"""ONNX Runtime: the default on the CPU, and on NVIDIA GPUs with its CUDA provider."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from .closing import Closing
from .errors import DeviceError, ModelError, RuntimeUnavailable, foreign, lacks_memory, printable
from .gpu import packages
from .gpu.device import Memory
from .gpu.graphs import Fill, Shape
from .gpu.inputs import MOST, GpuInput
from .runtime import gpu_number
from .spec import METADATA_KEY, Outputs, Spec, Tensor

_ort: Any = onnxruntime  # its names are not declared to type checkers

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# TF32, the default, keeps only 10 bits of mantissa in a convolution, which would shift the landmarks. The default
# search for the fastest convolution algorithm causes a delay at each new batch size.
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_BOUND = "cuda"  # ONNX Runtime's name for the memory that its CUDA provider computes in
_OPTIONS = {"use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}


class OnnxRuntime(Closing):
    """An ONNX file in ONNX Runtime; implements ``engines.runtime.Runtime``, and on a GPU ``GpuRuntime``."""

    def __init__(self, path: Path, *, threads: int = 1, device: str = "auto", longest: int | None = None) -> None:
        """Load ``path``.

        Args:
            path: the ``.onnx`` file.
            threads: maximum number of CPU threads per call (0: ONNX Runtime's choice).
            device: ``cpu``, ``cuda:N``, or ``auto``: the first GPU if this ONNX Runtime has a working CUDA provider,
                else the CPU.
            longest: ignored; images may have any size that the network accepts.

        Raises:
            ModelError: the file cannot be parsed or has no spec.
            RuntimeUnavailable: a GPU was requested by name and cannot be used.
            MemoryError: there is not enough memory.
        """
        self.device, self.reason = "cpu", "asked for: onnx"
        self._session: Any = None
        if device != "cpu":
            self._session = self._on_gpu(path, threads, device)
        if self._session is None:
            self._session = _session(path, threads, [CPU])
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ModelError(f"{path}: has no {METADATA_KEY} entry; write it with: nasion export CHECKPOINT")
        self.spec = Spec.from_json(metadata[METADATA_KEY], origin=str(path))
        inputs, outputs = (map(_tensor, each) for each in (self._session.get_inputs(), self._session.get_outputs()))
        self.spec.check_graph(inputs, outputs, origin=str(path))
        self.provider: str = self._session.get_providers()[0]
        self.threads = threads
        self._input = self._session.get_inputs()[0].name
        self.most_on_gpu: int = 0 if self.device == "cpu" else MOST
        self._on_device = GpuInput(gpu_number(self.device))
        self._outputs = [output.name for output in self._session.get_outputs()]

    def _on_gpu(self, path: Path, threads: int, device: str) -> Any:
        """Return a session for a GPU, or None if the device is ``auto`` and there is no CUDA provider."""
        number = gpu_number(device)
        if not has_cuda():
            if device == "auto":
                return None
            raise RuntimeUnavailable(f"this ONNX Runtime has no CUDA provider; {packages.onnx_runtime_remedy()}")
        with redirect_stdout(sys.stderr):  # it prints the libraries it does not find
            _ort.preload_dlls()  # CUDA and cuDNN installed by pip, which the loader does not find by itself
        why = ""
        try:
            session = _session(path, threads, [(CUDA, {"device_id": number, **_OPTIONS}), CPU])
        except ModelError as error:  # caused by the GPU, or by the file; in the latter case the CPU fails as well
            session, why = _session(path, threads, [CPU]), f" ({foreign(error.__cause__)})"
            if device != "auto" and error.__cause__ is not None and lacks_memory(error.__cause__):
                raise DeviceError.out_of_memory(device, error.__cause__) from error
        if session.get_providers()[0] == CUDA:  # otherwise it fell back to the CPU and reported that on stderr only
            self.device = f"cuda:{number}"
            return session
        if device == "auto":
            return session
        raise RuntimeUnavailable(
            f"ONNX Runtime's CUDA provider does not work on {device}{why}; "
            + (packages.misfit() or "it needs an NVIDIA driver, CUDA and cuDNN; see nvidia-smi for the driver")
            + f": {packages.onnx_runtime_remedy()}"
        )

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run normalised images (B,3,H,W) and return each output by name.

        Raises:
            DeviceError: the GPU failed. There is no fallback to the CPU.
            ModelError: the network fails, or its outputs do not match its task.
            MemoryError: there is not enough memory.
        """
        return self._checked(lambda session: session.run(self._outputs, {self._input: images}), images.shape)

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images (B,3,H,W) that are produced on the GPU; see ``engines.runtime.GpuRuntime``.

        Raises:
            DeviceError: the GPU failed.
            ModelError: there are too many images, the network fails, or its outputs do not match its task.
        """
        with self._on_device.filled(shape, fill) as memory:
            return self._checked(lambda session: self._bound(session, memory, shape), shape)

    def _bound(self, session: Any, memory: Memory, shape: Shape) -> list[NDArray[Any]]:
        """Run the session on GPU memory, and return its outputs on the host."""
        binding = session.io_binding()
        binding.bind_input(self._input, _BOUND, gpu_number(self.device), np.float32, list(shape), memory.address)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        session.run_with_iobinding(binding)
        values: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return values

    def _checked(self, run: Callable[[Any], Sequence[NDArray[Any]]], shape: Shape) -> Outputs:
        """Run the session and check the outputs for images of a shape."""
        if self._session is None:
            raise ModelError("this runtime is closed; open it again")
        try:
            values = run(self._session)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            if self.device != "cpu":
                _check_gpu(error, self.device)
            _check_memory(error)
            raise ModelError(
                f"ONNX Runtime cannot run model {self.spec.name!r} on images of shape {shape} "
                f"({foreign(error)}); give other images, or export the model again"
            ) from error
        return self.spec.check_outputs(dict(zip(self._outputs, values, strict=True)), shape[0])

    def close(self) -> None:
        """Free the session and its memory on the GPU."""
        self._session = None
        self._on_device.close()


def _tensor(value: Any) -> Tensor:
    """Return name, dtype and shape of an input or output of a session."""
    dtype = _DTYPES.get(value.type, printable(value.type))
    return Tensor(value.name, dtype, tuple(size if isinstance(size, int) else None for size in value.shape or ()))


def _session(path: Path, threads: int, providers: list[Any]) -> Any:
    options = _ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; logging them would print unescaped names from the file
    # Spinning of idle threads doubles the CPU time of a small network (docs/benchmarks.md).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # a failure on a GPU must not silently continue on the CPU
        return _ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:
        if providers == [CPU]:  # the CPU may have the memory that the GPU lacks
            _check_memory(error)
        raise ModelError(
            f"{path}: ONNX Runtime cannot load it ({foreign(error)}); export or download it again"
        ) from error


def _check_gpu(error: Exception, device: str) -> None:
    """Raise DeviceError if ``error`` is from the GPU: an ``EPFail``, but also a ``Fail`` or ``RuntimeException``.

    Raises:
        DeviceError: the GPU failed, or has not enough memory.
    """
    if lacks_memory(error):
        raise DeviceError.out_of_memory(device, error) from error
    if isinstance(error, EPFail) or re.search("CUDA|CUDNN|CUBLAS", str(error)):
        raise DeviceError(f"ONNX Runtime failed on {device}: {foreign(error)}; or run on --device cpu") from error


def _check_memory(error: Exception) -> None:
    """Raise MemoryError if ``error`` says that memory ran out: then the model is not at fault.

    Raises:
        MemoryError: memory ran out.
    """
    if lacks_memory(error):
        raise MemoryError(f"ONNX Runtime: {foreign(error)}") from error


def has_cuda() -> bool:
    """Return True if this ONNX Runtime has a CUDA provider."""
    return CUDA in _ort.get_available_providers()


def describe() -> str:
    """Return the version and the execution providers, for ``nasion doctor``."""
    return f"works: ONNX Runtime {_ort.__version__} ({', '.join(_ort.get_available_providers())})"
