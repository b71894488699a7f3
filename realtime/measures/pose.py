"""Head pose by PnP: POSIT with weighted landmarks of a generic head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NasionError
from ..faces.measured import Pose
from ..values.arrays import FloatArray
from ..values.scheme import LandmarkScheme
from .head import generic_head

LEAST = 6
"""Number of landmarks with a place on the head that a scheme needs."""

_STEP, _FINE = 15, 0.5  # degrees of yaw between two sets of weights, and after interpolation
_STRAIGHT, _SIDE = 15, 90  # degrees of yaw up to which and from which on the weights stay the same
_SOFT = 10.0  # degrees of yaw over which a landmark gets hidden
_FIRMNESS = 8  # power of the confidence in the weight of a landmark: an unsure landmark is off by several spreads
_FLOOR = 1e-6  # weight of a hidden landmark, so that the equations can be solved
_ITERATIONS = 5  # of POSIT at most; each reduces the error by the depth of the head over its distance
_SETTLED = 1e-5  # change of the perspective, per millimetre of depth, at which it stops
_TINY, _FLAT = 1e-12, 1e-6  # scale, and area over its square, from which on landmarks determine a pose
_NONE = (0.0, 0.0, 0.0)  # perspective of scaled orthographic projection
_Vector = tuple[float, float, float]


class PoseEstimator:
    """Head poses from landmarks, one face at a time; keeps no state between calls.

    The camera is a pinhole camera without distortion: square pixels, the optical axis through the middle of the image,
    and a focal length of ``focal_length`` pixels.

    POSIT (DeMenthon and Davis, Model-based object pose in 25 lines of code, IJCV 15, 1995) alternates two steps: the
    pose under scaled orthographic projection, which is linear, and the correction of the landmarks for perspective.
    Here its least squares are weighted by the spread of each landmark of the head, by its confidence, and by how often
    the head hides it at a first estimate of the yaw. All sums over landmarks are made once; an iteration is then a few
    products of 4 x 4 numbers. The rotation is the nearest one to the linear solution (polar decomposition).
    """

    def __init__(self, scheme: LandmarkScheme, focal_length: float | None = None) -> None:
        """Prepare for the landmarks of a scheme.

        Args:
            scheme: landmark scheme; its ``head`` gives the landmarks with a place on the generic head.
            focal_length: in pixels; None for the longer side of the image, a field of view of 53 degrees along it.

        Raises:
            NasionError: the scheme has too few landmarks with a place on the head.
        """
        if len(scheme.head) < LEAST:
            raise NasionError(
                f"scheme {scheme.name!r} gives the place on the head of {len(scheme.head)} landmarks, and the pose "
                f"needs {LEAST}; fill in head of the scheme, or leave pose out of measures"
            )
        self._focal_length = focal_length
        self._chosen, places = _split(scheme.head)
        self._has_all = self._chosen == list(range(scheme.count))
        head = generic_head()
        points = head.points[places]
        rows = np.column_stack([np.ones(len(points)), points]).T
        if np.linalg.matrix_rank(rows) < 4:
            raise NasionError(
                f"the landmarks of scheme {scheme.name!r} with a place on the head lie in a plane; fill in more of "
                "head of the scheme, or leave pose out of measures"
            )
        # products of all pairs of (1, x, y, z) of each landmark: the normal equations are linear in the weights
        self._products = (rows[:, None] * rows[None, :]).reshape(16, -1)
        yaws = np.arange(-_SIDE, _SIDE + 1, _STEP)
        side = np.sign(points[:, 0])
        ahead = np.where(np.abs(yaws) <= _STRAIGHT, 0, yaws)[:, None]
        turned = np.where(side == 0, np.abs(ahead), -side * ahead)
        seen = 1 / (1 + np.exp((turned - head.hidden_from[places]) / _SOFT))
        known = np.maximum(seen**2 / head.spread[places] ** 2, _FLOOR)
        # interpolated, so that the pose does not jump
        fine = np.arange(-_SIDE, _SIDE + _FINE, _FINE)
        self._weights = np.stack([np.interp(fine, yaws, column) for column in known.T], axis=1)
        # solution for a face that looks ahead, all landmarks of which are as sure: linear in the rays
        weighted = rows * self._weights[len(fine) // 2]
        solved = np.linalg.solve(weighted @ rows.T, weighted)
        self._ahead: NDArray[np.float64] = (solved[:, None] * rows[None, :]).reshape(16, -1)

    def __call__(self, landmarks: FloatArray, confidence: FloatArray, size: tuple[int, int]) -> Pose | None:
        """Return the pose of a face.

        Args:
            landmarks: (n, 2) landmarks in pixels.
            confidence: (n,) their confidence in 0..1.
            size: width and height of the image in pixels.

        Returns:
            The pose; None if the landmarks determine none, because they coincide or lie on a line.
        """
        focal = self._focal_length or float(max(size))
        points, sure = np.asarray(landmarks, np.float64), np.asarray(confidence, np.float64)
        if not self._has_all:
            points, sure = points[self._chosen], sure[self._chosen]
        rays: NDArray[np.float64] = (points - _middle(size)) / focal
        guess = _posit((self._ahead @ rays).reshape(4, 8).tolist(), _NONE, iterations=1)
        if guess is None:
            return None
        firm = np.maximum(sure**_FIRMNESS, _FLOOR)
        equations = self._equations(rays, firm * self._weights_at(_yaw(guess)))
        found = _posit(equations, guess.perspective, iterations=_ITERATIONS)
        return None if found is None else _pose(found, focal)

    def _weights_at(self, yaw: float) -> NDArray[np.float64]:
        """Return the weights for a yaw in degrees."""
        weights: NDArray[np.float64] = self._weights[round((max(-_SIDE, min(yaw, _SIDE)) + _SIDE) / _FINE)]
        return weights

    def _equations(self, rays: NDArray[np.float64], weights: NDArray[np.float64]) -> list[list[float]]:
        """Return the solution of the weighted least squares as a function of the perspective; see ``_posit``.

        Rows (4, 8) for shift and axis of the projection: factors of 1 and of the three components of the perspective,
        each for the x and the y coordinates of the rays.
        """
        terms = np.empty((len(weights), 3))
        terms[:, 0] = weights
        np.multiply(rays, weights[:, None], out=terms[:, 1:])
        sums = self._products @ terms
        # a third of the time of np.linalg.solve for so few numbers
        _, solved = cv2.solve(sums[:, 0].reshape(4, 4), sums[:, 1:].reshape(4, 8), flags=cv2.DECOMP_LU)
        rows: list[list[float]] = solved.tolist()
        return rows


class _Solution(NamedTuple):
    """Rows of the rotation matrix, translation in millimetres, and perspective for the next iteration: ahead / T_z."""

    right: _Vector
    down: _Vector
    ahead: _Vector
    translation: _Vector
    perspective: _Vector


def _posit(equations: list[list[float]], perspective: _Vector, *, iterations: int) -> _Solution | None:
    """Return the pose, beginning with a perspective; None if the landmarks coincide or lie on a line.

    The scaled orthographic pose of the landmarks P at the rays x satisfies s (R P + T) = x (1 + P . ahead / T_z), with
    s = 1 / T_z. The right side is known from the iteration before.
    """
    x, y, z = perspective
    for _ in range(iterations):
        (tx, ty), (ax, bx), (ay, by), (az, bz) = [
            (e + g * x + i * y + k * z, f + h * x + j * y + m * z) for e, f, g, h, i, j, k, m in equations
        ]
        # polar decomposition of the rows a and b: (G)^(-1/2) applied to them, where G are their inner products
        aa, ab, bb = ax * ax + ay * ay + az * az, ax * bx + ay * by + az * bz, bx * bx + by * by + bz * bz
        root = math.sqrt(max(aa * bb - ab * ab, 0.0))
        double = math.sqrt(aa + bb + 2 * root)  # twice the scale
        if double < _TINY or root < _FLAT * double * double:
            return None
        p, q, r = (bb + root) / (double * root), -ab / (double * root), (aa + root) / (double * root)
        right = (p * ax + q * bx, p * ay + q * by, p * az + q * bz)
        down = (q * ax + r * bx, q * ay + r * by, q * az + r * bz)
        ahead = (
            right[1] * down[2] - right[2] * down[1],
            right[2] * down[0] - right[0] * down[2],
            right[0] * down[1] - right[1] * down[0],
        )
        scale = double / 2
        before = x, y, z
        x, y, z = ahead[0] * scale, ahead[1] * scale, ahead[2] * scale
        if abs(x - before[0]) + abs(y - before[1]) + abs(z - before[2]) < _SETTLED:
            break
    return _Solution(right, down, ahead, (tx / scale, ty / scale, 1 / scale), (x, y, z))


def _yaw(found: _Solution) -> float:
    return math.degrees(math.atan2(found.right[2], found.ahead[2]))


def _pose(found: _Solution, focal_length: float) -> Pose:
    pitch = math.degrees(math.asin(max(-1.0, min(-found.down[2], 1.0))))
    roll = math.degrees(math.atan2(found.down[0], found.down[1]))
    return Pose(_yaw(found), pitch, roll, found.translation, focal_length)


@lru_cache(maxsize=16)
def _middle(size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the middle of an image of this width and height in pixels."""
    return np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])


def _split(head: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """Return the landmarks of a scheme in order, and their places on the head."""
    chosen = sorted(head)
    return chosen, [head[landmark] for landmark in chosen]
