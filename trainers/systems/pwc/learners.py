"""Learners of the pixel-wise classification study (Hsu et al.): regression and heatmaps.

Each can be trained against a discriminator of shapes. ``docs/papers/pwc.md`` lists the choices made where the paper is
unclear.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ....engines.spec import Spec
from ...data.samples import FaceItem
from ...learner import Learner
from ...losses import (
    channel_softmax_squared,
    discriminator_loss,
    euclidean,
    generator_loss,
    masked_mean,
    shared_cross_entropy,
    spatial_cross_entropy,
)
from ...networks.blocks import log_over_channels, over_pixels
from ...networks.decoding import arg_max, soft_arg_max
from ...networks.pwc.networks import Discriminator
from ...targets import gaussian_maps, gaussian_targets, landmark_cells
from ..heat_maps import Decoding, read_by

CRITIC, FINDER = "discriminator", "network"  # objectives of a recipe with a discriminator
SIDE = 224.0  # side of the paper's crop, the unit of its distances and sigmas, in pixels
SIGMA = 3.0  # standard deviation of the Gaussians, in pixels of that crop
FACE = 0.1  # weight of the judgement of the discriminator in the loss of the network; the paper's is 1
NEAR = 2 * SIGMA  # radius around a point that counts for ``confidence``: 8 % of the inter-ocular distance


class Study(Learner):
    """Network of the study with its losses, alone or with a discriminator of shapes.

    ``by_distance`` is the weight of the mean distance of the points, in pixels of the paper's crop; ``by_face`` is that
    of the judgement of the discriminator.
    """

    by_distance: ClassVar[float] = 0.0
    by_face: ClassVar[float] = FACE

    def __init__(self, network: nn.Module, spec: Spec, *, critic: bool = False) -> None:
        """Train ``network`` on crops in the format of ``spec``; ``critic`` adds the discriminator."""
        super().__init__()
        self.network, self.spec = network, spec
        self.discriminator = Discriminator(spec.landmarks, spec.size[0]) if critic else None
        self.unit = SIDE / spec.size[0]

    def objective(self, step: int) -> str:
        """Return the objective of a step: one step of the discriminator, then two of the network.

        Without a discriminator there is a single objective.
        """
        if self.discriminator is None:
            return super().objective(step)
        return CRITIC if step % 3 == 0 else FINDER

    def trains_network(self, objective: str) -> bool:
        """Return True for the objectives of the network."""
        return objective != CRITIC

    def trained(self, objective: str) -> list[nn.Parameter]:
        """Return the parameters of the discriminator or of the network."""
        part = self.discriminator if objective == CRITIC else self.network
        assert part is not None
        return list(part.parameters())

    def losses(self, batch: FaceItem, objective: str) -> dict[str, Tensor]:
        """Return the losses of the network (distance, maps and generator, if it has them) or of the discriminator."""
        if objective == CRITIC:
            with torch.no_grad():
                found = self.coordinates(self.network(batch["image"]))
            return {"discriminator": discriminator_loss(*self.judged(found, batch)).mean()}
        out = self.network(batch["image"])
        parts = self.map_losses(out, batch)
        needed = self.by_distance > 0 or objective == FINDER
        found = self.coordinates(out) if needed else out
        if self.by_distance:
            distance = euclidean(found - batch["points"]) * self.unit
            parts["points"] = self.by_distance * masked_mean(distance, batch["known"])
        if objective == FINDER:
            _, fake = self.judged(found, batch)
            parts["face"] = self.by_face * generator_loss(fake).mean()
        return parts

    def coordinates(self, out: Tensor) -> Tensor:
        """Convert the network's output to points (B,n,2) in crop pixels, differentiably."""
        return out

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """Return the losses of the network's maps, if it has any."""
        return {}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``points`` and ``confidence``, which is 1 because regression gives no measure of it."""
        points = self.network(images)
        return {"points": points, "confidence": torch.ones_like(points[..., 0])}

    def exported(self) -> Study:
        """Return the learner without the discriminator."""
        return type(self)(self.network, self.spec)

    def judged(self, found: Tensor, batch: FaceItem) -> tuple[Tensor, Tensor]:
        """Return the discriminator's logits (B,) of the annotated and of the ``found`` shapes.

        Both are judged in one batch. In separate batches, the batch normalisation would subtract the mean of each, and
        with it every difference between annotations and predictions that all faces share. Landmarks without annotation
        are set to 0 on both sides.
        """
        assert self.discriminator is not None
        both = torch.cat([batch["points"], found]) * batch["known"].repeat(2, 1)[..., None]
        real, fake = self.discriminator(both).chunk(2)
        return real, fake


class Regression(Study):
    """Learner of networks that regress points by fully connected layers: direct, or cascaded (DAN)."""

    by_distance = 1.0


class Maps(Study):
    """Learner of networks with one map per landmark, as large as the crop.

    Attributes:
        background: index of the background map, 0 or -1; None if there is none.
        decoding: decoding used by ``forward`` and the exported network; the paper uses arg-max.
    """

    background: ClassVar[Literal[0, -1] | None] = None
    decoding: Decoding = "arg_max"

    def coordinates(self, out: Tensor) -> Tensor:
        """Return points by soft-argmax of the logits.

        Arg-max has no gradient, and the mean position of the maps works against sharp peaks.
        """
        points, _ = soft_arg_max(self.landmark_maps(out))
        return points

    def soft_points(self, out: Tensor) -> Tensor:
        """Return points by soft-argmax: the mean position of each landmark's map."""
        points, _ = soft_arg_max(self.pixel_logits(out))
        return points

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return points by arg-max or soft-argmax, and the probability that the landmark is near its point."""
        out = self.network(images).float()
        if self.decoding == "arg_max":
            maps = self.probabilities(out)
            points, _ = arg_max(maps, quarter=False)
        else:
            maps, points = over_pixels(self.pixel_logits(out)), self.soft_points(out)
        return {"points": points, "confidence": _within(maps, points, NEAR / self.unit).clamp_max(1.0)}

    def exported(self) -> Study:
        """Return the learner without the discriminator, with the same decoding."""
        alone = super().exported()
        read_by(alone, self.decoding)
        return alone

    @property
    def sigma(self) -> float:
        """Standard deviation of the Gaussians, in crop pixels."""
        return SIGMA / self.unit

    def landmark_maps(self, maps: Tensor) -> Tensor:
        """Return all maps (B,n,S,S) except the background's."""
        return {None: maps, 0: maps[:, 1:], -1: maps[:, :-1]}[self.background]

    def probabilities(self, out: Tensor) -> Tensor:
        """Return the maps (B,n,S,S) that arg-max decodes: here a softmax over the maps of each pixel."""
        return self.landmark_maps(out.softmax(dim=1))

    def pixel_logits(self, out: Tensor) -> Tensor:
        """Return the logarithm of the same maps up to a constant per map; a softmax over the pixels normalises them."""
        return self.landmark_maps(log_over_channels(out))


def _within(probabilities: Tensor, points: Tensor, reach: float) -> Tensor:
    """Sum each map (B,n,H,W) over a square of ``reach`` pixels in each direction around its point (B,n,2).

    The edge of the square is soft. Returns (B,n).
    """
    height, width = probabilities.shape[2:]
    x = torch.arange(width, device=points.device) - points[..., :1]
    y = torch.arange(height, device=points.device) - points[..., 1:]
    across, down = ((reach + 1 - axis.abs()).clamp(0, 1) for axis in (x, y))
    return (down[:, :, None] @ probabilities @ across[..., None])[..., 0, 0]


class Distribution(Maps):
    """Learner whose maps are distributions over the pixels, trained towards a Gaussian around the landmark."""

    def probabilities(self, out: Tensor) -> Tensor:
        """Return the softmax over the pixels."""
        return over_pixels(out)

    def pixel_logits(self, out: Tensor) -> Tensor:
        """Return the logits of the softmax over the pixels."""
        return out

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """Return the KL divergence up to the target's constant entropy, summed over the landmarks inside the crop."""
        side = out.shape[-1]
        inside = ((batch["points"] > -0.5) & (batch["points"] < side - 0.5)).all(dim=2)
        target = gaussian_targets(batch["points"], side, side, sigma=self.sigma)
        divergence = spatial_cross_entropy(out, *target) * (batch["known"] * inside)
        return {"maps": divergence.sum(dim=1).mean()}


class HeatmapRegression(Maps):
    """Learner of heatmap regression, with a softmax over the maps of each pixel, background last.

    The targets are Gaussians of height ``height``, and the remainder for the background.
    """

    background = -1

    @property
    def height(self) -> float:
        """Height of the Gaussians: here each sums to 1, as published."""
        return min(1.0, 1 / (2 * math.pi * self.sigma**2))

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """Return the squared difference, summed over maps and pixels."""
        side = out.shape[-1]
        window = 2 * round(4 * self.sigma) + 1
        gaussians = gaussian_maps(batch["points"], side, side, sigma=self.sigma, window=window, known=batch["known"])
        gaussians = gaussians * self.height
        total = gaussians.sum(dim=1, keepdim=True)
        gaussians = gaussians / total.clamp_min(1)  # neighbours overlap, and a softmax sums to 1
        targets = torch.cat([gaussians, (1 - total).clamp_min(0)], dim=1)
        return {"maps": channel_softmax_squared(out, targets).sum(dim=(1, 2, 3)).mean()}


class HeightOneRegression(HeatmapRegression):
    """Heatmap regression with Gaussians of height 1.

    The published ones have peaks of 0.02 at 224 px, so that background everywhere is close to the best answer.
    """

    @property
    def height(self) -> float:
        """Height of the Gaussians."""
        return 1.0


class PixelClassification(Maps):
    """Learner that classifies each pixel as background, the first map, or one of the landmarks.

    A pixel of several landmarks, such as those of the lips of a closed mouth, is shared by them.
    """

    background = 0

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """Return the cross-entropy, summed over the pixels, per landmark; each landmark is a single pixel."""
        side, known = out.shape[-1], batch["known"]
        cells = landmark_cells(batch["points"], side, side, known=known)
        landmarks, background = shared_cross_entropy(out, *cells)
        total = landmarks.sum(dim=1) + background
        return {"pixels": (total * self.pixel_weight(side, known)).mean()}

    def pixel_weight(self, side: int, known: Tensor) -> Tensor:
        """Return the weight (B,) of the sum over the pixels of each crop: 1 divided by its annotated landmarks.

        A mean over the pixels, of which one in hundreds is a landmark, leaves the loss without effect beside the
        others.
        """
        return 1 / known.sum(dim=1).clamp_min(1)


class PrintedPixelClassification(PixelClassification):
    """Pixel classification with the loss as printed (eq. 2): a mean over the pixels; and the paper's weight of 1 of
    the discriminator.
    """

    by_face = 1.0

    def pixel_weight(self, side: int, known: Tensor) -> Tensor:
        """Return 1 divided by the number of pixels."""
        return torch.full_like(known[:, 0], 1 / side**2)


class Hybrid(PixelClassification):
    """Pixel classification, plus the distance of the points decoded from the logits by soft-argmax."""

    by_distance = 0.25

    def pixel_logits(self, out: Tensor) -> Tensor:
        """Return the logits whose points are trained."""
        return self.landmark_maps(out)


class PrintedHybrid(PrintedPixelClassification, Hybrid):
    """Hybrid with the losses as printed."""


class HybridAsReleased(PrintedHybrid):
    """Hybrid as in the released code: its points come from arg-max, which has no gradient, so it trains like PWC."""

    def coordinates(self, out: Tensor) -> Tensor:
        """Return the points of arg-max, without a gradient."""
        points, _ = arg_max(self.probabilities(out), quarter=False)
        return points.detach()


class SoftReading(nn.Module):
    """Module that decodes maps by soft-argmax instead of arg-max, for comparison."""

    def __init__(self, learner: Maps) -> None:
        """Decode the maps of ``learner``."""
        super().__init__()
        self.learner = learner

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the points only."""
        return {"points": self.learner.soft_points(self.learner.network(images))}
