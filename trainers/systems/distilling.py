"""Learners of SD-HRNet's later stages: the supernet with its importance factors, the slim net, students and teacher."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...engines.spec import Spec
from ..checkpoint import TrainingError
from ..data import LandmarkSet
from ..data.samples import FaceItem
from ..losses import distillation_kl, masked_mean, sparsity
from ..networks.hrnet import HRNet
from ..networks.sd_hrnet import SHRNet
from ..networks.slimming import plain
from .heat_maps import MapsLearner, validate_maps

SPARSITY = 5e-5  # weight of the sum of the factors' sizes (eq. 2)


def is_factor(name: str) -> bool:
    """Is the parameter of that name an importance factor."""
    return name.endswith("importance")


class GraphLearner(MapsLearner):
    """A graph in training; its checkpoints say which, so that no other file is needed to build it again."""

    network: SHRNet

    def structure(self) -> dict[str, Any]:
        """The network's configuration and the side of its crops in pixels."""
        return {"config": plain(self.network.config), "size": self.spec.size[0]}


class SupernetLearner(GraphLearner):
    """Importance factors and weights, learned in turn (eq. 2)."""

    def __init__(self, network: SHRNet, spec: Spec, *, sigma: float, passes: tuple[int, int]) -> None:
        """Train ``network``; ``passes`` are the steps of the factors, then of the weights, over and over."""
        super().__init__(network, spec, sigma=sigma)
        self.passes = passes

    def turn(self, step: int) -> str:
        """``importance`` or ``weights``."""
        return "importance" if step % sum(self.passes) < self.passes[0] else "weights"

    def trained(self, turn: str) -> list[nn.Parameter]:
        """The factors, or all else."""
        return [p for name, p in self.named_parameters() if is_factor(name) == (turn == "importance")]

    def losses(self, batch: FaceItem, turn: str) -> dict[str, Tensor]:
        """``maps`` and ``sparsity``."""
        for name, parameter in self.named_parameters():  # gradients that the loop would drop are not worked out
            parameter.requires_grad_(is_factor(name) == (turn == "importance"))
        factors = [transform.importance for transform in self.network.transforms().values()]
        return super().losses(batch, turn) | {"sparsity": SPARSITY * sparsity(factors)}


class SlimLearner(GraphLearner):
    """A slim network: its factors stay as they were inherited (algorithm 1)."""

    def __init__(self, network: SHRNet, spec: Spec, *, sigma: float) -> None:
        """Train the weights of ``network``."""
        super().__init__(network, spec, sigma=sigma)
        network.reordered = True
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not is_factor(name))


class DistilLearner(SlimLearner):
    """Two students that start as copies and learn from annotations, from each other and from a teacher (eq. 4).

    Each student sees the crops through random erasing of its own, the teacher sees them as they are. ``network`` is
    the first student, and what is exported.

    Attributes:
        second: the other student; None without a peer.
        teacher: frozen; None in a learner that is only used.
    """

    borrowed: ClassVar[tuple[str, ...]] = ("teacher",)

    def __init__(self, network: SHRNet, spec: Spec, *, sigma: float, peer: float, teacher: float, masks: bool) -> None:
        """Train ``network`` and its copy; ``peer`` and ``teacher`` weigh the distillation losses, 0 leaves them out."""
        super().__init__(network, spec, sigma=sigma)
        self.second = copy.deepcopy(network) if peer else None
        self.teacher: HRNet | None = None
        self.peer, self.teaching, self.masks = peer, teacher, masks

    def train(self, mode: bool = True) -> DistilLearner:
        """As usual, but for the teacher, who never learns."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval().requires_grad_(False)
        return self

    def losses(self, batch: FaceItem, turn: str) -> dict[str, Tensor]:
        """``maps``, ``peer`` and ``teacher`` of each student, numbered."""
        images, known = batch["image"], batch["known"]
        maps = [student(erased(images) if self.masks else images).float() for student in self.students]
        both = torch.stack(maps).mean(dim=0).detach()
        taught = self._taught(images)
        parts = {}
        for number, own in enumerate(maps, start=1):
            parts[f"maps{number}"] = self.map_error(own, batch)
            if self.peer:
                parts[f"peer{number}"] = self.peer * masked_mean(distillation_kl(both, own), known)
            if taught is not None:
                parts[f"teacher{number}"] = self.teaching * masked_mean(distillation_kl(taught, own), known)
        return parts

    @property
    def students(self) -> list[SHRNet]:
        """One, or with a peer two."""
        return [self.network] if self.second is None else [self.network, self.second]

    @torch.no_grad()
    def _taught(self, images: Tensor) -> Tensor | None:
        if not self.teaching:
            return None
        if self.teacher is None:
            raise TrainingError("there is no teacher to learn from; build the learner with a --teacher")
        maps: Tensor = self.teacher(images)
        return maps.float()


def erased(images: Tensor, *, share: float = 0.5, area: tuple[float, float] = (0.02, 0.1)) -> Tensor:
    """Random erasing (Zhong et al. 2020): a rectangle of zeros, the mean colour, over a ``share`` of the images.

    Args:
        images: (B,3,H,W), normalised.
        share: of the images that are changed.
        area: bounds of the rectangle's part of the picture; it is 0.3 to 3.3 times as high as wide and lies inside.
    """
    count, _, height, width = images.shape
    chosen, size, aspect, down, across = torch.rand(5, count, 1)  # on the CPU: the same for every device
    covered = (area[0] + (area[1] - area[0]) * size) * height * width
    ratio = torch.exp((2 * aspect - 1) * math.log(1 / 0.3))
    h, w = (covered * ratio).sqrt().round().clamp_max(height), (covered / ratio).sqrt().round().clamp_max(width)
    top, left = (down * (height - h + 1)).floor(), (across * (width - w + 1)).floor()
    y, x = torch.arange(height), torch.arange(width)
    rows, columns = (y >= top) & (y < top + h) & (chosen < share), (x >= left) & (x < left + w)
    return images.masked_fill((rows[:, None, :, None] & columns[:, None, None, :]).to(images.device), 0.0)


def validate_students(learner: nn.Module, held: LandmarkSet, spec: Spec) -> dict[str, float]:
    """As ``validate_maps``; the second student's figures end in ``2``."""
    assert isinstance(learner, DistilLearner)
    figures = validate_maps(learner, held, spec)
    if learner.second is not None:
        figures |= {f"{name}2": value for name, value in validate_maps(learner, held, spec, learner.second).items()}
    return figures
