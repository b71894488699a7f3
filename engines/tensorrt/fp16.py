"""Conversion of an ONNX model to fp16.

The convolutions and all nodes before them compute in float16. The nodes after the last convolution decode scores to
pixels and stay float32, as do sums, inputs and outputs. TensorRT takes the precision of every layer from the file, so
``nasion compile --fp16`` applies this conversion to a float32 file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ModelError
from .onnx_file import CONVOLUTIONS, OnnxFile, describe, parse

SUMS = (
    "Softmax",
    "LogSoftmax",
    "ReduceSum",
    "ReduceMean",
    "ReduceL2",
    "ReduceSumSquare",
    "GlobalAveragePool",
    "LayerNormalization",
)
"""Operators that sum over an axis. In float16, sums beyond 65504 are infinite; an engine may accumulate in float16."""

# inputs that ONNX requires as float32, whatever the type of the first input
_ALWAYS_FLOAT = {"Resize": (1, 2)}
_NOT_KNOWN = ("If", "Loop", "Scan", "ConstantOfShape", "RandomNormal", "RandomUniform", "EyeLike")


def to_fp16(model: OnnxFile) -> OnnxFile:
    """Return the model in float16; a float16 model is returned unchanged.

    Raises:
        ModelError: the model computes coordinates between its convolutions, or has an unknown operator or a number that
            float16 cannot represent.
    """
    if model.precision == "fp16":
        return model
    if model.plugins or model.spec.task == "faces":
        raise ModelError(
            f"{model.path.name} computes coordinates between its convolutions, which float16 cannot hold; {_REMEDY}"
        )
    graph = parse(model.path, model.content)
    _Conversion(model.path.name, graph).run()
    return describe(model.path, graph.SerializeToString())


_REMEDY = "export it in float16 instead: nasion export CHECKPOINT --fp16 -o MODEL.onnx"


class _Conversion:
    """In-place conversion of a model (``onnx.ModelProto``)."""

    def __init__(self, name: str, model: Any) -> None:
        import onnx
        from onnx import TensorProto

        self._onnx, self._name, self._graph = onnx, name, model.graph
        self._float, self._half = TensorProto.FLOAT, TensorProto.FLOAT16
        typed = onnx.shape_inference.infer_shapes(model).graph
        values = (*typed.value_info, *typed.input, *typed.output)
        self._kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._halved: set[str] = set()  # results that are float16 now
        self._nodes: list[Any] = []
        self._copies: dict[str, str] = {}  # value -> its copy in the other precision

    def run(self) -> None:
        """Run the conversion."""
        trunk = {n for n in _up_to_convolutions(self._graph) if self._graph.node[n].op_type not in SUMS}
        for number, node in enumerate(self._graph.node):
            inputs = [self._as_half if number in trunk else self._as_float] * len(node.input)
            for i in _ALWAYS_FLOAT.get(node.op_type, ()):
                inputs[i : i + 1] = [self._as_float] * len(inputs[i : i + 1])
            node.input[:] = [convert(name) for convert, name in zip(inputs, node.input, strict=True)]
            self._nodes.append(node)
            if number in trunk:
                self._halve(node)
        for output in self._graph.output:
            if output.name in self._halved:
                self._restore(output.name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        del self._graph.value_info[:]
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _halve(self, node: Any) -> None:
        """Change the float32 results of a node to float16."""
        if node.op_type in _NOT_KNOWN:
            raise ModelError(f"{self._name} has an operator {node.op_type} before its convolutions; {_REMEDY}")
        for entry in node.attribute:
            if node.op_type == "Cast" and entry.name == "to" and entry.i == self._float:
                entry.i = self._half
            if node.op_type == "Constant" and entry.t.data_type == self._float:
                entry.t.CopyFrom(self._tensor(entry.t, entry.t.name))
        self._halved.update(name for name in node.output if self._kinds.get(name) == self._float)

    def _as_half(self, name: str) -> str:
        """Return the float16 copy of a float32 value; other values are returned unchanged."""
        if name in self._weights:
            if self._weights[name].data_type != self._float:
                return name
            if name not in self._copies:
                self._copies[name] = f"{name}.half"
                self._graph.initializer.append(self._tensor(self._weights[name], self._copies[name]))
            return self._copies[name]
        return name if name in self._halved or self._kinds.get(name) != self._float else self._cast(name, self._half)

    def _as_float(self, name: str) -> str:
        """Return the float32 copy of a value that is float16 now; other values are returned unchanged."""
        return self._cast(name, self._float) if name in self._halved else name

    def _cast(self, name: str, kind: int) -> str:
        if name not in self._copies:
            self._copies[name] = f"{name}.cast"
            node = self._onnx.helper.make_node("Cast", [name], [self._copies[name]], f"cast {name}", to=kind)
            self._nodes.append(node)
        return self._copies[name]

    def _restore(self, name: str) -> None:
        """Convert an output of the model, computed by the trunk, back to float32 under its own name."""
        for node in self._nodes:
            node.input[:] = [f"{name}.half" if each == name else each for each in node.input]
            node.output[:] = [f"{name}.half" if each == name else each for each in node.output]
        self._nodes.append(self._onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=self._float))

    def _tensor(self, tensor: Any, name: str) -> Any:
        numpy_helper = self._onnx.numpy_helper
        single = numpy_helper.to_array(tensor)
        half = single.astype("float16")
        if single.size == 1 and single.any() and not half.any():  # an epsilon that prevents a division by zero
            raise ModelError(f"{self._name} has the number {single.item():g}, which is 0 in float16; {_REMEDY}")
        return numpy_helper.from_array(half, name)


def _up_to_convolutions(graph: Any) -> Iterator[int]:
    """Yield the numbers of all nodes that are convolutions or that a convolution depends on."""
    needed: set[str] = set()
    for number, node in reversed(list(enumerate(graph.node))):  # ONNX nodes are in topological order
        if node.op_type in CONVOLUTIONS or needed.intersection(node.output):
            needed.update(node.input)
            yield number
