"""Losses, each once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def log_l1(error: Tensor, *, scale: float) -> Tensor:
    """``ln(1 + |e| / scale)`` per element (log-only Wing, CHS eq. 8): forgiving to large, keen on small errors."""
    return torch.log1p(error.abs() / scale)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` weighted by ``mask`` of the same shape; 0 where the mask is empty."""
    return (values * mask).sum() / mask.sum().clamp_min(1e-6)


def spatial_cross_entropy(logits: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Cross-entropy between softmax(logits) over a map and a separable target distribution.

    It equals the KL divergence up to the target's own entropy, which has no gradient.

    Args:
        logits: (B, n, H, W).
        across, down: (B, n, W) and (B, n, H), each summing to 1; the target is their product.

    Returns:
        (B, n).
    """
    expected = torch.einsum("bnhw,bnw,bnh->bn", logits, across, down)
    return logits.flatten(2).logsumexp(dim=2) - expected


def laplace_nll(error: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-likelihood of absolute errors under Laplace scales, without its constant."""
    return error * torch.exp(-log_scale) + log_scale


def quality_focal(logits: Tensor, quality: Tensor, *, beta: float = 2.0) -> Tensor:
    """Quality focal loss per element (Li et al. 2020, eq. 2): the target is an overlap in 0..1, 0 for background."""
    weight = (quality - logits.sigmoid()).abs() ** beta
    return weight * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def box_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of boxes (..., 4), elementwise."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (high - low).clamp_min(0).prod(dim=-1)
    union = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1) - overlap
    iou = overlap / union.clamp_min(1e-6)
    span = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = span.prod(dim=-1).clamp_min(1e-6)
    return iou, iou - (hull - union) / hull
