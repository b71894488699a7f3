"""Custom operators: plain torch for training, one node each in an ONNX file.

A network calls ``multi_level_roi_align`` and ``location_reweight``. Inside ``as_nodes`` they are traced as the
operators ``nasion::multi_level_roi_align`` and ``nasion::location_reweight``, which ``nodes`` writes as nodes of the
domain ``nasion``; docs/plugins.md defines them. Everywhere else, ``.pt2`` files included, they are plain functions,
and no registration is needed to run them.

The operators are composites: torch decomposes them for shapes, gradients and any device. ``compiled_operators``
replaces them by a compiled library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .decoding import reweighted
from .roi_align import roi_align_levels, roi_align_list

DOMAIN = "nasion"
EPSILON = 1e-12  # smallest norm by which a feature vector is divided, as in torch's normalize

_AS_NODES = ContextVar("as_nodes", default=False)
_LIBRARY: Any = torch.library.Library(DOMAIN, "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define(
    "multi_level_roi_align(Tensor[] levels, Tensor rois, float[] scales, int output_size, int sampling_ratio, "
    "bool normalize, float epsilon) -> Tensor"
)
_LIBRARY.define("location_reweight(Tensor maps, float threshold) -> (Tensor points, Tensor confidence)")


@contextmanager
def as_nodes() -> Iterator[None]:
    """Trace the custom operators as nodes inside this context."""
    before = _AS_NODES.set(True)
    try:
        yield
    finally:
        _AS_NODES.reset(before)


def multi_level_roi_align(
    levels: Sequence[Tensor],
    boxes: Tensor,
    *,
    size: int,
    scales: Sequence[float],
    sampling: int = 2,
    normalize: bool = False,
) -> Tensor:
    """Pool boxes from several maps and concatenate the channels.

    Args:
        levels: maps (B, C_l, H_l, W_l) of one batch of images.
        boxes: (B, K, 4) x0, y0, x1, y1 in pixels of the image, the same number for each image.
        size: bins along each side.
        scales: cells of each map per pixel of the image.
        sampling: samples along each side of a bin.
        normalize: scale the features of each bin, level by level, to a vector of length 1.

    Returns:
        (B K, sum of C_l, size, size).
    """
    if not _AS_NODES.get():
        aligned = roi_align_levels(levels, boxes, size=size, scales=scales, samplings=[sampling] * len(scales))
        return _joined([level.flatten(0, 1) for level in aligned], normalize, EPSILON)
    batch, count = boxes.shape[:2]
    image = torch.arange(batch, device=boxes.device, dtype=boxes.dtype)[:, None, None].expand(batch, count, 1)
    rois = torch.cat([image, boxes], dim=2).flatten(0, 1)
    out: Tensor = torch.ops.nasion.multi_level_roi_align(
        list(levels), rois, list(scales), size, sampling, normalize, EPSILON
    )
    return out


def location_reweight(maps: Tensor, *, threshold: float = 0.5) -> tuple[Tensor, Tensor]:
    """Decode score maps (K, n, H, W) to points (K, n, 2) in cells and confidence (K, n), float32.

    See ``decoding.reweighted``.
    """
    if not _AS_NODES.get():
        return reweighted(maps, threshold=threshold)
    found: tuple[Tensor, Tensor] = torch.ops.nasion.location_reweight(maps, threshold)
    return found


def _joined(aligned: Sequence[Tensor], normalize: bool, epsilon: float) -> Tensor:
    """Concatenate levels; norms are computed in float32, because the squares of long vectors overflow fp16."""
    if normalize:
        aligned = [functional.normalize(level.float(), dim=1, eps=epsilon).to(level.dtype) for level in aligned]
    return torch.cat(list(aligned), dim=1)


@torch.library.impl(_LIBRARY, "multi_level_roi_align", "CompositeImplicitAutograd")
def _multi_level_roi_align(
    levels: list[Tensor],
    rois: Tensor,
    scales: list[float],
    output_size: int,
    sampling_ratio: int,
    normalize: bool,
    epsilon: float,
) -> Tensor:
    """Pool rois (K, 5): index of the image, then x0, y0, x1, y1 in its pixels."""
    images, boxes = rois[:, 0].long(), rois[:, 1:]
    aligned = [
        roi_align_list(level, boxes, images, size=output_size, scale=scale, sampling=sampling_ratio)
        for level, scale in zip(levels, scales, strict=True)
    ]
    return _joined(aligned, normalize, epsilon)


@torch.library.impl(_LIBRARY, "location_reweight", "CompositeImplicitAutograd")
def _location_reweight(maps: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    return reweighted(maps, threshold=threshold)
