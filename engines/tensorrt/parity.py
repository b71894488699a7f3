"""Does a network give elsewhere what it gives in ONNX Runtime on the CPU.

Two programs add up numbers in different orders, so outputs differ in their last digits; where a network looks for the
highest of many numbers, such a digit may decide. So a share of all values must be within a tolerance, not each one. And
faces are shown, not noise, of which a network that was trained on faces has no decided opinion.
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
"""Least share of the values of each output that must be within its tolerance."""

TOLERANCES: Mapping[Precision, Mapping[str, float]] = {
    "fp32": {"points": 0.05, "boxes": 0.1, "scores": 1e-3, "confidence": 1e-3, "presence": 1e-3, "valid": 0.0},
    "fp16": {"points": 0.5, "boxes": 1.0, "scores": 2e-2, "confidence": 2e-2, "presence": 2e-2, "valid": 0.0},
}
"""Largest difference that counts as none: pixels of the input for points and boxes, else parts of 1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How one output differs.

    Attributes:
        worst: largest difference.
        within: share of values within the tolerance.
        tolerance: what counts as none.
    """

    worst: float
    within: float
    tolerance: float


def compare(reference: Call, candidate: Call, spec: Spec, precision: Precision, *, batch: int) -> dict[str, Difference]:
    """Run both on the same faces, ``batch`` at a time, and the candidate on single ones too.

    Raises:
        RuntimeUnavailable: they do not agree; the message says by how much.
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
        told = ", ".join(
            f"{name} by up to {each.worst:.3g} ({each.within:.1%} within {each.tolerance})"
            for name, each in wrong.items()
        )
        raise RuntimeUnavailable(f"{spec.name} gives something else than in ONNX Runtime: {told}")
    return found


def differences(expected: Outputs, found: Outputs, precision: Precision) -> dict[str, Difference]:
    """How each output differs from what was expected; of faces, each expected one from the nearest that was found.

    Where none is expected, all slots are compared so, valid or not. Faces beyond those expected count in ``valid``.
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
    with np.errstate(invalid="ignore"):  # infinity less infinity, mended below
        gaps = np.abs(expected.astype(np.float64) - found)
    gaps[np.isnan(expected) & np.isnan(found) | (expected == found)] = 0  # infinities too
    gaps[np.isnan(gaps)] = np.inf
    return Difference(float(gaps.max()), float((gaps <= tolerance).mean()), tolerance)


def _matched(expected: Outputs, found: Outputs) -> tuple[Outputs, Outputs]:
    """Faces in the order of the expected ones: for each that is valid the nearest box found in the same picture.

    The order of slots is that of the scores, and two that are almost equal may change places.
    """
    anybody = bool((expected["valid"] > 0.5).any())
    picture, slot = np.nonzero((expected["valid"] > 0.5) | (not anybody))
    gaps = np.abs(found["boxes"][picture] - expected["boxes"][picture, slot][:, None]).max(axis=-1)
    if anybody:
        gaps[found["valid"][picture] <= 0.5] = np.inf
    nearest = gaps.argmin(axis=1) if len(picture) else slot
    mine = {name: values[picture, slot] for name, values in expected.items()}
    theirs = {name: values[picture, nearest] for name, values in found.items()}
    return mine, theirs
