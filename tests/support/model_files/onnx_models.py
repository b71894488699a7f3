"""Models of a few nodes, written by hand, with what exported ones have: a spec, a dynamic batch, decoding inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from nasion.engines.spec import METADATA_KEY, Spec

SPEC = Spec("landmarks", "tiny", (32, 32), landmarks=68, std=(1.0, 1.0, 1.0))
DETECTOR = Spec("detector", "tiny-detector", (64, 64), stride=32, std=(1.0, 1.0, 1.0))

# what follows the convolution is what a landmark network decodes with: a softmax, its mean place, a confidence
_LANDMARKS = """
<ir_version: 10, opset_import: ["" : 20{domain}]>
tiny (float[B,3,32,32] images) => (float[B,68,2] points, float[B,68] confidence, float[B] presence)
<float[68,3,2,2] weight, float[256,2] places, float scale = {{0.01}}, int64[3] flat = {{0, 68, 256}},
 int64[1] last = {{2}}, int64[1] second = {{1}}>
{{
  scores = Conv <strides = [2, 2]> (images, weight)
  bright = Relu (scores)
  {decode}
  confidence = ReduceMax <keepdims = 0> (shares, last)
  presence = ReduceMean <keepdims = 0> (confidence, second)
}}
{body}
"""
_DECODE = """
  small = Mul (bright, scale)
  rows = Reshape (small, flat)
  shares = Softmax <axis = 2> (rows)
  points = MatMul (shares, places)
"""
_DETECTOR = """
<ir_version: 10, opset_import: ["" : 20]>
tiny (float[B,3,H,W] images) => (float[B,N,4] boxes, float[B,N] scores)
<float[4,3,32,32] weight, int64[3] flat = {0, 4, -1}, int64[1] channel = {1}>
{
  cells = Conv <strides = [32, 32]> (images, weight)
  columns = Reshape (cells, flat)
  boxes = Transpose <perm = [0, 2, 1]> (columns)
  sums = ReduceMean <keepdims = 0> (columns, channel)
  scores = Sigmoid (sums)
}
"""
# a node of ours with its body, as nasion export writes it
_NODE = """
  small = Mul (bright, scale)
  rows = Reshape (small, flat)
  points, shares = nasion.Decode <plugin_namespace = "nasion", plugin_version = "1"> (rows, places)
"""
_BODY = """
<opset_import: ["" : 20], domain: "nasion">
Decode <plugin_namespace, plugin_version> (rows, places) => (points, shares)
{ shares = Softmax <axis = 2> (rows) points = MatMul (shares, places) }
"""


def landmarks(path: Path, *, node: bool = False, seed: int = 0) -> Path:
    """A landmark network of random weights; with ``node`` it decodes by a node of our own domain."""
    text = _LANDMARKS.format(
        decode=_NODE if node else _DECODE,
        body=_BODY if node else "",
        domain=', "nasion" : 1' if node else "",
    )
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0)), axis=-1).reshape(256, 2) * 2 + 0.5
    return _write(path, text, SPEC, weight=rng.normal(size=(68, 3, 2, 2)), places=places)


def detector(path: Path) -> Path:
    """A detector of random weights, for images of any size."""
    weight = np.random.default_rng(1).normal(size=(4, 3, 32, 32)) / 1000
    return _write(path, _DETECTOR, DETECTOR, weight=weight)


def _write(path: Path, text: str, spec: Spec, **weights: np.ndarray) -> Path:
    model = parser.parse_model(text)
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    onnx.save(model, path)
    return path


def crops(batch: int) -> np.ndarray:
    """Return images for the network of ``landmarks``."""
    return np.random.default_rng(batch).uniform(0, 255, (batch, 3, *SPEC.size)).astype(np.float32)
