"""Learner of RHT: losses, reference face, decoding of the maps, validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ....engines.errors import NasionError
from ....engines.spec import Spec
from ...data import LandmarkSet
from ...data.augment import Augmentation
from ...data.masks import MaskedSamples
from ...data.samples import FaceItem, FaceSamples, accuracy, predict_points
from ...evaluation.references import PairedItem, coarser
from ...learner import Learner
from ...losses import masked_mean, masked_mse, transfer_l1
from ...networks.backbones.hrnet import HRNetTrunk, load_public_weights
from ...networks.backbones.resnet import ResNet50, load_backbone
from ...networks.rht.network import RHT, Outcome, Reference, RHTConfig, Scales, halve, neighbourhoods
from ...targets import BOUNDARIES, boundary_maps, gaussian_maps
from ..heat_maps import Decoding, read_maps
from .alignment import alignment_figures, coarse_cells

SIZE = 256  # side of the paper's crop, pixels
STRIDE = 2  # pixels of the crop to one cell of the maps
SIGMA = 2.0  # sigma of Gaussians and boundaries, in cells of the paper's 128 x 128 maps and of smaller ones
TRANSFER = 0.1  # weight of the second loss, lambda of eq. 9
SHARPNESS = 0.1  # temperature of the correlations in the loss of guided matches


class RHTLearner(Learner):
    """RHT with its losses and the default reference face.

    Attributes:
        decoding: decoding of the maps in ``forward``.
        guided: train the matches of the soft transformation by the landmarks of target and reference. The paper does
            not; without it only the weight of a match has a gradient, its place has none.
        reference_image, reference_points: crop (1,3,S/2,S/2) and points (1,n,2), in pixels of a crop of side S, of the
            reference that ``forward`` uses; zeros before ``set_reference``.
    """

    reference_image: Tensor
    reference_points: Tensor

    def __init__(
        self, config: RHTConfig, spec: Spec, *, decoding: Decoding = "soft_arg_max", guided: bool = False
    ) -> None:
        """Build the network of ``config`` for crops in the format of ``spec``."""
        super().__init__()
        self.network, self.spec, self.decoding, self.guided = RHT(config), spec, decoding, guided
        self.curves = BOUNDARIES[config.landmarks] if config.boundaries else ()
        self.sigma = max(SIGMA, SIGMA * config.size / SIZE)  # narrower Gaussians are learned too slowly
        side = config.size // STRIDE
        self.register_buffer("reference_image", torch.zeros(1, 3, side, side))
        self.register_buffer("reference_points", torch.zeros(1, config.landmarks, 2))

    @property
    def compares(self) -> bool:
        """True if the network has a part that uses a reference."""
        return self.network.config.stm or self.network.config.htm

    def set_reference(self, item: FaceItem) -> None:
        """Set the reference of ``forward``; all landmarks of the face must be annotated."""
        self.reference_image.copy_(halve(item["image"][None]))
        self.reference_points.copy_(item["points"][None])

    def targets(self, points: Tensor, known: Tensor) -> Tensor:
        """Return the target maps (B, landmarks + boundaries, S/2, S/2) of points (B,n,2) in crop pixels.

        Gaussians come first, then boundaries. Landmarks without annotation (``known`` (B,n) is 0) have an empty map.
        """
        side = self.network.config.size // STRIDE
        cells = ((points + 0.5) / STRIDE - 0.5).masked_fill(known[..., None] == 0, torch.nan)
        maps = gaussian_maps(cells, side, side, sigma=self.sigma)
        if not self.curves:
            return maps
        return torch.cat([maps, boundary_maps(cells, side, side, curves=self.curves, sigma=self.sigma)], dim=1)

    def remember(self, image: Tensor, points: Tensor, known: Tensor) -> Reference | None:
        """Return the features of references that the network keeps, None if it needs none.

        Args:
            image: (R,3,S/2,S/2), normalised like the crops.
            points, known: (R,n,2) in pixels of a crop of side S, and (R,n).
        """
        return self.network.remember(image, self.targets(points, known)) if self.compares else None

    def own_reference(self) -> Reference | None:
        """Return the features of the reference given to ``set_reference``."""
        points = self.reference_points
        return self.remember(self.reference_image, points, torch.ones_like(points[..., 0]))

    def losses(self, batch: PairedItem, objective: str) -> dict[str, Tensor]:
        """Return the losses ``landmarks`` and ``boundaries`` (eq. 7), ``transfer`` (eq. 8) and, if guided, ``matches``.

        ``transfer`` is there only if the network has both transformations. The norms of both equations are means, so
        that the paper's weight balances them. Hidden landmarks do not count, nor do boundaries with a landmark that is
        not annotated.
        """
        reference = None
        if self.compares:
            other = batch["reference"]
            reference = self.remember(halve(other["image"]), other["points"], other["known"])
        outcome: Outcome = self.network(batch["image"], reference)
        known, count = batch["known"], self.network.config.landmarks
        counted = [
            known * batch["visible"],
            *(known[:, list(curve)].amin(dim=1, keepdim=True) for curve in self.curves),
        ]
        maps = outcome.maps.float()
        error = masked_mse(maps, self.targets(batch["points"], known), torch.cat(counted, dim=1))
        parts = {"landmarks": error[:, :count].mean()}
        if self.curves:
            parts["boundaries"] = error[:, count:].mean()
        if outcome.soft is not None and outcome.hard is not None and outcome.attention is not None:
            parts["transfer"] = TRANSFER * _disagreement(outcome.hard, outcome.soft, outcome.attention)
        if self.guided and reference is not None and outcome.query is not None:
            parts["matches"] = _match_loss(outcome.query, reference.keys, batch)
        return parts

    def read(self, outcome: Outcome, decoding: Decoding | None = None) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels and ``confidence`` (B,n), the height of the peak.

        ``decoding`` replaces the learner's own, for comparison.
        """
        maps, reach = outcome.maps[:, : self.network.config.landmarks].float(), max(1, round(2 * self.sigma))
        points, confidence = read_maps(maps, decoding or self.decoding, reach=reach, stride=STRIDE)
        return {"points": points, "confidence": confidence}

    def find(self, images: Tensor, others: FaceItem, coarse: int = 1) -> Tensor:
        """Return points (B,n,2) in crop pixels, with one reference per crop, coarsened by the factor ``coarse``."""
        device = images.device
        image, points, known = (others[name].to(device) for name in ("image", "points", "known"))
        image = coarser(halve(image), coarse) if coarse > 1 else halve(image)
        return self.read(self.network(images, self.remember(image, points, known)))["points"]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return points and confidence, using the reference given to ``set_reference``."""
        return self.read(self.network(images, self.own_reference()))

    def exported(self) -> nn.Module:
        """Return the network with the features of its reference precomputed."""
        return RHTReader(self)


def _disagreement(hard: Scales, soft: Scales, attention: Scales) -> Tensor:
    """Return the mean over the scales of eq. 8.

    The soft transformation is the target: no gradient flows through it, so that the affine map learns.
    """
    scales = zip(hard, soft, attention, strict=True)
    return torch.stack([transfer_l1(e, s.detach(), a.detach()) for e, s, a in scales]).mean()


def _match_loss(query: Tensor, keys: Tensor, batch: PairedItem) -> Tensor:
    """Return the cross-entropy of the matches of the target's landmarks towards those of the reference."""
    crop, other = batch["image"].shape[-1], batch["reference"]
    places = [coarse_cells(each["points"], crop, query.shape[-1]) for each in (batch, other)]
    known = batch["known"] * other["known"] * places[0].inside * places[1].inside
    around = neighbourhoods(query)
    own = around.gather(2, places[0].flat[:, None].expand(-1, around.shape[1], -1))
    logits = own.transpose(1, 2) @ neighbourhoods(keys).to(own.dtype) / SHARPNESS
    wrong = functional.cross_entropy(logits.float().transpose(1, 2), places[1].flat, reduction="none")
    return masked_mean(wrong, known)


class RHTReader(nn.Module):
    """Trained learner with the features of its reference precomputed, as it is exported."""

    keys: Tensor
    coarse: Tensor
    middle: Tensor
    fine: Tensor

    @torch.no_grad()
    def __init__(self, learner: RHTLearner) -> None:
        """Compute the reference features of ``learner`` in evaluation mode."""
        super().__init__()
        self.learner = learner
        training = learner.training
        reference = learner.eval().own_reference()
        learner.train(training)
        self.compares = reference is not None
        if reference is not None:
            for name, value in zip(
                ("keys", "coarse", "middle", "fine"), (reference.keys, *reference.values), strict=True
            ):
                self.register_buffer(name, value)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels and ``confidence`` (B,n) of normalised crops (B,3,S,S)."""
        reference = Reference(self.keys, (self.coarse, self.middle, self.fine)) if self.compares else None
        return self.learner.read(self.learner.network(images, reference))


def validate_rht(learner: nn.Module, held: LandmarkSet, spec: Spec) -> dict[str, float]:
    """Return the figures of ``accuracy`` on plain crops of ``held``.

    Figures that end in ``_masked`` are on the same faces with masks, those that end in ``_hard`` by arg-max decoding.
    ``htm_…`` and ``stm_…`` tell how well the transformations align the reference, see ``alignment_figures``.
    """
    assert isinstance(learner, RHTLearner)
    figures: dict[str, float] = {}
    for samples, suffix in ((FaceSamples, ""), (MaskedSamples, "_masked")):
        found, truth = predict_points(_BothWays(learner), samples(held, spec, Augmentation()))
        soft, hard = np.split(found, 2, axis=1)
        ways = {suffix: soft} if suffix else {suffix: soft, "_hard": hard}
        for name, points in ways.items():
            figures |= {f"{key}{name}": value for key, value in accuracy(points, truth).items()}
    if learner.compares:
        plain = FaceSamples(held, spec, Augmentation())
        figures |= alignment_figures(learner.network, learner.own_reference(), learner.reference_points, plain)
    return figures


class _BothWays(nn.Module):
    """Module that returns the points of both decodings, concatenated, from one pass through the network."""

    def __init__(self, learner: RHTLearner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        learner = self.learner
        outcome = learner.network(images, learner.own_reference())
        ways: tuple[Decoding, ...] = ("soft_arg_max", "arg_max")
        return {"points": torch.cat([learner.read(outcome, way)["points"] for way in ways], dim=1)}


def load_weights(learner: RHTLearner, path: Path) -> None:
    """Load public ImageNet weights into the backbone.

    Raises:
        NasionError: the backbone is an hourglass, for which there are no public weights, or the file does not fit.
    """
    body = learner.network.backbone.body
    if isinstance(body, ResNet50):
        load_backbone(body, path)
    elif isinstance(body, HRNetTrunk):
        load_public_weights(body, path)
    else:
        raise NasionError(f"{path}: hourglasses have no public weights; leave --backbone-weights out")
