"""Generic head from labelled faces: rigid factorisation of their landmarks, of which hidden ones are missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....realtime.measures.head import ORIGIN, PUPILS_APART, Head
from ....realtime.values.arrays import FloatArray
from ....realtime.values.published_schemes import IBUG_68
from ...data import DataError

ROUNDS = 30
MOST_YAW = 100.0  # degrees; faces turned further show too little
LEAST = 25  # labelled landmarks of a face, at least
NARROWEST = 0.01  # spread, in distances between the outer eye corners, from which on no landmark counts more
BIN = 5.0  # degrees of yaw
NEVER = 180.0

_Array = NDArray[np.float64]
_MIRROR = np.array([-1.0, 1.0, 1.0])


def fit_head(points: FloatArray, yaw: FloatArray) -> Head:
    """Fit the head to landmarks (N, 68, 2), NaN where the head hides them, of faces whose yaw (N,) is roughly known.

    Alternates between the shape that fits all faces best, given their poses, and the pose of each face under scaled
    orthographic projection, given the shape (Tomasi and Kanade, Shape and motion from image streams under orthography,
    IJCV 9, 1992, with missing landmarks). The rotations are proper ones and the shape is the same for all faces, so
    what differs between faces and with expression averages out; its standard deviation is ``spread``, whose inverse
    square weights the landmarks. ``yaw`` is only the first guess of the rotations.

    Raises:
        DataError: there are fewer than 100 usable faces.
    """
    seen = ~np.isnan(points[..., 0])
    used = (np.abs(yaw) <= MOST_YAW) & (seen.sum(axis=1) >= LEAST)
    if used.sum() < 100:
        raise DataError(f"{int(used.sum())} faces have {LEAST} labelled landmarks and a known yaw; a head needs 100")
    seen, found = seen[used].astype(float), np.nan_to_num(points[used].astype(float))
    rotation, scale, shift = _first_poses(found, seen, np.radians(yaw[used].astype(float)))
    weights = np.ones(IBUG_68.count)
    for _ in range(ROUNDS):
        shape = _shape(found, seen, rotation, scale, shift)
        rotation, scale, shift = _poses(shape, found, seen * weights)
        model = np.einsum("fck,nk->fnc", rotation[:, :2], shape) * scale[:, None, None] + shift[:, None]
        errors = ((found - model) ** 2).sum(axis=2) / 2 / scale[:, None] ** 2
        spread = np.sqrt((seen * errors).sum(axis=0) / seen.sum(axis=0))
        spread = np.sqrt((spread**2 + spread[list(IBUG_68.flip)] ** 2) / 2)
        weights = 1 / np.maximum(spread, NARROWEST) ** 2
    left, right = (shape[list(eye)].mean(axis=0) for eye in (IBUG_68.left_eye, IBUG_68.right_eye))
    unit = PUPILS_APART / float(np.linalg.norm(right - left))
    return Head(_upright(shape) * unit, spread * unit, _hidden_from(seen, yaw[used], shape))


def _first_poses(found: _Array, seen: _Array, yaw: _Array) -> tuple[_Array, _Array, _Array]:
    """Return rotations (N, 3, 3) about the vertical axis, and scales and shifts from the labelled landmarks."""
    rotation = np.zeros((len(yaw), 3, 3))
    rotation[:, 0, 0] = rotation[:, 2, 2] = np.cos(yaw)
    rotation[:, 0, 2], rotation[:, 2, 0], rotation[:, 1, 1] = np.sin(yaw), -np.sin(yaw), 1
    shift = found.sum(axis=1) / seen.sum(axis=1)[:, None]
    away = (found - shift[:, None])[..., 1] * seen
    return rotation, np.sqrt((away**2).sum(axis=1) / seen.sum(axis=1)), shift


def _shape(found: _Array, seen: _Array, rotation: _Array, scale: _Array, shift: _Array) -> _Array:
    """Return the mirror-symmetric shape (68, 3) of unit distance between the outer eye corners, by least squares."""
    rows = rotation[:, :2]
    squares = np.einsum("fck,fcl->fkl", rows, rows).reshape(-1, 9)
    normal = (seen.T @ squares).reshape(-1, 3, 3)
    target = np.einsum("fck,fnc,fn->nk", rows, (found - shift[:, None]) / scale[:, None, None], seen)
    shape: _Array = np.linalg.solve(normal, target[..., None])[..., 0]
    shape = (shape + shape[list(IBUG_68.flip)] * _MIRROR) / 2
    a, b = IBUG_68.outer_corners
    shape = (shape - shape[ORIGIN]) / float(np.linalg.norm(shape[a] - shape[b]))
    return shape


def _poses(shape: _Array, found: _Array, weights: _Array) -> tuple[_Array, _Array, _Array]:
    """Return the rotations (N, 3, 3), scales (N,) and shifts (N, 2) of the faces, by weighted least squares."""
    rows = np.column_stack([np.ones(len(shape)), shape])
    normal = (weights @ (rows[:, :, None] * rows[:, None]).reshape(-1, 16)).reshape(-1, 4, 4)
    target = np.einsum("ni,fnc->fic", rows, weights[..., None] * found)
    solved = np.linalg.solve(normal, target)
    left, sizes, right = np.linalg.svd(solved[:, 1:].transpose(0, 2, 1), full_matrices=False)
    nearest = left @ right
    rotation = np.concatenate([nearest, np.cross(nearest[:, 0], nearest[:, 1])[:, None]], axis=1)
    return rotation, sizes.mean(axis=1), solved[:, 0]


def _upright(shape: _Array) -> _Array:
    """Rotate the shape about x so that the outer corners of eyes and mouth have the same depth."""
    eyes, mouth = shape[list(IBUG_68.outer_corners)].mean(axis=0), shape[[48, 54]].mean(axis=0)
    _, down, back = (mouth - eyes).tolist()
    c, s = np.array([down, back]) / np.hypot(down, back)
    upright: _Array = shape @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]).T
    return upright


def _hidden_from(seen: _Array, yaw: FloatArray, shape: _Array) -> _Array:
    """Return the yaw (68,) in degrees from which on each landmark is hidden in half of the images or more."""
    edges = np.arange(0.0, MOST_YAW + BIN, BIN)
    angles = np.full(len(shape), NEVER)
    for landmark, x in enumerate(shape[:, 0]):
        side = np.sign(round(x, 6))
        turned = -side * yaw if side else np.abs(yaw)
        faces, _ = np.histogram(turned, edges)
        hidden, _ = np.histogram(turned[seen[:, landmark] == 0], edges)
        share = np.maximum.accumulate(hidden / np.maximum(faces, 1))
        if side and share[-1] >= 0.5:
            angles[landmark] = float(np.interp(0.5, share, (edges[1:] + edges[:-1]) / 2))
    mirrored: _Array = (angles + angles[list(IBUG_68.flip)]) / 2
    return mirrored
