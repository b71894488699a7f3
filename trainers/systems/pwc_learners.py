"""The learners of the pixel-wise classification study (Hsu et al.): two regress points, four read them off maps.

Each can be trained against a discriminator of shapes. ``docs/papers/pwc.md`` says which readings were taken.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...engines.spec import Spec
from ..data.samples import FaceItem
from ..learner import Learner
from ..losses import (
    channel_softmax_squared,
    discriminator_loss,
    euclidean,
    generator_loss,
    masked_mean,
    pixel_cross_entropy,
    spatial_cross_entropy,
)
from ..networks.blocks import log_over_channels, over_pixels
from ..networks.decoding import arg_max, soft_arg_max
from ..networks.pwc import Discriminator
from ..targets import class_map, gaussian_maps, gaussian_targets
from .heat_maps import Decoding, read_by

CRITIC, FINDER = "discriminator", "network"  # the turns of a recipe with a discriminator
SIDE = 224.0  # pixels of the paper's crop, in which its distances and sigmas are
SIGMA = 3.0  # of the Gaussians, in those pixels
NEAR = 2 * SIGMA  # how far from its point a landmark is looked for by ``confidence``: 8 % of the distance of the eyes


class Study(Learner):
    """A network of the study with its losses, alone or against a discriminator that judges shapes.

    ``by_distance`` weighs the mean distance of the points, in pixels of the paper's crop.
    """

    by_distance: ClassVar[float] = 0.0

    def __init__(self, network: nn.Module, spec: Spec, *, critic: bool = False) -> None:
        """Train ``network`` on crops as ``spec`` describes them; ``critic`` adds the discriminator."""
        super().__init__()
        self.network, self.spec = network, spec
        self.discriminator = Discriminator(spec.landmarks, spec.size[0]) if critic else None
        self.unit = SIDE / spec.size[0]

    def turn(self, step: int) -> str:
        """One step of the discriminator, then two of the network; without a discriminator always the same."""
        if self.discriminator is None:
            return super().turn(step)
        return CRITIC if step % 3 == 0 else FINDER

    def trained(self, turn: str) -> list[nn.Parameter]:
        """Parameters of the discriminator or of the network."""
        part = self.discriminator if turn == CRITIC else self.network
        assert part is not None
        return list(part.parameters())

    def losses(self, batch: FaceItem, turn: str) -> dict[str, Tensor]:
        """Distance, maps and face-likeness, as far as this network has them; or what its discriminator got wrong."""
        if turn == CRITIC:
            with torch.no_grad():
                found = self.coordinates(self.network(batch["image"]))
            wrong = discriminator_loss(self._judge(batch["points"], batch), self._judge(found, batch))
            return {"discriminator": wrong.mean()}
        out = self.network(batch["image"])
        parts = self.map_losses(out, batch)
        needed = self.by_distance > 0 or turn == FINDER
        found = self.coordinates(out) if needed else out
        if self.by_distance:
            distance = euclidean(found - batch["points"]) * self.unit
            parts["points"] = self.by_distance * masked_mean(distance, batch["known"])
        if turn == FINDER:
            parts["face"] = generator_loss(self._judge(found, batch)).mean()
        return parts

    def coordinates(self, out: Tensor) -> Tensor:
        """What the network returned, as points (B,n,2) in crop pixels through which a gradient flows."""
        return out

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """Losses of the network's maps, where it has any."""
        return {}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Points; a network that regresses them does not say how sure it is, so ``confidence`` is 1."""
        points = self.network(images)
        return {"points": points, "confidence": torch.ones_like(points[..., 0])}

    def exported(self) -> Study:
        """Without the discriminator."""
        return type(self)(self.network, self.spec)

    def _judge(self, points: Tensor, batch: FaceItem) -> Tensor:
        """The discriminator's logits (B,); points that are not annotated stand in the corner for both sides."""
        assert self.discriminator is not None
        logits: Tensor = self.discriminator(points * batch["known"][..., None])
        return logits


class Regression(Study):
    """Points from fully connected layers: direct, or cascaded (DAN)."""

    by_distance = 1.0


class Maps(Study):
    """A map a landmark, as large as the crop.

    Attributes:
        background: number of the map that is no landmark's, 0 or -1; None where there is none.
        decoding: how ``forward`` and the exported network read the maps; the paper's is arg-max.
    """

    background: ClassVar[Literal[0, -1] | None] = None
    decoding: Decoding = "arg_max"

    def coordinates(self, out: Tensor) -> Tensor:
        """By soft-argmax of the logits: arg-max has no gradient, and the mean place of the maps works against peaks."""
        points, _ = soft_arg_max(self.landmark_maps(out))
        return points

    def soft_points(self, out: Tensor) -> Tensor:
        """Points by soft-argmax: the mean place of each landmark's map."""
        points, _ = soft_arg_max(self.pixel_logits(out))
        return points

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Points of the highest pixels, or of soft-argmax, and how probable it is that the landmark lies near."""
        out = self.network(images).float()
        if self.decoding == "arg_max":
            maps = self.probabilities(out)
            points, _ = arg_max(maps, quarter=False)
        else:
            maps, points = over_pixels(self.pixel_logits(out)), self.soft_points(out)
        return {"points": points, "confidence": _within(maps, points, NEAR / self.unit).clamp_max(1.0)}

    def exported(self) -> Study:
        """Without the discriminator, read as this one."""
        alone = super().exported()
        read_by(alone, self.decoding)
        return alone

    @property
    def sigma(self) -> float:
        """Of the Gaussians, in crop pixels."""
        return SIGMA / self.unit

    def landmark_maps(self, maps: Tensor) -> Tensor:
        """All maps but the background's: (B,n,S,S)."""
        return {None: maps, 0: maps[:, 1:], -1: maps[:, :-1]}[self.background]

    def probabilities(self, out: Tensor) -> Tensor:
        """The maps that arg-max reads, (B,n,S,S): here a softmax over the maps of each pixel."""
        return self.landmark_maps(out.softmax(dim=1))

    def pixel_logits(self, out: Tensor) -> Tensor:
        """Logarithm, but for a constant a map, of the same maps: their softmax over the pixels is a distribution."""
        return self.landmark_maps(log_over_channels(out))


def _within(probabilities: Tensor, points: Tensor, reach: float) -> Tensor:
    """Sum (B,n) of each map (B,n,H,W) over ``reach`` pixels each way around its point (B,n,2); the edge is soft."""
    height, width = probabilities.shape[2:]
    x = torch.arange(width, device=points.device) - points[..., :1]
    y = torch.arange(height, device=points.device) - points[..., 1:]
    across, down = ((reach + 1 - axis.abs()).clamp(0, 1) for axis in (x, y))
    return (down[:, :, None] @ probabilities @ across[..., None])[..., 0, 0]


class Distribution(Maps):
    """Each map is a distribution over the pixels, asked to be a Gaussian around its landmark."""

    def probabilities(self, out: Tensor) -> Tensor:
        """Softmax over the pixels."""
        return over_pixels(out)

    def pixel_logits(self, out: Tensor) -> Tensor:
        """What the softmax is taken of."""
        return out

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """KL divergence less the constant entropy of the target, summed over the landmarks inside the crop."""
        side = out.shape[-1]
        inside = ((batch["points"] > -0.5) & (batch["points"] < side - 0.5)).all(dim=2)
        target = gaussian_targets(batch["points"], side, side, sigma=self.sigma)
        divergence = spatial_cross_entropy(out, *target) * (batch["known"] * inside)
        return {"maps": divergence.sum(dim=1).mean()}


class HeatmapRegression(Maps):
    """Softmax over the maps of a pixel, background last, asked to be Gaussians that sum to 1 and what they leave."""

    background = -1

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """Squared difference, summed over maps and pixels."""
        side = out.shape[-1]
        window = 2 * round(4 * self.sigma) + 1
        gaussians = gaussian_maps(batch["points"], side, side, sigma=self.sigma, window=window, known=batch["known"])
        gaussians = gaussians * min(1.0, 1 / (2 * math.pi * self.sigma**2))  # each sums to 1
        targets = torch.cat([gaussians, 1 - gaussians.sum(dim=1, keepdim=True)], dim=1)
        return {"maps": channel_softmax_squared(out, targets).sum(dim=(1, 2, 3)).mean()}


class PixelClassification(Maps):
    """Each pixel is of one class: background, the first map, or one of the landmarks."""

    background = 0

    def map_losses(self, out: Tensor, batch: FaceItem) -> dict[str, Tensor]:
        """Cross-entropy, mean over the pixels; a landmark is one pixel."""
        classes = class_map(batch["points"], out.shape[-2], out.shape[-1], known=batch["known"])
        return {"pixels": pixel_cross_entropy(out, classes).mean()}


class Hybrid(PixelClassification):
    """Pixel classes, and the distance of the points that soft-argmax reads off the logits."""

    by_distance = 0.25

    def pixel_logits(self, out: Tensor) -> Tensor:
        """Those whose points it learns."""
        return self.landmark_maps(out)


class HybridAsReleased(Hybrid):
    """The hybrid of the released code: its points come from arg-max, which has no gradient, so it learns as PWC."""

    def coordinates(self, out: Tensor) -> Tensor:
        """Arg-max: a constant to the optimiser."""
        points, _ = arg_max(self.probabilities(out), quarter=False)
        return points.detach()


class SoftReading(nn.Module):
    """Maps read by soft-argmax instead of arg-max, for comparison."""

    def __init__(self, learner: Maps) -> None:
        """Read ``learner``'s maps."""
        super().__init__()
        self.learner = learner

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Points only."""
        return {"points": self.learner.soft_points(self.learner.network(images))}
