"""Learner of a landmark network for a user's own scheme, and its validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ....engines.spec import Spec
from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import to_tensor
from ....realtime.values.scheme import LandmarkScheme
from ....realtime.values.scheme_files import values_of_scheme
from ...learner import Learner, device_of
from ...metrics import failure_rate, nme, point_errors, scheme_lengths
from ...networks.encoder_decoder import EncoderDecoder, LandmarkExport
from ..shipped.alignment import landmark_losses, tolerance
from ..shipped.alignment_samples import Labels
from .samples import OwnSamples
from .weights import config_values

FACE_MARGIN = 1.2
"""Side of the shipped networks' crops over the extent of the 68 landmarks; crops of all schemes show as much."""
_BATCH = 64


class OwnLandmarks(Learner):
    """Landmark network of any scheme.

    Attributes:
        scheme: scheme of its landmarks.
        is_folded: True if its normalisations were folded into convolutions and need their statistics back.
        before: network of another scheme from which its heads begin, until the data is read; None if there is none.
        keeps_statistics: True if the normalisations keep their mean and variance: those of many thousand faces serve
            better than those of the batches of few.
    """

    def __init__(self, network: EncoderDecoder, spec: Spec, scheme: LandmarkScheme) -> None:
        """Train ``network`` on crops in the format of ``spec``."""
        super().__init__()
        self.network, self.spec, self.scheme = network, spec, scheme
        self.is_folded = False
        self.before: EncoderDecoder | None = None
        self.keeps_statistics = False

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; normalisations that keep their statistics stay in evaluation mode."""
        super().train(mode)
        if self.keeps_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def losses(self, batch: Labels, objective: str) -> dict[str, Tensor]:
        """Return the losses of a batch; see ``landmark_losses``."""
        return landmark_losses(self.network, batch)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return points, confidence, presence and, if the network predicts it, visibility."""
        out: dict[str, Tensor] = self.exported()(images)
        return out

    def exported(self) -> LandmarkExport:
        """Return the network as it is exported."""
        return LandmarkExport(self.network, tolerance(replace(self.spec, crop_margin=FACE_MARGIN)))

    def structure(self) -> dict[str, Any]:
        """Return size, scheme and crop of the network."""
        return {
            "config": config_values(self.network.config),
            "scheme": values_of_scheme(self.scheme),
            "margin": self.spec.crop_margin,
            "name": self.spec.name,
        }


def locate_in_crops(learner: nn.Module, samples: OwnSamples) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return predicted and annotated landmarks (N,n,2) in pixels of the plain crops, and presence (N,)."""
    crops, truth = _plain_crops(samples)
    out = _run(learner, crops)
    return out["points"], truth, out["presence"]


def locate_with(network: EncoderDecoder, samples: OwnSamples) -> tuple[FloatArray, FloatArray]:
    """Return the landmarks (N,k,2) that a network of any scheme finds in the plain crops, and the labels (N,n,2)."""
    crops, truth = _plain_crops(samples)
    return _run(network.eval(), crops)["points"], truth


def _plain_crops(samples: OwnSamples) -> tuple[list[Image], FloatArray]:
    crops, truth = zip(*(samples.plain(i) for i in range(len(samples.faces))), strict=True)
    return list(crops), np.stack(truth)


@torch.no_grad()
def _run(module: nn.Module, crops: list[Image]) -> dict[str, FloatArray]:
    """Return points and presence that a network finds in crops."""
    parts, device = [], device_of(module)
    for at in range(0, len(crops), _BATCH):
        images = torch.from_numpy(to_tensor(crops[at : at + _BATCH], (0, 0, 0), (255, 255, 255), rgb=True))
        out = module(images.to(device))
        parts.append({name: out[name].float().cpu().numpy() for name in ("points", "presence")})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def validate_own(learner: nn.Module, samples: OwnSamples) -> dict[str, float]:
    """Return the mean error, the failure rate at 10 % and the mean presence on the plain crops of held-out faces."""
    found, truth, presence = locate_in_crops(learner, samples)
    each = nme(point_errors(found, truth, scheme_lengths(truth, samples.scheme)))
    return {
        "nme": round(float(each.mean()), 5),
        "fr": round(failure_rate(each), 4),
        "presence": round(float(presence.mean()), 4),
    }
