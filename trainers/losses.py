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


def spatial_kl(logits: Tensor, log_target: Tensor) -> Tensor:
    """KL(target || softmax(logits)) per map; logits (B,n,H,W), log_target (B,n,H*W), result (B,n)."""
    predicted = logits.flatten(2).log_softmax(dim=2)
    return (log_target.exp() * (log_target - predicted)).sum(dim=2)


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
