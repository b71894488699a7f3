"""Learners whose network predicts one Gaussian map a landmark: targets, both readings of the maps, validation."""

from __future__ import annotations

import copy
import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ...engines.errors import NasionError
from ...engines.spec import Spec
from ..data import LandmarkSet
from ..data.augment import Augmentation
from ..data.samples import FaceItem, FaceSamples, accuracy, predict_points
from ..learner import Learner
from ..losses import masked_mean, masked_mse
from ..networks.decoding import arg_max, soft_arg_max
from ..networks.hrnet import HRNet
from ..networks.sd_hrnet import SHRNet
from ..targets import gaussian_maps

Decoding = Literal["arg_max", "soft_arg_max"]
STRIDE = 4  # pixels of the crop to one cell of the maps


def read_maps(maps: Tensor, decoding: Decoding, *, reach: int, stride: int = STRIDE) -> tuple[Tensor, Tensor]:
    """Points (B,n,2) in crop pixels and confidence (B,n) in 0..1, the height of the peak.

    ``arg_max`` is the papers' way, with a quarter of a cell towards the higher neighbour. ``soft_arg_max`` is the mean
    of the cells within ``reach`` of the highest one, weighted by their values: a Gaussian's own centre.
    """
    cells, peak = arg_max(maps, quarter=decoding == "arg_max")
    if decoding == "soft_arg_max":
        cells, _ = soft_arg_max(_around(maps, cells, reach))
    return (cells + 0.5) * stride - 0.5, peak.clamp(0, 1)


def _around(maps: Tensor, centre: Tensor, reach: int) -> Tensor:
    """Logarithm of the maps within ``reach`` cells of ``centre`` (B,n,2); everything else counts for nothing."""
    height, width = maps.shape[2:]
    x = torch.arange(width, device=maps.device) - centre[..., 0, None]
    y = torch.arange(height, device=maps.device) - centre[..., 1, None]
    near = (y.abs() <= reach)[..., :, None] & (x.abs() <= reach)[..., None, :]
    return torch.where(near, maps.clamp_min(1e-4).log(), -1e4)


def read_by(learner: Learner, decoding: Decoding) -> None:
    """Let a learner, and what it exports, read its maps by ``decoding``.

    Raises:
        NasionError: it reads no maps, or leaves no choice.
    """
    if getattr(learner, "decoding", None) not in get_args(Decoding):
        raise NasionError(f"a {type(learner).__name__} leaves no choice of decoding; give none")
    vars(learner)["decoding"] = decoding


class Reader(nn.Module):
    """A network of maps with the reading of its maps: what is exported."""

    def __init__(self, network: nn.Module, decoding: Decoding, reach: int) -> None:
        """Read ``network``'s maps by ``decoding``."""
        super().__init__()
        self.network, self.decoding, self.reach = network, decoding, reach

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``points`` (B,n,2) in crop pixels and ``confidence`` (B,n)."""
        points, confidence = read_maps(self.network(images).float(), self.decoding, reach=self.reach)
        return {"points": points, "confidence": confidence}


class MapsLearner(Learner):
    """A network (images to maps at stride 4) trained by the mean squared error to Gaussians.

    Attributes:
        sigma: standard deviation of the targets in cells of the map.
        decoding: how ``forward`` and the exported network read the maps; validation reports both ways. The default is
            not the paper's: on held-out faces of 300W at 128 px it was better in every validation, by 6 % of the error.
    """

    def __init__(
        self, network: HRNet | SHRNet, spec: Spec, *, sigma: float, decoding: Decoding = "soft_arg_max"
    ) -> None:
        """Train ``network`` on crops as ``spec`` describes them."""
        super().__init__()
        self.network, self.spec, self.sigma, self.decoding = network, spec, sigma, decoding

    @property
    def reach(self) -> int:
        """Cells around the peak that the soft reading looks at: where a target stands above a hundredth."""
        return math.ceil(3 * self.sigma)

    def targets(self, batch: FaceItem, height: int, width: int) -> Tensor:
        """Gaussians (B,n,height,width) of height 1 around the exact points, cut off at three sigma."""
        cells = (batch["points"] + 0.5) / STRIDE - 0.5
        window = 2 * math.ceil(3 * self.sigma) + 1
        return gaussian_maps(cells, height, width, sigma=self.sigma, window=window, known=batch["known"])

    def map_error(self, maps: Tensor, batch: FaceItem) -> Tensor:
        """Mean over samples and annotated landmarks of each map's mean squared error."""
        known = batch["known"]
        return masked_mean(masked_mse(maps.float(), self.targets(batch, *maps.shape[2:]), known), known)

    def losses(self, batch: FaceItem, turn: str) -> dict[str, Tensor]:
        """``maps``: see ``map_error``."""
        return {"maps": self.map_error(self.network(batch["image"]), batch)}

    def reader(self, network: nn.Module) -> Reader:
        """``network`` with the reading of its maps."""
        return Reader(network, self.decoding, self.reach)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Points and confidence."""
        out: dict[str, Tensor] = self.reader(self.network)(images)
        return out

    def exported(self) -> nn.Module:
        """The network rewritten for speed, with the same results: head per branch, factors folded."""
        network = copy.deepcopy(self.network).eval()
        network.reordered = True
        if isinstance(network, SHRNet):
            network.fold()
        return self.reader(network)


class _BothWays(nn.Module):
    """Points of both readings, one after the other, from one pass through the network."""

    def __init__(self, network: nn.Module, reach: int) -> None:
        super().__init__()
        self.network, self.reach = network, reach

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.network(images).float()
        ways: tuple[Decoding, ...] = ("arg_max", "soft_arg_max")
        return {"points": torch.cat([read_maps(maps, way, reach=self.reach)[0] for way in ways], dim=1)}


def validate_maps(
    learner: nn.Module, held: LandmarkSet, spec: Spec, network: nn.Module | None = None
) -> dict[str, float]:
    """Error of a ``MapsLearner``, or of another ``network`` of its, on plain crops of ``held``, by both readings.

    As ``validate_points``: ``nme`` and ``fr`` by arg-max as in the papers, ``nme_soft`` and ``fr_soft`` by soft-argmax.
    """
    assert isinstance(learner, MapsLearner)
    samples = FaceSamples(held, spec, Augmentation())
    found, truth = predict_points(_BothWays(network or learner.network, learner.reach), samples)
    hard, soft = np.split(found, 2, axis=1)
    soft_figures = {f"{name}_soft": value for name, value in accuracy(soft, truth).items()}
    return accuracy(hard, truth) | soft_figures
