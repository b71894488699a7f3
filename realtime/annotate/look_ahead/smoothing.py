"""Smoothing without lag: a Rauch–Tung–Striebel smoother, which sees every frame of a run.

A face moves as a whole, and its shape changes; each part is smoothed twice, by a stiff model and by an agile one. Where
the two differ by more than noise, as in a sudden turn or a blink, the agile one counts.

Source: Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, AIAA Journal 3(8), 1965.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...tracking.options import Strength
from ...values.arrays import FloatArray
from ...values.times import SHORTEST

Values = NDArray[np.float64]
_NOISE = 0.008  # standard deviation of the noise of a landmark, in sides of the face
_SHARED = 4.0  # the mean of all landmarks is so many times less noisy
_SPEED = 5.0  # standard deviation of the speed in the first frame, in sides a second
_NEAR = 2  # frames on each side of one in which the models differ that also count as such


@dataclass(frozen=True, slots=True)
class Models:
    """Two models of constant velocity.

    Attributes:
        stiff, agile: standard deviation of the acceleration in sides of the face a second squared.
        apart: difference of the two in sides of the face at which each has half of the weight.
    """

    stiff: float
    agile: float
    apart: float


# Of the whole face and of its shape. Chosen on rendered scenes at rest, swinging and with sudden turns; of a blink of
# 0.1 s that closes the lids by 5 % of the face, "light" keeps 94 %.
MODELS: dict[Strength, tuple[Models, Models] | None] = {
    "none": None,
    "light": (Models(3.0, 200.0, 0.002), Models(1.0, 32.0, 0.006)),
    "strong": (Models(2.0, 100.0, 0.004), Models(0.5, 16.0, 0.010)),
}


def smoothed(points: FloatArray, times: Values, strength: Strength) -> FloatArray:
    """Return the landmarks of a face in neighbouring frames, smoothed.

    Args:
        points: landmarks (t, n, 2) in pixels.
        times: seconds (t,).
        strength: ``none``, ``light`` or ``strong``.
    """
    models = MODELS[strength]
    if models is None or len(points) < 3:
        return points
    whole, shape = models
    side = max(float(np.median(np.ptp(points, axis=1).max(axis=1))), 1.0)
    middle = points.mean(axis=1, dtype=np.float64)
    steps = np.maximum(np.diff(times), SHORTEST)
    moved = _blended(middle / side, steps, whole, _NOISE / _SHARED, together=True)
    inner = ((points - middle[:, None]) / side).reshape(len(points), -1)
    changed = _blended(inner, steps, shape, _NOISE, together=False)
    result: FloatArray = (side * (moved[:, None] + changed.reshape(points.shape))).astype(np.float32)
    return result


def _blended(values: Values, steps: Values, models: Models, noise: float, *, together: bool) -> Values:
    """Return values (t, k) smoothed by the stiff model, or by the agile one where they differ.

    With ``together``, the largest difference of the k values counts for all of them.
    """
    stiff = rauch_tung_striebel(values, steps, models.stiff, noise)
    agile = rauch_tung_striebel(values, steps, models.agile, noise)
    apart = np.abs(agile - stiff)
    if together:
        apart = apart.max(axis=1, keepdims=True)
    widest = apart.copy()
    for step in range(1, min(_NEAR, len(apart) - 1) + 1):
        widest[step:] = np.maximum(widest[step:], apart[:-step])
        widest[:-step] = np.maximum(widest[:-step], apart[step:])
    weight = widest**2 / (widest**2 + models.apart**2)
    result: Values = stiff + weight * (agile - stiff)
    return result


def rauch_tung_striebel(values: Values, steps: Values, acceleration: float, noise: float) -> Values:
    """Return values (t, k) smoothed by a Kalman filter of constant velocity and a second pass back.

    Args:
        values: k independent values in each of t frames.
        steps: seconds (t - 1,) between the frames, above 0.
        acceleration: standard deviation of the acceleration.
        noise: standard deviation of the noise of a value.
    """
    count, variance = len(values), noise**2
    states = np.zeros((count, 2, values.shape[1]))
    expected = np.zeros_like(states)
    covariances, predicted = np.zeros((count, 2, 2)), np.zeros((count, 2, 2))
    states[0, 0], covariances[0] = values[0], np.diag([variance, _SPEED**2])
    for i in range(1, count):
        move, spread = _model(steps[i - 1], acceleration)
        expected[i] = move @ states[i - 1]
        predicted[i] = move @ covariances[i - 1] @ move.T + spread
        gain = predicted[i][:, 0] / (predicted[i][0, 0] + variance)
        states[i] = expected[i] + gain[:, None] * (values[i] - expected[i][0])
        covariances[i] = predicted[i] - np.outer(gain, predicted[i][0])
    for i in range(count - 2, -1, -1):
        move, _ = _model(steps[i], acceleration)
        back = covariances[i] @ move.T @ np.linalg.inv(predicted[i + 1])
        states[i] += back @ (states[i + 1] - expected[i + 1])
    return states[:, 0]


def _model(step: float, acceleration: float) -> tuple[Values, Values]:
    """Return the transition of position and velocity over a time step, and the covariance that it adds."""
    move = np.array([[1.0, step], [0.0, 1.0]])
    spread = acceleration**2 * np.array([[step**4 / 4, step**3 / 2], [step**3 / 2, step**2]])
    return move, spread
