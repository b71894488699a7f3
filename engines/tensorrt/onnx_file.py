"""Contents of an ONNX file that an engine built from it must match."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import MissingExtra, ModelError, foreign
from ..spec import METADATA_KEY, Spec, Tensor

Precision = Literal["fp32", "fp16"]
DOMAIN = "nasion"
"""Domain of the custom operators, which TensorRT runs as plugins."""

CONVOLUTIONS = ("Conv", "ConvTranspose")
WEIGHTED = (*CONVOLUTIONS, "Gemm", "MatMul")
"""Operators whose second input is their weights."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX model exported by nasion.

    Attributes:
        path: path of the file, used in errors.
        content: bytes of the file, or of a copy in another precision.
        sha256: SHA-256 of ``content``.
        spec: spec of the model.
        precision: precision of its convolutions.
        layers: dtype of the weights of every convolution and matrix product, by the name of its result.
        inputs: numpy dtype of each input by name.
        outputs: numpy dtype of each output by name.
        plugins: number of nodes of each custom operator.
    """

    path: Path
    content: bytes
    sha256: str
    spec: Spec
    precision: Precision
    layers: Mapping[str, str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    plugins: Mapping[str, int]


def read_onnx(path: Path) -> OnnxFile:
    """Read a model file.

    Weights that the file stores as float16 and casts to float32 are float32 in ``content``, as TensorRT wants them.

    Raises:
        ModelError: the file is damaged or has no spec.
        MissingExtra: the package onnx is not installed.
    """
    content = path.read_bytes()
    model = parse(path, content)
    return describe(path, model.SerializeToString(deterministic=True) if _widen(model.graph) else content)


def describe(path: Path, content: bytes) -> OnnxFile:
    """Parse the bytes of a model; ``path`` names the file in errors.

    Raises:
        ModelError: the content is damaged or has no spec.
        MissingExtra: the package onnx is not installed.
    """
    model = parse(path, content)
    try:
        return _described(path, content, model)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: is damaged ({foreign(error)}); export or download it again") from error


def _described(path: Path, content: bytes, model: Any) -> OnnxFile:
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in metadata:
        raise ModelError(f"{path}: has no {METADATA_KEY} entry; write it with: nasion export CHECKPOINT")
    weights = {tensor.name for tensor in model.graph.initializer}
    plugins: dict[str, int] = {}
    for node in model.graph.node:
        if node.domain == DOMAIN:
            plugins[node.op_type] = plugins.get(node.op_type, 0) + 1
    return OnnxFile(
        path=path,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        spec=Spec.from_json(metadata[METADATA_KEY], origin=str(path)),
        precision=_precision(model),
        layers=_layers(model),
        inputs={each.name: _tensor(each).dtype for each in model.graph.input if each.name not in weights},
        outputs={each.name: _tensor(each).dtype for each in model.graph.output},
        plugins=plugins,
    )


def check_graph(model: OnnxFile) -> None:
    """Compare the inputs and outputs of a model with its spec.

    Raises:
        ModelError: inputs or outputs do not match the spec.
        MissingExtra: the package onnx is not installed.
    """
    graph = parse(model.path, model.content).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [_tensor(each) for each in graph.input if each.name not in weights]
    model.spec.check_graph(inputs, map(_tensor, graph.output), origin=str(model.path))


def parse(path: Path, content: bytes) -> Any:
    """Parse the bytes of a model to an ``onnx.ModelProto``; ``path`` names the file in errors.

    Raises:
        ModelError: the content is not an ONNX model.
        MissingExtra: the package onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as missing:
        raise MissingExtra("onnx", "tensorrt", "building an engine") from missing
    try:
        return onnx.load_from_string(content)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file ({foreign(error)}); export or download it again") from error


def _widen(graph: Any) -> bool:
    """Replace every Cast of a float16 constant to float32 by a float32 constant; return True if there are any."""
    from onnx import TensorProto, helper, numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    widened: set[str] = set()
    for node in list(graph.node):
        to = [helper.get_attribute_value(entry) for entry in node.attribute if entry.name == "to"]
        if node.op_type == "Cast" and to == [TensorProto.FLOAT] and node.input[0] in stored:
            full = numpy_helper.to_array(stored[node.input[0]]).astype("float32")
            graph.initializer.append(numpy_helper.from_array(full, node.output[0]))
            graph.node.remove(node)
            widened.add(node.input[0])
    for name in widened - {name for node in graph.node for name in node.input}:
        graph.initializer.remove(stored[name])
    return bool(widened)


def _tensor(value: Any) -> Tensor:
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.tensor_type
    sizes = tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
    return Tensor(value.name, str(tensor_dtype_to_np_dtype(kind.elem_type)), sizes)


def _precision(model: Any) -> Precision:
    """Return the precision of the weights of the convolutions, or of all weights if there are no convolutions."""
    from onnx import TensorProto

    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    convolved = [node.input[1] for node in model.graph.node if node.op_type in CONVOLUTIONS]
    used = [kinds[name] for name in convolved if name in kinds] or list(kinds.values())
    return "fp16" if TensorProto.FLOAT16 in used else "fp32"


def _layers(model: Any) -> dict[str, str]:
    from onnx.helper import tensor_dtype_to_np_dtype

    weights = {each.name: str(tensor_dtype_to_np_dtype(each.data_type)) for each in model.graph.initializer}
    weighted = [node for node in model.graph.node if node.op_type in WEIGHTED and node.input[1] in weights]
    return {node.output[0]: weights[node.input[1]] for node in weighted}
