"""Networks in fp16: weights and activations are float16, inputs and outputs float32.

Coordinates and sums that would overflow float16 stay float32: in the networks by ``blocks.in_full_precision``, within
an ONNX graph by ``sums_in_full``.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from ...engines.tensorrt.fp16 import SUMS

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
