"""Parity of a runtime's outputs with those of ONNX Runtime on the CPU.

Two implementations sum in different orders, so outputs differ in their last digits. Where a network takes the maximum
of many values, such a difference can change the result. Therefore a share of all values must be within a tolerance, not
each value. Inputs are faces, not noise, because the outputs of a network trained on faces are unstable for noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import RuntimeUnavailable
from ..spec import Outputs, Spec
from .onnx_file import Precision
from .photograph import views

Call = Callable[[NDArray[np.float32]], Outputs]

SHARES: Mapping[Precision, float] = {"fp32": 0.99, "fp16": 0.98}
"""Minimum share of the values of each output that must be within its tolerance."""

TOLERANCES: Mapping[Precision, Mapping[str, float]] = {
    "fp32": {
        "points": 0.05,
        "boxes": 0.1,
        "scores": 1e-3,
        "confidence": 1e-3,
        "presence": 1e-3,
        "valid": 0.0,
        "visibility": 1e-3,
    },
    "fp16": {
        "points": 0.5,
        "boxes": 1.0,
        "scores": 2e-2,
        "confidence": 2e-2,
        "presence": 2e-2,
        "valid": 0.0,
        "visibility": 2e-2,
    },
}
"""Tolerance of each output: pixels of the input for points and boxes, absolute difference for the others."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of one output.

    Attributes:
        worst: largest absolute difference.
        within: share of values within the tolerance.
        tolerance: tolerance of the output.
    """

    worst: float
    within: float
    tolerance: float


def compare(reference: Call, candidate: Call, spec: Spec, precision: Precision, *, batch: int) -> dict[str, Difference]:
    """Run both on the same batch of faces, and the candidate on single faces too, and return the differences.

    Raises:
        RuntimeUnavailable: there is no parity; the message states the differences.
    """
    images = views(spec, batch)
    expected, together = reference(images), candidate(images)
    singles = [candidate(images[i : i + 1]) for i in (0, batch - 1)]
    alone = {name: np.concatenate([single[name] for single in singles]) for name in together}
    among = {name: values[[0, batch - 1]] for name, values in expected.items()}
    found = differences(expected, together, precision)
    for name, other in differences(among, alone, precision).items():
        found[name] = _worse(found[name], other)
    wrong = {name: each for name, each in found.items() if each.within < SHARES[precision]}
    if wrong:
        differing = ", ".join(
            f"{name} by up to {each.worst:.3g} ({each.within:.1%} within {each.tolerance})"
            for name, each in wrong.items()
        )
        raise RuntimeUnavailable(f"{spec.name} gives other results than in ONNX Runtime: {differing}")
    return found


def differences(expected: Outputs, found: Outputs, precision: Precision) -> dict[str, Difference]:
    """Return the difference of each output from the expected one.

    Faces are matched first: each expected face with the nearest found face. If no face is expected, all slots are
    compared in this way, valid or not. A difference in the number of faces counts in ``valid``.
    """
    whole = "valid" in expected
    mine, theirs = _matched(expected, found) if whole else (expected, found)
    gaps = {name: _difference(mine[name], theirs[name], TOLERANCES[precision].get(name, 1e-3)) for name in mine}
    if whole:
        many, so_many = (outputs["valid"].sum(axis=1) for outputs in (expected, found))
        counts = _difference(many, so_many, 0.0)
        gaps["valid"] = _worse(gaps["valid"], counts)
    return gaps


def _worse(one: Difference, other: Difference) -> Difference:
    return max(one, other, key=lambda each: (1 - each.within, each.worst))


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32], tolerance: float) -> Difference:
    if expected.shape != found.shape:
        return Difference(np.inf, 0.0, tolerance)
    if not expected.size:
        return Difference(0.0, 1.0, tolerance)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is handled below
        gaps = np.abs(expected.astype(np.float64) - found)
    gaps[np.isnan(expected) & np.isnan(found) | (expected == found)] = 0  # infinities too
    gaps[np.isnan(gaps)] = np.inf
    return Difference(float(gaps.max()), float((gaps <= tolerance).mean()), tolerance)


def _matched(expected: Outputs, found: Outputs) -> tuple[Outputs, Outputs]:
    """Match each valid expected face with the nearest bounding box found in the same image.

    Slots are in the order of scores, so two faces with almost equal scores may swap.
    """
    any_valid = bool((expected["valid"] > 0.5).any())
    image, slot = np.nonzero((expected["valid"] > 0.5) | (not any_valid))
    gaps = np.abs(found["boxes"][image] - expected["boxes"][image, slot][:, None]).max(axis=-1)
    if any_valid:
        gaps[found["valid"][image] <= 0.5] = np.inf
    nearest = gaps.argmin(axis=1) if len(image) else slot
    mine = {name: values[image, slot] for name, values in expected.items()}
    theirs = {name: values[image, nearest] for name, values in found.items()}
    return mine, theirs
