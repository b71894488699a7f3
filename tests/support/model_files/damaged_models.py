"""Damaged and hostile ONNX files: what is in each, by name."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from nasion.engines.spec import METADATA_KEY
from nasion.engines.zoo import model_path

SHIPPED = {name: model_path(name).read_bytes() for name in ("landmarks-68", "face-detector")}
SPEC = {"task": "landmarks", "name": "tiny", "size": [32, 32], "landmarks": 68, "std": [1.0, 1.0, 1.0]}
DETECTOR_SPEC = {"task": "detector", "name": "tiny", "size": [64, 64], "stride": 32}
NAN, INF = float("nan"), float("inf")

# --- entries of the spec of the shipped landmark network; each alone is refused

WRONG_ENTRIES: dict[str, tuple[str, object]] = {
    **{f"task-{value}": ("task", value) for value in ("faces", "detector", "eyes", "", None, 5)},
    "task-list": ("task", ["landmarks"]),
    "name-number": ("name", 5),
    "name-null": ("name", None),
    "name-empty": ("name", ""),
    "name-long": ("name", "x" * 101),
    "name-escape": ("name", "\x1b[31mred\x1b[0m"),
    "name-line-break": ("name", "a\nnasion: all is well"),
    "name-direction": ("name", "a\u202eb"),
    "name-surrogate": ("name", "\udc80"),
    "size-zero": ("size", [0, 0]),
    "size-negative": ("size", [-112, -112]),
    "size-huge": ("size", [10**9, 10**9]),
    "size-astronomic": ("size", [10**400, 10**400]),
    "size-other": ("size", [224, 224]),
    "size-oblong": ("size", [112, 96]),
    "size-one": ("size", [112]),
    "size-text": ("size", "112"),
    "size-fraction": ("size", [112.5, 112.5]),
    "size-bool": ("size", [True, True]),
    "size-null": ("size", None),
    "size-object": ("size", {"width": 112}),
    "channels-cmyk": ("channels", "cmyk"),
    "channels-number": ("channels", 3),
    "mean-nan": ("mean", [NAN, 0, 0]),
    "mean-inf": ("mean", [INF, 0, 0]),
    "mean-two": ("mean", [0, 0]),
    "mean-text": ("mean", ["0", "0", "0"]),
    "std-zero": ("std", [0, 1, 1]),
    "std-nan": ("std", [NAN, 1, 1]),
    "std-negative": ("std", [-1, 1, 1]),
    "stride-zero": ("stride", 0),
    "stride-negative": ("stride", -1),
    "stride-fraction": ("stride", 2.5),
    "stride-huge": ("stride", 10**9),
    "stride-of-a-fixed-size": ("stride", 16),
    "landmarks-zero": ("landmarks", 0),
    "landmarks-other": ("landmarks", 67),
    "landmarks-negative": ("landmarks", -1),
    "landmarks-huge": ("landmarks", 10**9),
    "landmarks-text": ("landmarks", "68"),
    "threshold-two": ("threshold", 2),
    "threshold-negative": ("threshold", -0.1),
    "threshold-nan": ("threshold", NAN),
    "threshold-text": ("threshold", "0.5"),
    "crop-margin-inf": ("crop_margin", INF),
    "crop-margin-nan": ("crop_margin", NAN),
    "crop-margin-zero": ("crop_margin", 0),
    "unknown-entry": ("\x1b[2J", 1),
}
# --- texts in the place of a spec

WRONG_SPECS = {
    "null": "null",
    "number": "5",
    "list": "[]",
    "text": '"landmarks"',
    "empty-object": "{}",
    "empty": "",
    "cut-off": '{"task": "landm',
    "deep": "[" * 100_000,
    "digits": "9" * 10_000,
    "no-size": '{"task": "landmarks", "name": "x"}',
}


def with_spec(content: bytes, text: str | None) -> bytes:
    """A model with another text for its spec, or without one."""
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    if text is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, text
    return model.SerializeToString()


def wrong_specs() -> Iterator[tuple[str, bytes]]:
    """Models whose spec is wrong; all are refused."""
    content = SHIPPED["landmarks-68"]
    spec = json.loads(onnx.load_from_string(content).metadata_props[0].value)
    for name, text in WRONG_SPECS.items():
        yield f"spec-{name}", with_spec(content, text)
    yield "spec-none", with_spec(content, None)
    for name, (entry, value) in WRONG_ENTRIES.items():
        yield name, with_spec(content, json.dumps(spec | {entry: value}))


def damaged_bytes() -> Iterator[tuple[str, bytes]]:
    """Shipped models with a part missing or changed, and files of other kinds."""
    for name, content in SHIPPED.items():
        for share in (1, 10, 50, 90, 99):
            yield f"{name}-first-{share}-percent", content[: len(content) * share // 100]
        for seed in range(8):
            rng, flipped = np.random.default_rng(seed), bytearray(content)
            # the first bytes and the last hold the graph, the others its weights
            ends = np.concatenate([rng.integers(0, 4000, 20), len(content) - 1 - rng.integers(0, 4000, 20)])
            for place in ends if seed % 2 else rng.integers(0, len(content), 200):
                flipped[place] ^= 1 << rng.integers(0, 8)
            yield f"{name}-flipped-{seed}", bytes(flipped)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("model.onnx", content)
    yield "empty", b""
    yield "text", b"this is no model\n" * 100
    yield "escapes", b"\x1b[2J\x1b[31m" * 100
    yield "zeros", bytes(100_000)
    yield "random", np.random.default_rng(0).bytes(100_000)
    yield "zip", buffer.getvalue()
    yield "twice", content + content


# --- graphs

_HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
_LANDMARKS = """
tiny ({kind}[{batch},3,{high},{wide}] images) => (float[B,68,{two}] points, float[B,68] {confidence}, float[B] presence)
<float[1,68,2] places, float zero = {{0.0}}, int64[3] axes = {{1, 2, 3}}, int64[2] as_column = {{-1, 1}},
 int64[3] as_cube = {{-1, 1, 1}}, float[68] ones>
{{
  pixels = Cast <to = 1> (images)
  mean = ReduceMean <keepdims = 0> (pixels, axes)
  nought = Mul (mean, zero)
  cube = Reshape (nought, as_cube)
  column = Reshape (nought, as_column)
  {points}
  {sure}
  {present}
}}
"""
_POINTS = "points = Add (cube, places)"
_SURE = "confidence = Add (column, ones)"
_PRESENT = "half = Exp (nought) presence = Identity (half)"
_PLAIN = {"kind": "float", "batch": "B", "high": 32, "wide": 32, "two": 2, "confidence": "confidence"}
_PARTS = {"points": _POINTS, "sure": _SURE, "present": _PRESENT}


def landmarks(spec: object = SPEC, **changes: object) -> onnx.ModelProto:
    """A landmark network that finds the same points everywhere, with changes to its text."""
    model = parser.parse_model(_HEAD + _LANDMARKS.format(**{**_PLAIN, **_PARTS, **changes}))
    side = np.stack(np.meshgrid(np.linspace(8, 24, 17), np.linspace(8, 24, 4)), axis=-1).reshape(1, 68, 2)
    for name, values in (("places", side), ("ones", np.ones(68))):
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(spec)
    return model


_DETECTOR = """
tiny (float[B,3,H,W] images) => (float[B,N,4] boxes, float[B,N] scores)
<float[1,N,4] places, float zero = {{0.0}}, int64[3] axes = {{1, 2, 3}}, int64[2] as_column = {{-1, 1}},
 int64[3] as_cube = {{-1, 1, 1}}, float[N] ones>
{{
  mean = ReduceMean <keepdims = 0> (images, axes)
  nought = Mul (mean, zero)
  cube = Reshape (nought, as_cube)
  column = Reshape (nought, as_column)
  boxes = Add (cube, places)
  {scores}
}}
"""


def detector(boxes: list[list[float]], scores: str = "scores = Add (column, ones)") -> bytes:
    """A detector that finds the same boxes everywhere."""
    model = parser.parse_model(_HEAD + _DETECTOR.format(scores=scores).replace("N", str(len(boxes))))
    for name, values in (("places", np.array([boxes])), ("ones", np.ones(len(boxes)))):
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(DETECTOR_SPEC)
    return bytes(model.SerializeToString())


def _external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[-1]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(4 * 68))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def _version(ir: int = 10, opset: int = 20) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.ir_version, model.opset_import[0].version = ir, opset

    return change


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("\x1b[31mred", 1))
    model.graph.node[0].domain, model.graph.node[0].op_type = "\x1b[31mred", "\x1b[2JEvil"


def _second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def _no_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def _cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "presence"


def _names_with_escapes(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = "\x1b[31m\u202e\nevil"


CHANGES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "external-above": _external("../ones.bin"),
    "external-absolute": _external("/etc/passwd"),
    "external-device": _external("/dev/zero"),
    "external-missing": _external("ones.bin"),
    "external-escape": _external("\x1b[31mred"),
    "ir-version": _version(ir=10**6),
    "opset": _version(opset=10**6),
    "unknown-operator": _unknown_operator,
    "second-input": _second_input,
    "no-outputs": _no_outputs,
    "cycle": _cycle,
}
TEXTS: dict[str, dict[str, object]] = {
    "float16-input": {"kind": "float16"},
    "byte-input": {"kind": "uint8"},
    "fixed-batch": {"batch": 1},
    "other-side": {"high": 64, "wide": 64},
    "no-confidence": {"confidence": "sureness", "sure": "sureness = Add (column, ones)"},
    "points-of-four": {"two": 4, "points": "pair = Add (cube, places) points = Concat <axis = 2> (pair, pair)"},
    "fails-when-it-runs": {
        "points": "wrong = Concat <axis = 0> (mean, zero_and_more) points = Reshape (wrong, as_cube)",
    },
}
STRANGE = {"nan": "bad = Div (nought, nought)", "inf": "large = Exp (nought) bad = Div (large, nought)"}
TARGETS = {
    "points": {"points": "{bad} bad_cube = Reshape (bad, as_cube) points = Add (bad_cube, places)"},
    "confidence": {"sure": "{bad} bad_column = Reshape (bad, as_column) confidence = Add (bad_column, ones)"},
    "presence": {"present": "{bad} presence = Identity (bad)"},
}


def wrong_graphs() -> Iterator[tuple[str, bytes]]:
    """Landmark networks that cannot be loaded, or are not what their spec says; all are refused."""
    for name, change in CHANGES.items():
        model = landmarks()
        change(model)
        yield name, model.SerializeToString()
    for name, changes in TEXTS.items():
        yield name, landmarks(**changes).SerializeToString()
    yield "sizes-open-but-other", landmarks(SPEC | {"size": [64, 64]}).SerializeToString()
    model = landmarks()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "many"
    entry = model.metadata_props[0]
    entry.value = json.dumps(SPEC | {"landmarks": 67})
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_param = "many"
    yield "count-shows-when-it-runs", model.SerializeToString()


def strange_graphs() -> Iterator[tuple[str, bytes]]:
    """Landmark networks that run and return values that are not numbers, or too large."""
    for kind, bad in STRANGE.items():
        for target, text in TARGETS.items():
            changes = {name: part.format(bad=bad) for name, part in text.items()}
            yield f"{kind}-{target}", landmarks(**changes).SerializeToString()
    huge = "far = Exp (nought) scale = Constant <value = float {3e38}> () vast = Mul (far, scale) "
    huge += "far_cube = Reshape (vast, as_cube) points = Add (far_cube, places)"
    yield "huge-points", landmarks(points=huge).SerializeToString()
    model = landmarks()
    _names_with_escapes(model)
    yield "names-with-escapes", model.SerializeToString()
    yield "open-sides", landmarks(high="H", wide="W").SerializeToString()


def strange_detectors() -> Iterator[tuple[str, bytes]]:
    """Detectors that may run, with boxes and scores that are no faces."""
    sane = [[4.0, 4.0, 40.0, 40.0]]
    strange = {"nan": [[NAN] * 4], "inf": [[-INF, -INF, INF, INF]], "huge": [[-3e38, -3e38, 3e38, 3e38]]}
    strange |= {"inverted": [[40.0, 40.0, 4.0, 4.0]], "empty": [[9.0, 9.0, 9.0, 9.0]]}
    strange |= {"many": [[i % 300, i % 200, i % 300 + 30, i % 200 + 30] for i in range(20_000)]}
    for name, boxes in strange.items():
        yield f"detector-{name}-boxes", detector([*sane, *boxes])
    for kind, bad in STRANGE.items():
        scores = f"{bad} bad_column = Reshape (bad, as_column) scores = Add (bad_column, ones)"
        yield f"detector-{kind}-scores", detector(sane, scores)
