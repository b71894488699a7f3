"""Networks in int8: convolutions in 8-bit integers, for CPUs with instructions for them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.closing import Closing
from ...engines.errors import ModelError, NasionError
from ...engines.runtime import Runtime
from ...engines.spec import Outputs, Spec
from ...realtime.tracking.aligner import Aligner
from ...realtime.tracking.detector import Detector
from ...realtime.values.arrays import FloatArray, Image
from .files import with_spec

LEAST_IMAGES = 16
"""Smallest number of images that a calibration accepts."""
PERCENTILE = 99.99
"""Share of the activations that the range of int8 covers, in per cent; outliers are clipped."""
_COLOURS = 3
_OPERATORS = ("Conv", "Relu", "Add", "Concat", "MaxPool", "Resize")


class _Recorder(Closing):
    """Runtime that keeps the images which it is given."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self.spec = runtime, runtime.spec
        self.provider, self.device, self.threads = runtime.provider, runtime.device, runtime.threads
        self.reason = runtime.reason
        self.kept: list[FloatArray] = []

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        self.kept.append(images.copy())
        return self._runtime(images)

    def close(self) -> None:
        """Keep the runtime open; its owner closes it."""


def calibration_inputs(runtime: Runtime, detector: Runtime, images: Iterable[Image]) -> list[FloatArray]:
    """Return the inputs (B,3,H,W) that a network gets from the tracker for some images.

    Args:
        runtime: a detector, or a landmark network.
        detector: finds the faces for a landmark network.
        images: (H,W,3) BGR images. Those without a face are left out, if the network finds landmarks.

    Raises:
        NasionError: the network finds faces and landmarks at once, or fewer than ``LEAST_IMAGES`` images can be used.
    """
    if runtime.spec.task == "faces":
        raise NasionError(f"model {runtime.spec.name!r} finds faces and landmarks at once, which int8 does not support")
    recorder = _Recorder(runtime)
    if runtime.spec.task == "detector":
        recording_detector = Detector(recorder)
        for image in images:
            recording_detector.detect(image)
        recorder.kept = [_padded(each, *runtime.spec.size) for each in recorder.kept]
    else:
        finder, aligner, recording = Detector(detector), Aligner(runtime), Aligner(recorder)
        for image in images:
            if regions := finder.detect(image).regions[:1]:
                recording.align(image, aligner.align(image, regions).regions)
    if len(recorder.kept) < LEAST_IMAGES:
        raise NasionError(
            f"{len(recorder.kept)} images can be used to quantize {runtime.spec.name!r}; give at least {LEAST_IMAGES}"
        )
    return recorder.kept


def _padded(images: FloatArray, width: int, height: int) -> FloatArray:
    """Return images (B,3,H,W) with black at the right and below: the calibration needs images of one size."""
    below, right = height - images.shape[2], width - images.shape[3]
    return np.pad(images, ((0, 0), (0, 0), (0, below), (0, right)))


def quantize(path: Path, spec: Spec, inputs: Sequence[FloatArray]) -> bytes:
    """Return an ``.onnx`` file whose convolutions compute in int8; the name in its spec ends with ``-int8``.

    Weights are quantized per channel. The range of activations covers ``PERCENTILE`` per cent of their values on
    ``inputs``. The first convolution, those with 1 x 1 kernels, and the decoding stay float32.

    Args:
        path: the ``.onnx`` file, in float32.
        spec: its spec.
        inputs: inputs (B,3,H,W) of the network for calibration.

    Raises:
        ModelError: the network has no convolution that would gain, or is quantized already.
    """
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.quant_utils import QuantFormat, QuantType
    from onnxruntime.quantization.quantize import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._inputs = iter(inputs)

        def get_next(self) -> dict[Any, Any]:
            return {"images": batch} if (batch := next(self._inputs, None)) is not None else {}

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):  # it reports its progress
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantized),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            op_types_to_quantize=list(_OPERATORS),
            extra_options={"CalibPercentile": PERCENTILE},
            nodes_to_exclude=_float_nodes(onnx.load(str(prepared)).graph, path),
        )
        return with_spec(quantized, replace(spec, name=f"{spec.name}-int8"))


def _float_nodes(graph: Any, path: Path) -> list[str]:
    """Return the names of the nodes of an ``onnx.GraphProto`` that stay float32.

    These are the convolutions of colour images or with 1 x 1 kernels, which gain no time and whose rounding makes
    landmarks less steady, and all other nodes that do not lie between two of the remaining convolutions.

    Raises:
        ModelError: the network is quantized already, or no convolution remains.
    """
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        raise ModelError(f"{path}: is quantized already; give the float32 file")
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    chosen = {
        node.name
        for node in graph.node
        if node.op_type == "Conv" and shapes[node.input[1]][1] > _COLOURS and shapes[node.input[1]][2:] != (1, 1)
    }
    if not chosen:
        raise ModelError(f"{path}: has no convolution of features with a kernel larger than 1 x 1; int8 gains nothing")
    behind, before = _reached(graph.node, chosen), _reached(reversed(graph.node), chosen, backwards=True)
    return [node.name for node in graph.node if node.name not in chosen | (behind & before)]


def _reached(nodes: Iterable[Any], start: set[str], *, backwards: bool = False) -> set[str]:
    """Return the names of ``start`` and of all nodes behind them, or before them; ``nodes`` are in that order."""
    values: set[str] = set()
    found = set(start)
    for node in nodes:
        inputs, outputs = (node.output, node.input) if backwards else (node.input, node.output)
        if node.name in start or not values.isdisjoint(inputs):
            found.add(node.name)
            values.update(outputs)
    return found
