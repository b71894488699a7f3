"""Losses, each once.

Most return one value per element or per item, as their docstrings say; ``masked_mean`` or ``mean`` makes one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .networks.blocks import over_pixels


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


# --- errors of coordinates


def log_wing(error: Tensor, *, w: float = 8.0, epsilon: float = 10.0) -> Tensor:
    """Wing loss without its straight branch, per element (CHS eq. 7, with its values)."""
    return w * log_l1(error, scale=epsilon)


def euclidean(error: Tensor) -> Tensor:
    """Length of error vectors (..., 2): (...); its gradient at no error is 0."""
    length: Tensor = torch.linalg.vector_norm(error, dim=-1)
    return length


def smooth_l1(error: Tensor, *, beta: float = 1.0 / 9) -> Tensor:
    """Half of ``e^2 / beta`` below ``beta``, ``|e| - beta / 2`` above, per element (Girshick 2015)."""
    size = error.abs()
    return torch.where(size < beta, 0.5 * size.square() / beta, size - 0.5 * beta)


# --- heat maps


def adaptive_wing(
    maps: Tensor,
    targets: Tensor,
    *,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
) -> Tensor:
    """Adaptive Wing loss per element (Wang et al. 2019, eq. 4): keen on small errors where the target is high.

    Args:
        maps, targets: same shape, targets in 0..1.
        alpha: above 2; ``alpha - target`` is the power that bends the curve.
        omega, epsilon: height and width of the bent part.
        theta: absolute error at which the curve goes on straight, value and slope continuous.
    """
    error, power = (maps - targets).abs(), alpha - targets
    reach = (theta / epsilon) ** power
    slope = omega * power * reach / (theta * (1 + reach))
    straight = slope * (error - theta) + omega * torch.log1p(reach)
    bent = omega * torch.log1p((error / epsilon) ** power)
    return torch.where(error < theta, bent, straight)


def awing_weight(targets: Tensor, *, dilation: int = 3, threshold: float = 0.2, weight: float = 10.0) -> Tensor:
    """Weights of ``adaptive_wing``: 1 + ``weight`` where the target (B, n, H, W) or a neighbour exceeds ``threshold``.

    ``dilation`` is the odd side of the neighbourhood in cells.
    """
    near = functional.max_pool2d(targets, dilation, stride=1, padding=dilation // 2) > threshold
    return 1 + weight * near.to(targets.dtype)


def masked_mse(maps: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of each map (B, n, H, W) times its ``mask`` (B, n): (B, n).

    The papers divide the sum by the number of maps (``mean``), not by that of the visible ones (``masked_mean``).
    """
    return (maps - targets).square().mean(dim=(2, 3)) * mask


def channel_softmax_squared(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared difference between softmax over the channels of (B, C, H, W) and ``targets``, per element."""
    return (logits.movedim(1, -1).softmax(dim=-1).movedim(-1, 1) - targets).square()


def pixel_cross_entropy(logits: Tensor, classes: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of each pixel (B, H, W) from logits (B, C, H, W) and ``classes`` (B, H, W) int64.

    ``weight`` (C,) multiplies the pixels of each class; unlike torch's own mean, nothing divides by it.
    """
    rows = logits.movedim(1, -1).flatten(0, 2)  # not copied where the channels are last
    return functional.cross_entropy(rows, classes.flatten(), weight=weight, reduction="none").view_as(classes)


# --- distributions over a map


def spatial_kl(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target || softmax of logits over the positions), (B, n).

    Args:
        target: (B, n, H, W), each map summing to 1.
        logits: same shape.
    """
    log_probability = logits.flatten(2).log_softmax(dim=2)
    expected = target.flatten(2)
    return (torch.xlogy(expected, expected) - expected * log_probability).sum(dim=2)


def distillation_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) of the maps' softmax over positions, (B, n) (SD-HRNet eq. 3).

    Gradients flow to both; detach the teacher's maps to train the student alone.
    """
    return spatial_kl(over_pixels(teacher), student)


# --- adversarial


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """``-ln D(real) - ln(1 - D(fake))`` per item, from logits of one shape: low where they are told apart."""
    return functional.softplus(-real) + functional.softplus(fake)


def generator_loss(fake: Tensor) -> Tensor:
    """``-ln D(fake)`` per item, from logits: low where the discriminator takes predictions for annotations."""
    return functional.softplus(-fake)


# --- region proposals


def rpn_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy of each anchor (...) from logits (..., 2); label 1 face, 0 background, -1 ignored (0)."""
    flat = functional.cross_entropy(logits.reshape(-1, 2), labels.reshape(-1), ignore_index=-1, reduction="none")
    return flat.view(labels.shape)


# --- reference transfer, many tasks, sparsity


def transfer_l1(expected: Tensor, soft: Tensor, attention: Tensor) -> Tensor:
    """Mean of ``|F_E A - F_S|`` (RHT's second loss): features (B, c, h, w), ``attention`` (B, 1, h, w); a scalar."""
    return (expected * attention - soft).abs().mean()


class AdaptiveWeights(nn.Module):
    """Learned weights of several losses: ``alpha (L / sigma + ln sigma)`` (CHS eq. 6), sigma starting at 1."""

    def __init__(self, names: Sequence[str], *, alpha: Mapping[str, float] | None = None) -> None:
        """Weigh the losses called ``names``; ``alpha`` holds the fixed factors that are not 1."""
        super().__init__()
        self.names = tuple(names)
        self.alpha = {name: (alpha or {}).get(name, 1.0) for name in self.names}
        self.log_sigma = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses of the same names, to be added up; a loss that is missing is left out."""
        return {
            name: self.alpha[name] * (losses[name] * torch.exp(-log_sigma) + log_sigma)
            for name, log_sigma in zip(self.names, self.log_sigma.unbind(), strict=True)
            if name in losses
        }


def sparsity(parameters: Iterable[Tensor]) -> Tensor:
    """Sum of absolute values, a scalar; 0 for none (SD-HRNet's pressure on its importance factors)."""
    return sum((parameter.abs().sum() for parameter in parameters), start=torch.zeros(()))
