"""Score of a face: the probability that its landmarks are right, from the outputs of a landmark network."""

from __future__ import annotations

import numpy as np

from ..values.arrays import FloatArray

Weights = tuple[float, float, float]
_SMALLEST = np.float32(1e-6)


def features(confidence: FloatArray, presence: FloatArray) -> FloatArray:
    """Return (k, 3) of mean confidence (k,) and presence (k,): 1 and the logits of both, limited to ±13.8."""
    both = np.clip(np.stack([confidence, presence]), _SMALLEST, 1 - _SMALLEST)
    logits = np.log(both / (1 - both))
    return np.stack([np.ones_like(logits[0]), *logits], axis=1)


def calibrated(weights: Weights, confidence: FloatArray, presence: FloatArray) -> FloatArray:
    """Return the score (k,) of faces, a logistic regression with the weights of a spec; see ``Spec.score``."""
    logits: FloatArray = features(confidence, presence) @ np.array(weights, np.float32)
    scores: FloatArray = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return scores
