"""Learners of SD-HRNet's later stages: supernet, slim network, students with a teacher."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....engines.spec import Spec
from ...checkpoint import TrainingError
from ...data import LandmarkSet
from ...data.samples import FaceItem
from ...losses import distillation_kl, masked_mean, sparsity
from ...networks.backbones.hrnet import HRNet
from ...networks.sd_hrnet.network import SHRNet
from ...networks.sd_hrnet.slimming import plain
from ..heat_maps import MapsLearner, validate_maps

SPARSITY = 5e-5  # weight of the sum of the factors' absolute values (eq. 2)


def is_factor(name: str) -> bool:
    """Return True if the parameter of that name is an importance factor."""
    return name.endswith("importance")


class GraphLearner(MapsLearner):
    """Learner of a graph; its checkpoints store the graph, so that no other file is needed to rebuild it."""

    network: SHRNet

    def structure(self) -> dict[str, Any]:
        """Return the network's configuration and the side of its crops in pixels."""
        return {"config": plain(self.network.config), "size": self.spec.size[0]}


class SupernetLearner(GraphLearner):
    """Learner that trains importance factors and weights in alternation (eq. 2)."""

    def __init__(self, network: SHRNet, spec: Spec, *, sigma: float, passes: tuple[int, int]) -> None:
        """Train ``network``, alternating the two ``passes``: steps of the factors, then steps of the weights."""
        super().__init__(network, spec, sigma=sigma)
        self.passes = passes

    def objective(self, step: int) -> str:
        """Return the objective of a step: ``importance`` or ``weights``."""
        return "importance" if step % sum(self.passes) < self.passes[0] else "weights"

    def trains_network(self, objective: str) -> bool:
        """Return True for the objectives of the weights."""
        return objective == "weights"

    def trained(self, objective: str) -> list[nn.Parameter]:
        """Return the importance factors, or all other parameters."""
        return [p for name, p in self.named_parameters() if is_factor(name) == (objective == "importance")]

    def losses(self, batch: FaceItem, objective: str) -> dict[str, Tensor]:
        """Return the losses ``maps`` and ``sparsity``."""
        for name, parameter in self.named_parameters():  # skip gradients that the loop would discard
            parameter.requires_grad_(is_factor(name) == (objective == "importance"))
        factors = [transform.importance for transform in self.network.transforms().values()]
        return super().losses(batch, objective) | {"sparsity": SPARSITY * sparsity(factors)}


class SlimLearner(GraphLearner):
    """Learner of a slim network, whose inherited importance factors stay fixed (algorithm 1)."""

    def __init__(self, network: SHRNet, spec: Spec, *, sigma: float) -> None:
        """Train the weights of ``network``."""
        super().__init__(network, spec, sigma=sigma)
        network.reordered = True
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not is_factor(name))


class DistilLearner(SlimLearner):
    """Learner of two students that start as copies and learn from annotations, each other and a teacher (eq. 4).

    Random erasing is drawn separately for each student; the teacher gets the crops unchanged. ``network`` is the first
    student, which is exported.

    Attributes:
        second: second student; None without a peer.
        teacher: frozen teacher; None in a learner that is used for inference only.
    """

    borrowed: ClassVar[tuple[str, ...]] = ("teacher",)

    def __init__(self, network: SHRNet, spec: Spec, *, sigma: float, peer: float, teacher: float, masks: bool) -> None:
        """Train ``network`` and its copy.

        ``peer`` and ``teacher`` are the weights of the distillation losses; 0 leaves a loss out. ``masks`` enables
        random erasing.
        """
        super().__init__(network, spec, sigma=sigma)
        self.second = copy.deepcopy(network) if peer else None
        self.teacher: HRNet | None = None
        self.peer, self.teaching, self.masks = peer, teacher, masks

    def train(self, mode: bool = True) -> DistilLearner:
        """Set the training mode of everything except the teacher, which stays frozen in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval().requires_grad_(False)
        return self

    def losses(self, batch: FaceItem, objective: str) -> dict[str, Tensor]:
        """Return the losses ``maps``, ``peer`` and ``teacher`` of each student, numbered from 1."""
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
        """List of the students: one, or two with a peer."""
        return [self.network] if self.second is None else [self.network, self.second]

    @torch.no_grad()
    def _taught(self, images: Tensor) -> Tensor | None:
        if not self.teaching:
            return None
        if self.teacher is None:
            raise TrainingError("there is no teacher to learn from; give --teacher RUN/best.pt of sd-hrnet-teacher")
        maps: Tensor = self.teacher(images)
        return maps.float()


def erased(images: Tensor, *, share: float = 0.5, area: tuple[float, float] = (0.02, 0.1)) -> Tensor:
    """Erase a random rectangle in a ``share`` of the images (random erasing, Zhong et al. 2020).

    The rectangle is filled with zeros, the mean colour. It lies inside the image and is 0.3 to 3.3 times as high as
    wide.

    Args:
        images: (B,3,H,W), normalised.
        share: fraction of the images that are changed.
        area: smallest and largest area of the rectangle, relative to the image.
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
    """Return the figures of ``validate_maps`` for each student; names of the second student's figures end in ``2``."""
    assert isinstance(learner, DistilLearner)
    figures = validate_maps(learner, held, spec)
    if learner.second is not None:
        figures |= {f"{name}2": value for name, value in validate_maps(learner, held, spec, learner.second).items()}
    return figures
