"""Networks in fp16: computed in float16, or only stored in it.

``HalfPrecision`` computes in float16: weights and activations are float16, inputs and outputs float32. Coordinates and
sums that would overflow float16 stay float32: in the networks by ``blocks.in_full_precision``, within an ONNX graph by
``sums_in_full``.

``store_weights_as_fp16`` halves the size of a file that computes in float32.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from torch import Tensor, nn

from ...engines.tensorrt.fp16 import SUMS
from ...engines.tensorrt.onnx_file import WEIGHTED

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)


class HalfPrecision(nn.Module):
    """Copy of a network whose layers compute in float16.

    The inputs of convolutions, linear layers and batch normalisations are cast to float16, those of layer
    normalisations to float32. All other operations compute in the type of their input.
    """

    def __init__(self, network: nn.Module) -> None:
        """Copy ``network``, which is left unchanged."""
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        for module in self.network.modules():
            if isinstance(module, _LAYERS):
                module.half().register_forward_pre_hook(_to_half)
            elif isinstance(module, nn.LayerNorm):
                module.register_forward_pre_hook(_to_full)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Run the network on float32 images and return its outputs as float32."""
        return {name: value.float() for name, value in self.network(images).items()}


def _to_half(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.half() for value in inputs)


def _to_full(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in inputs)


def sums_in_full(graph: Any) -> None:
    """Compute every softmax and every sum over an axis of an ONNX graph (``onnx_ir.Graph``) in float32."""
    import onnx_ir as ir

    for node in list(graph):
        if node.op_type not in SUMS or node.inputs[0].dtype != ir.DataType.FLOAT16:
            continue
        (result,) = node.outputs
        lift = ir.node("Cast", [node.inputs[0]], {"to": ir.DataType.FLOAT.value})
        drop = ir.node("Cast", [result], {"to": ir.DataType.FLOAT16.value})
        for cast, dtype, like in ((lift, ir.DataType.FLOAT, node.inputs[0]), (drop, ir.DataType.FLOAT16, result)):
            cast.outputs[0].dtype, cast.outputs[0].shape = dtype, like.shape
        ir.convenience.replace_all_uses_with(result, drop.outputs[0], replace_graph_outputs=True)
        drop.replace_input_with(0, result)
        node.replace_input_with(0, lift.outputs[0])
        result.dtype = ir.DataType.FLOAT
        graph.insert_before(node, lift)
        graph.insert_after(node, drop)


ROUNDING = 2.0**-11
"""Largest rounding error of float16, relative to the number."""


def store_weights_as_fp16(model: Any) -> None:
    """Store the weights of an ONNX model (``onnx.ModelProto``) as float16, each followed by a Cast to float32.

    Weights are those of convolutions and matrix products. A runtime computes the casts once, when it loads the file,
    and runs the network in float32. Weights whose largest rounding error exceeds ``ROUNDING`` of their largest number
    (those below 1e-4, or beyond 65504) stay float32.
    """
    from onnx import TensorProto, helper, numpy_helper

    used = {node.input[1] for node in model.graph.node if node.op_type in WEIGHTED}
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name not in used or tensor.data_type != TensorProto.FLOAT:
            continue
        full, name = numpy_helper.to_array(tensor), tensor.name
        with np.errstate(over="ignore"):
            half = full.astype(np.float16)
        if np.abs(half - full).max() > ROUNDING * np.abs(full).max():
            continue
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
