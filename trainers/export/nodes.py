"""ONNX nodes of nasion's operators, each with a body of standard operators.

The nodes are in the domain ``nasion``.

ONNX Runtime does not know the domain and runs the body. TensorRT runs the plugin named by ``plugin_namespace`` and
``plugin_version``. Both are declared as attributes of the function, because NVIDIA's parser uses the body of a function
without them even if the plugin is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import onnx
import torch
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, parser
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset

from ..networks.operators import DOMAIN

VERSION = 1  # of the domain and of the plugins
PLUGIN = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}

_KIND = {float: "FLOAT", int: "INT", str: "STRING", list: "FLOATS"}


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the ``custom_translation_table`` of ``torch.onnx.export`` for nasion's operators."""
    operators = torch.ops.nasion
    return {
        operators.multi_level_roi_align.default: _multi_level_roi_align,
        operators.location_reweight.default: _location_reweight,
    }


def _multi_level_roi_align(
    levels: Sequence[Any],
    rois: Any,
    scales: Sequence[float],
    output_size: int,
    sampling_ratio: int,
    normalize: bool,
    epsilon: float,
) -> Any:
    attributes = {
        "scales": [float(scale) for scale in scales],
        "output_size": output_size,
        "sampling_ratio": sampling_ratio,
        "normalize": int(normalize),
        "epsilon": epsilon,
    }
    inputs = [*(f"level{i}" for i in range(len(levels))), "rois"]
    return _op("MultiLevelRoIAlign", inputs, ["features"], attributes)(*levels, rois, **attributes, **PLUGIN)


def _location_reweight(maps: Any, threshold: float) -> Any:
    attributes = {"threshold": threshold}
    return _op("LocationReweight", ["maps"], ["points", "confidence"], attributes)(maps, **attributes, **PLUGIN)


def _op(name: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict[str, Any]) -> Any:
    """Build an operator for the exporter; its schema is not registered globally."""
    kinds = {key: _KIND[type(value)] for key, value in (attributes | PLUGIN).items()}
    schema = OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[OpSchema.FormalParameter(each, f"T_{each}") for each in inputs],
        outputs=[OpSchema.FormalParameter(each, f"T_{each}") for each in outputs],
        type_constraints=[(f"T_{each}", ["tensor(float)", "tensor(float16)"], "") for each in (*inputs, *outputs)],
        attributes=[OpSchema.Attribute(key, getattr(OpSchema.AttrType, kind), "") for key, kind in kinds.items()],
    )
    return Op(Opset(DOMAIN, VERSION), name, schema)


# --- bodies


def add_bodies(model: ModelProto) -> None:
    """Append the body of each nasion operator used in ``model``.

    Must be the last step: the exporter's optimiser would inline a body in place of its node.

    Raises:
        ValueError: two nodes of one operator differ in their number of inputs or their scales, so that no single body
            fits both.
    """
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    written: dict[str, str] = {}
    for node in model.graph.node:
        if node.domain != DOMAIN:
            continue
        text = _TEXTS[node.op_type](node, opset)
        if written.setdefault(node.op_type, text) != text:
            raise ValueError(f"{node.name}: another {node.op_type} of this model has other inputs or scales")
    model.functions.extend(_parsed(text) for text in written.values())


@cache
def _parsed(text: str) -> FunctionProto:
    body: FunctionProto = parser.parse_function(text)
    return body


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node as Python values, with bytes decoded to text."""
    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _function(node: NodeProto, opset: int, inputs: Sequence[str], outputs: Sequence[str], lines: str) -> str:
    """Return a function in ONNX's textual syntax that declares every attribute of ``node``."""
    return (
        f'<opset_import: ["" : {opset}], domain: "{DOMAIN}">\n'
        f"{node.op_type} <{', '.join(sorted(attributes_of(node)))}> ({', '.join(inputs)}) => ({', '.join(outputs)})\n"
        f"{{{lines}}}"
    )


def _roi_align_text(node: NodeProto, opset: int) -> str:
    """Return the body of MultiLevelRoIAlign: ONNX's RoiAlign per level, with sums in float32.

    RoiAlign's boxes are shifted by half a pixel against nasion's.
    """
    values = attributes_of(node)
    count = len(values["scales"])
    lines = """
        zero = Constant <value_ints: ints = [0]> ()
        one = Constant <value_ints: ints = [1]> ()
        three = Constant <value_ints: ints = [3]> ()
        five = Constant <value_ints: ints = [5]> ()
        half = Constant <value_float: float = 0.5> ()
        column = Slice (rois, zero, one, one)
        numbers = Squeeze (column, one)
        images = Cast <to: int = 7> (numbers)
        low = Slice (rois, one, three, one)
        far = Slice (rois, three, five, one)
        high = Max (low, far)
        corners = Concat <axis: int = 1> (low, high)
        boxes = Add (corners, half)
        shortest = Constant <value_float: float = @epsilon> ()
    """
    for i, scale in enumerate(values["scales"]):
        lines += f"""
        full{i} = Cast <to: int = {TensorProto.FLOAT}> (level{i})
        bins{i} = RoiAlign <coordinate_transformation_mode: string = "half_pixel", mode: string = "avg",
            output_height: int = @output_size, output_width: int = @output_size,
            sampling_ratio: int = @sampling_ratio, spatial_scale: float = {scale!r}> (full{i}, boxes, images)
        """
        if values["normalize"]:
            lines += f"""
        length{i} = ReduceL2 <keepdims: int = 1> (bins{i}, one)
        divisor{i} = Max (length{i}, shortest)
        part{i} = Div (bins{i}, divisor{i})
        """
    part = "part" if values["normalize"] else "bins"
    lines += f"""
        joined = Concat <axis: int = 1> ({", ".join(f"{part}{i}" for i in range(count))})
        features = CastLike (joined, level0)
    """
    return _function(node, opset, [*(f"level{i}" for i in range(count)), "rois"], ["features"], lines)


def _reweight_text(node: NodeProto, opset: int) -> str:
    """Return the body of LocationReweight.

    It computes ``decoding.reweighted``, and ``decoding.arg_max`` for maps that stay below the threshold.
    """

    def lean(axis: str, size: str, step: str) -> str:
        """Return lines that shift a peak a quarter of a cell towards its higher neighbour along one axis.

        There is no shift at the map's edge.
        """
        return f"""
        after_first_{axis} = Greater ({axis}, nothing)
        end_{axis} = Sub ({size}, one)
        before_last_{axis} = Less ({axis}, end_{axis})
        inside_{axis} = And (after_first_{axis}, before_last_{axis})
        step_{axis} = Where (inside_{axis}, {step}, nothing)
        next_{axis} = Add (place, step_{axis})
        last_{axis} = Sub (place, step_{axis})
        after_{axis} = GatherElements <axis: int = 2> (flat, next_{axis})
        before_{axis} = GatherElements <axis: int = 2> (flat, last_{axis})
        slope_{axis} = Sub (after_{axis}, before_{axis})
        sign_{axis} = Sign (slope_{axis})
        shift_{axis} = Mul (sign_{axis}, quarter)
        cell_{axis} = Cast <to: int = {TensorProto.FLOAT}> ({axis})
        highest_{axis} = Add (cell_{axis}, shift_{axis})
        """

    def mean(axis: str, size: str, other: int) -> str:
        """Return lines for the sum of the cell indices along one axis, weighted by the cells' values.

        ``other`` is the axis that is summed over first.
        """
        return f"""
        other_{axis} = Constant <value_ints: ints = [{other}]> ()
        scalar_{axis} = Squeeze ({size}, first)
        numbers_{axis} = Range (from, scalar_{axis}, by)
        cells_{axis} = Cast <to: int = {TensorProto.FLOAT}> (numbers_{axis})
        sums_{axis} = ReduceSum <keepdims: int = 0> (weight, other_{axis})
        parts_{axis} = Mul (sums_{axis}, cells_{axis})
        moment_{axis} = ReduceSum <keepdims: int = 1> (parts_{axis}, two)
        """

    lines = f"""
        first = Constant <value_ints: ints = [0]> ()
        nothing = Constant <value_ints: ints = [0]> ()
        one = Constant <value_ints: ints = [1]> ()
        two = Constant <value_ints: ints = [2]> ()
        both = Constant <value_ints: ints = [2, 3]> ()
        from = Constant <value_int: int = 0> ()
        by = Constant <value_int: int = 1> ()
        none = Constant <value_float: float = 0.0> ()
        quarter = Constant <value_float: float = 0.25> ()
        least = Constant <value_float: float = 1e-6> ()
        bar = Constant <value_float: float = @threshold> ()
        full = Cast <to: int = {TensorProto.FLOAT}> (maps)
        heads = Shape <start: int = 0, end: int = 2> (maps)
        height = Shape <start: int = 2, end: int = 3> (maps)
        width = Shape <start: int = 3, end: int = 4> (maps)
        area = Mul (height, width)
        shape = Concat <axis: int = 0> (heads, area)
        flat = Reshape <allowzero: int = 1> (full, shape)
        place = ArgMax <axis: int = 2, keepdims: int = 1> (flat)
        peak = GatherElements <axis: int = 2> (flat, place)
        x = Mod (place, width)
        y = Div (place, width)
        {lean("x", "width", "one")}
        {lean("y", "height", "width")}
        highest = Concat <axis: int = 2> (highest_x, highest_y)
        counts = GreaterOrEqual (full, bar)
        weight = Where (counts, full, none)
        {mean("x", "width", 2)}
        {mean("y", "height", 3)}
        sum = ReduceSum <keepdims: int = 0> (weight, both)
        total = Max (sum, least)
        divisor = Unsqueeze (total, two)
        moments = Concat <axis: int = 2> (moment_x, moment_y)
        centre = Div (moments, divisor)
        sure = GreaterOrEqual (peak, bar)
        points = Where (sure, centre, highest)
        confidence = Squeeze (peak, two)
    """
    return _function(node, opset, ["maps"], ["points", "confidence"], lines)


_TEXTS = {"MultiLevelRoIAlign": _roi_align_text, "LocationReweight": _reweight_text}
