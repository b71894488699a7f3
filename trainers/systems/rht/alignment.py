"""Alignment of RHT's reference with its targets: how well both transformations find the landmarks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ....realtime.values.arrays import FloatArray
from ...data.samples import FaceSamples
from ...learner import device_of
from ...metrics import usual_lengths
from ...networks.rht.network import RHT, Reference, best_matches

NEAR = 1  # cells in x and in y by which a match may miss the landmark


class Places(NamedTuple):
    """Cells of landmarks in a map: ``xy`` (B,n,2) column and row, ``flat`` (B,n) row by row, ``inside`` (B,n) 0 or 1.

    Landmarks outside the map have its nearest cell.
    """

    xy: Tensor
    flat: Tensor
    inside: Tensor


def coarse_cells(points: Tensor, crop: int, side: int) -> Places:
    """Return the cells of points (B,n,2), in pixels of a square crop, in a map of ``side`` cells."""
    cells = ((points + 0.5) * side / crop).floor().long()
    inside = ((cells >= 0) & (cells < side)).all(dim=2)
    cells = cells.clamp(0, side - 1)
    return Places(cells, cells[..., 1] * side + cells[..., 0], inside.float())


@torch.no_grad()
def alignment_figures(
    network: RHT, reference: Reference | None, reference_points: Tensor, samples: FaceSamples, *, batch: int = 32
) -> dict[str, float]:
    """Return how well the transformations of ``network`` align a reference with the plain crops of ``samples``.

    Args:
        network: network in evaluation mode.
        reference: features of the reference; None gives no figures.
        reference_points: landmarks (1,n,2) of the reference in crop pixels.
        samples: faces.
        batch: faces per batch.

    Returns:
        ``htm_distance``: mean distance of the target's landmarks, moved by the affine transform, from those of the
        reference, relative to the reference's usual length (``metrics.usual_lengths``); beside it ``htm_identity``
        without a transform and ``htm_affine`` by the best one. ``stm_matched``: share of the target's landmarks whose
        best match is at most ``NEAR`` cells from the same landmark of the reference; beside it ``stm_same_place``, the
        share where the landmark's own cell is. Figures of a transformation that the network lacks are left out.
    """
    if reference is None:
        return {}
    crop, device = samples.spec.size[0], device_of(network)
    theirs = reference_points.cpu().numpy()
    moved, targets, near, same = [], [], [], []
    for at in range(0, len(samples.data), batch):
        crops = default_collate([samples.crop(i) for i in range(at, min(at + batch, len(samples.data)))])
        points, known = crops["points"], crops["known"] > 0
        outcome = network(crops["image"].to(device), reference)
        assert outcome.query is not None
        truth = torch.where(known[..., None], points, torch.nan)
        targets.append(truth.numpy())
        if outcome.matrix is not None:
            moved.append(_moved(truth, outcome.matrix.float().cpu(), crop).numpy())
        if outcome.soft is not None:
            side = outcome.query.shape[-1]
            place, _ = best_matches(outcome.query, reference.keys)
            ours, others = (coarse_cells(each, crop, side) for each in (points, reference_points.cpu()))
            match = place.cpu().flatten(1).gather(1, ours.flat)
            matched = torch.stack([match % side, match // side], dim=2)
            counted = known & (ours.inside > 0) & (others.inside > 0)
            near.append(_near(matched, others.xy)[counted])
            same.append(_near(ours.xy, others.xy)[counted])
    figures: dict[str, float] = {}
    if moved:
        target = np.concatenate(targets)
        norm = float(usual_lengths(theirs)[0])
        ways = {
            "htm_distance": np.concatenate(moved),
            "htm_identity": target,
            "htm_affine": _best_affine(target, theirs),
        }
        figures = {name: round(_distance(way, theirs) / norm, 4) for name, way in ways.items()}
    if near:
        figures |= {"stm_matched": _share(near), "stm_same_place": _share(same)}
    return figures


def _moved(points: Tensor, matrix: Tensor, crop: int) -> Tensor:
    """Move points (B,n,2), in crop pixels, by transforms (B,2,3) in -1..1 over the crop."""
    grid = (2 * points + 1) / crop - 1
    turned = grid @ matrix[:, :, :2].mT + matrix[:, None, :, 2]
    return ((turned + 1) * crop - 1) / 2


def _best_affine(points: FloatArray, target: FloatArray) -> FloatArray:
    """Move the annotated points of each face (N,n,2) by the affine transform that fits ``target`` (1,n,2) best."""
    moved = np.full_like(points, np.nan)
    for i, face in enumerate(points):
        known = np.isfinite(face[:, 0])
        rows = np.column_stack([face[known], np.ones(known.sum(), np.float32)])
        moved[i, known] = rows @ np.linalg.lstsq(rows, target[0, known], rcond=None)[0]
    return moved


def _distance(points: FloatArray, target: FloatArray) -> float:
    return float(np.nanmean(np.linalg.norm(points - target, axis=2)))


def _near(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().amax(dim=2) <= NEAR


def _share(parts: list[Tensor]) -> float:
    return round(float(torch.cat(parts).float().mean()), 4)
