"""Shipped landmark network: encoder, additive decoder and soft-argmax.

It uses plain 3x3 convolutions. On a CPU they take less time per multiplication than separable ones; for this reason
this network, and not a mobile one, is the default (docs/models.md has the comparison).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import ResidualBlock, conv_bn, spatial_moments


@dataclass(frozen=True, slots=True)
class EncoderDecoderConfig:
    """Size of the network.

    Attributes:
        landmarks: number of landmarks.
        size: side of the square crop in pixels; a multiple of 16.
        widths: channels at strides 2, 4, 8, 16 and 32.
        map_stride: pixels of the crop per cell of the maps, 4 or 8.
        blocks: residual blocks at strides 4, 8, 16 and 32.
        refined: channels of an additional convolution before the maps; 0 for none.
        visibility: predict the visibility of each landmark.
    """

    landmarks: int = 68
    size: int = 112
    widths: tuple[int, int, int, int, int] = (16, 24, 56, 96, 128)
    map_stride: int = 8
    blocks: tuple[int, int, int, int] = (1, 1, 1, 1)
    refined: int = 0
    visibility: bool = False


ACCURATE = EncoderDecoderConfig(
    size=160,
    widths=(24, 48, 96, 160, 256),
    map_stride=4,
    blocks=(1, 1, 2, 1),
    refined=64,
    visibility=True,
)
"""Accurate network: seven times the multiply-accumulates of the fast one, 30 FPS on one core."""


class Visibility(nn.Module):
    """Head for the visibility of each landmark: 0 self-occluded, 1 occluded, 2 visible.

    It uses the features at each landmark, weighted by its map, and those of the whole crop.
    """

    def __init__(self, landmarks: int, local: int, features: int) -> None:
        """Build for ``local`` channels of the features below the maps and ``features`` pooled channels."""
        super().__init__()
        self.landmarks = landmarks
        self.here = nn.Linear(local, 3)
        self.whole = nn.Linear(features, 3 * landmarks)

    def forward(self, x: Tensor, maps: Tensor, features: Tensor) -> Tensor:
        """Map features (B,C,h,w), maps (B,n,h,w) and pooled features (B,D) to logits (B,n,3)."""
        weight = maps.detach().flatten(2).softmax(dim=2)
        at_points = weight @ x.flatten(2).transpose(1, 2)
        logits: Tensor = self.whole(features).view(-1, self.landmarks, 3) + self.here(at_points)
        return logits


class CertaintyHeads(nn.Module):
    """Heads of our landmark networks for the confidence of each landmark and the presence of a face.

    Confidence uses detached features, so that training it does not change the landmarks. It is a Laplace scale per
    landmark, in crop pixels: ``log b = a_l log(spread_l) + w_l . features + c_l``.
    """

    def __init__(self, landmarks: int, features: int) -> None:
        """Build the heads of ``landmarks`` landmarks for ``features`` pooled channels."""
        super().__init__()
        self.slope = nn.Parameter(torch.ones(landmarks))
        self.scale = nn.Linear(features, landmarks)
        self.presence = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, features: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Map pooled features (B,C) and spread (B,n) to log scale (B,n) and presence logit (B,)."""
        log_scale = self.slope * spread.detach().log() + self.scale(features.detach())
        return log_scale.clamp(-3, 5), self.presence(features).squeeze(1)


class EncoderDecoder(nn.Module):
    """Network from crops (B,3,S,S), RGB in 0..1, to landmarks, their maps and the outputs of ``CertaintyHeads``."""

    def __init__(self, config: EncoderDecoderConfig | None = None) -> None:
        """Build with ``config``'s widths."""
        super().__init__()
        self.config = config = config or EncoderDecoderConfig()
        widths = config.widths
        self.stem = conv_bn(3, widths[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv_bn(a, b, stride=2), *(ResidualBlock(b) for _ in range(count)))
            for (a, b), count in zip(pairwise(widths), config.blocks, strict=True)
        )
        last = {4: 1, 8: 2}[config.map_stride]
        self.lifts = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths[last:]))
        local = config.refined or widths[last]
        self.refine = conv_bn(widths[last], local) if config.refined else nn.Identity()
        self.maps = nn.Conv2d(local, config.landmarks, 1)
        self.reading = CertaintyHeads(config.landmarks, widths[-1])
        self.visibility = Visibility(config.landmarks, local, widths[-1]) if config.visibility else None

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels, ``maps`` (B,n,h,w), ``log_scale`` (B,n), ``presence`` (B,).

        Logits ``visibility`` (B,n,3) are included if the config enables them.
        """
        x, taps = self.stem(crops), []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        features = x.mean(dim=(2, 3))
        for lift, tap in zip(reversed(self.lifts), reversed(taps[:-1]), strict=False):
            # a stride of 2 reduces 7 cells to 4: nearest sampling uses each cell twice, the last one once
            x = tap + functional.interpolate(lift(x), size=tap.shape[2:], mode="nearest")
        x = self.refine(x)
        maps = self.maps(x)
        cells, spread = spatial_moments(maps)
        log_scale, presence = self.reading(features, spread)
        stride = self.config.map_stride
        out = {
            "points": cells * stride + (stride - 1) / 2,
            "maps": maps,
            "log_scale": log_scale,
            "presence": presence,
        }
        return out if self.visibility is None else out | {"visibility": self.visibility(x, maps, features)}


class LandmarkExport(nn.Module):
    """Landmark network in its shipped form: points, confidence, presence and, if it predicts it, visibility.

    ``confidence`` is the probability, under the predicted Laplace scale, that the error is below ``tolerance`` crop
    pixels.
    """

    def __init__(self, network: nn.Module, tolerance: float) -> None:
        """Wrap a trained network; ``tolerance`` in crop pixels."""
        super().__init__()
        self.network, self.tolerance = network, tolerance

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels, ``confidence`` (B,n) and ``presence`` (B,) in 0..1.

        A network that predicts visibility adds the probabilities ``visibility`` (B,n,3).
        """
        out = self.network(images)
        confidence = 1 - torch.exp(-self.tolerance / out["log_scale"].exp())
        found = {"points": out["points"], "confidence": confidence, "presence": out["presence"].sigmoid()}
        return found | ({"visibility": out["visibility"].softmax(dim=2)} if "visibility" in out else {})
