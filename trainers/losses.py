"""Loss functions.

Most return one value per element or per item, as documented; reduce them with ``masked_mean`` or ``mean``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .networks.blocks import over_pixels


def log_l1(error: Tensor, *, scale: float) -> Tensor:
    """Return ``ln(1 + |e| / scale)`` per element (log-only Wing, CHS eq. 8): flat for large, steep for small errors."""
    return torch.log1p(error.abs() / scale)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``values`` weighted by ``mask`` of the same shape; 0 if the mask is empty."""
    return (values * mask).sum() / mask.sum().clamp_min(1e-6)


def spatial_cross_entropy(logits: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Compute the cross-entropy between softmax(logits) over a map and a separable target distribution.

    It equals the KL divergence up to the entropy of the target, which has no gradient.

    Args:
        logits: (B, n, H, W).
        across, down: (B, n, W) and (B, n, H), each summing to 1; the target is their product.

    Returns:
        (B, n).
    """
    expected = torch.einsum("bnhw,bnw,bnh->bn", logits, across, down)
    return logits.flatten(2).logsumexp(dim=2) - expected


def laplace_nll(error: Tensor, log_scale: Tensor) -> Tensor:
    """Return the negative log-likelihood of absolute errors under Laplace scales, without its constant."""
    return error * torch.exp(-log_scale) + log_scale


def quality_focal(logits: Tensor, quality: Tensor, *, beta: float = 2.0) -> Tensor:
    """Compute the quality focal loss per element (Li et al. 2020, eq. 2): the target is an IoU, 0 for background."""
    weight = (quality - logits.sigmoid()).abs() ** beta
    return weight * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def box_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU (Rezatofighi et al. 2019) of boxes (..., 4), elementwise."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (high - low).clamp_min(0).prod(dim=-1)
    union = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1) - overlap
    iou = overlap / union.clamp_min(1e-6)
    span = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = span.prod(dim=-1).clamp_min(1e-6)
    return iou, iou - (hull - union) / hull


# --- errors of coordinates


def log_wing(error: Tensor, *, w: float = 8.0, epsilon: float = 10.0) -> Tensor:
    """Compute the Wing loss without its linear branch, per element (CHS eq. 7, with its values)."""
    return w * log_l1(error, scale=epsilon)


def euclidean(error: Tensor) -> Tensor:
    """Return the length (...) of error vectors (..., 2); its gradient at an error of 0 is 0."""
    length: Tensor = torch.linalg.vector_norm(error, dim=-1)
    return length


def smooth_l1(error: Tensor, *, beta: float = 1.0 / 9) -> Tensor:
    """Return ``e^2 / (2 beta)`` below ``beta`` and ``|e| - beta / 2`` above, per element (Girshick 2015)."""
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
    """Compute the Adaptive Wing loss per element (Wang et al. 2019, eq. 4): sensitive to small errors at high targets.

    Args:
        maps, targets: same shape, targets in 0..1.
        alpha: above 2; ``alpha - target`` is the exponent of the curved part.
        omega, epsilon: height and width of the curved part.
        theta: absolute error above which the curve is linear; value and slope are continuous.
    """
    error, power = (maps - targets).abs(), alpha - targets
    reach = (theta / epsilon) ** power
    slope = omega * power * reach / (theta * (1 + reach))
    straight = slope * (error - theta) + omega * torch.log1p(reach)
    bent = omega * torch.log1p((error / epsilon) ** power)
    return torch.where(error < theta, bent, straight)


def awing_weight(targets: Tensor, *, dilation: int = 3, threshold: float = 0.2, weight: float = 10.0) -> Tensor:
    """Return the weights of ``adaptive_wing`` for targets (B, n, H, W).

    A weight is 1 + ``weight`` where the target or a neighbour exceeds ``threshold``, else 1. ``dilation`` is the odd
    side of the neighbourhood in cells.
    """
    near = functional.max_pool2d(targets, dilation, stride=1, padding=dilation // 2) > threshold
    return 1 + weight * near.to(targets.dtype)


def masked_mse(maps: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error (B, n) of each map (B, n, H, W) times its ``mask`` (B, n).

    The papers divide the sum by the number of maps (``mean``), not by the number of visible ones (``masked_mean``).
    """
    return (maps - targets).square().mean(dim=(2, 3)) * mask


def channel_softmax_squared(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error between softmax over the channels of (B, C, H, W) and ``targets``, per element."""
    return (logits.movedim(1, -1).softmax(dim=-1).movedim(-1, 1) - targets).square()


def pixel_cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy of each pixel (B, H, W) from logits (B, C, H, W) and ``classes`` (B, H, W) int64."""
    rows = logits.movedim(1, -1).flatten(0, 2)  # no copy for channels-last tensors
    return functional.cross_entropy(rows, classes.flatten(), reduction="none").view_as(classes)


def shared_cross_entropy(logits: Tensor, places: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the cells of landmarks and of the background, each summed over its cells.

    Args:
        logits: (B, n + 1, H, W); map 0 is the background, map i + 1 is landmark i.
        places, shares: cells of the landmarks, from ``landmark_cells``. A cell that is shared has soft labels.

    Returns:
        The sum over the cells of each landmark (B, n), and over all other cells (B,).
    """
    flat = logits.movedim(1, -1).flatten(1, 2).float()
    normaliser = flat.logsumexp(dim=2)
    batch, count, most = places.shape
    rows = places.flatten(1)
    numbers = torch.arange(1, count + 1, device=places.device).repeat_interleave(most).expand(batch, -1)
    own = flat.flatten(1).gather(1, rows * flat.shape[2] + numbers)
    landmarks = ((normaliser.gather(1, rows) - own).view_as(shares) * shares).sum(dim=2)
    background = normaliser - flat[..., 0]
    taken = torch.zeros_like(background).scatter_add(1, rows, shares.flatten(1).to(background.dtype))
    return landmarks, (background * (1 - taken)).sum(dim=1)


# --- distributions over a map


def spatial_kl(target: Tensor, logits: Tensor) -> Tensor:
    """Return KL(target || softmax of logits over the positions), (B, n).

    Args:
        target: (B, n, H, W), each map summing to 1.
        logits: same shape.
    """
    log_probability = logits.flatten(2).log_softmax(dim=2)
    expected = target.flatten(2)
    return (torch.xlogy(expected, expected) - expected * log_probability).sum(dim=2)


def distillation_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(teacher || student) of the maps' softmax over positions, (B, n) (SD-HRNet eq. 3).

    Gradients flow to both; detach the teacher's maps to train only the student.
    """
    return spatial_kl(over_pixels(teacher), student)


# --- adversarial


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return ``-ln D(real) - ln(1 - D(fake))`` per item from logits of one shape: low if D separates the two."""
    return functional.softplus(-real) + functional.softplus(fake)


def generator_loss(fake: Tensor) -> Tensor:
    """Return ``-ln D(fake)`` per item from logits: low if the discriminator takes predictions for annotations."""
    return functional.softplus(-fake)


# --- region proposals


def rpn_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the softmax cross-entropy of each anchor (...) from logits (..., 2).

    Label 1 is a face, 0 is background; the loss of an anchor labelled -1 is 0.
    """
    flat = functional.cross_entropy(logits.reshape(-1, 2), labels.reshape(-1), ignore_index=-1, reduction="none")
    return flat.view(labels.shape)


# --- reference transfer, multi-task weights, sparsity


def transfer_l1(expected: Tensor, soft: Tensor, attention: Tensor) -> Tensor:
    """Return the scalar mean of ``|F_E A - F_S|`` (RHT's second loss).

    Features are (B, c, h, w), ``attention`` is (B, 1, h, w).
    """
    return (expected * attention - soft).abs().mean()


class AdaptiveWeights(nn.Module):
    """Learned weights of several losses: ``alpha (L / sigma + ln sigma)`` (CHS eq. 6); sigma starts at 1."""

    def __init__(self, names: Sequence[str], *, alpha: Mapping[str, float] | None = None) -> None:
        """Create a weight for each loss in ``names``; ``alpha`` holds the fixed factors that are not 1."""
        super().__init__()
        self.names = tuple(names)
        self.alpha = {name: (alpha or {}).get(name, 1.0) for name in self.names}
        self.log_sigma = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted losses by name, to be added up; missing losses are left out."""
        return {
            name: self.alpha[name] * (losses[name] * torch.exp(-log_sigma) + log_sigma)
            for name, log_sigma in zip(self.names, self.log_sigma.unbind(), strict=True)
            if name in losses
        }


def sparsity(parameters: Iterable[Tensor]) -> Tensor:
    """Return the scalar sum of absolute values; 0 for no parameters (SD-HRNet's penalty on importance factors)."""
    return sum((parameter.abs().sum() for parameter in parameters), start=torch.zeros(()))
