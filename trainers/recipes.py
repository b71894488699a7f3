"""Everything ``nasion train`` can train, by name: network, data, losses, schedule, validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from ..engines.errors import NasionError
from ..engines.spec import Spec
from .loop import Losses, Schedule, Validate


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipe with its data read: all that the loop needs."""

    samples: Dataset[Any]
    losses: Losses
    collate: Callable[[list[Any]], Any] | None
    validate: Validate


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make one network.

    Attributes:
        name: what ``nasion train`` calls it.
        spec: what the exported file will say about itself.
        build: the untrained network.
        wrap: a trained network as it is exported, decoding inside.
        prepare: data folder and seed to samples, losses and validation.
        criterion: the validation figure whose minimum marks the best checkpoint.
        schedule: defaults of the run.
    """

    name: str
    spec: Spec
    build: Callable[[], nn.Module]
    wrap: Callable[[nn.Module], nn.Module]
    prepare: Callable[[Path, int], Prepared]
    criterion: str
    schedule: Schedule


def _prepare_detector(root: Path, seed: int) -> Prepared:
    from .datasets import TrainingData
    from .detection import DetectionSamples, collate, detection_losses, validate_detector

    training, held = TrainingData.read(root)
    spec = FACE_DETECTOR.spec
    return Prepared(
        DetectionSamples(training, seed=seed),
        detection_losses,
        collate,
        lambda m: validate_detector(m, spec, held),
    )


def _build_detector() -> nn.Module:
    from .networks.face_detector import FaceDetector

    return FaceDetector()


def _wrap_detector(network: nn.Module) -> nn.Module:
    from .networks.face_detector import DetectorExport, FaceDetector

    assert isinstance(network, FaceDetector)
    return DetectorExport(network, DETECTOR_SHIFTS)


# Logits at strides 8, 16 and 32. On the 450 training pictures without a face hardly a box of 100 px and more scored
# above 0.25, smaller ones up to 0.5; with these, held-out faces of all sizes pass the threshold alike.
DETECTOR_SHIFTS = (0.0, 0.0, 1.1)

FACE_DETECTOR = Recipe(
    name="face-detector",
    spec=Spec(task="detector", name="face-detector", size=(384, 384), stride=32, threshold=0.42),
    build=_build_detector,
    wrap=_wrap_detector,
    prepare=_prepare_detector,
    criterion="missed_precision",
    schedule=Schedule(steps=60_000, batch=16, rate=2e-3, validate_every=1500),
)

# The inter-ocular distance of a frontal face is about 0.59 of the longer side of its points' box (median over 300W's
# training part).
INTER_OCULAR = 0.59


def _landmark_spec(name: str, size: int) -> Spec:
    return Spec(task="landmarks", name=name, size=(size, size), landmarks=68, crop_margin=1.2, threshold=0.5)


def tolerance(spec: Spec) -> float:
    """Crop pixels that are 10 % of the inter-ocular distance of a frontal face in a well-placed crop."""
    return 0.1 * INTER_OCULAR * spec.size[0] / spec.crop_margin


def _landmark_recipe(name: str, size: int, build: Callable[[], nn.Module], steps: int) -> Recipe:
    """A landmark network over the same data, losses and schedule as all others."""
    spec = _landmark_spec(name, size)

    def prepare(root: Path, seed: int) -> Prepared:
        from .alignment import AlignmentSamples, WithCorrection, alignment_losses, validate_alignment
        from .datasets import TrainingData

        training, held = TrainingData.read(root)

        def validate(network: nn.Module) -> dict[str, float]:
            assert isinstance(network, WithCorrection)
            return validate_alignment(network, spec, held)

        return Prepared(AlignmentSamples(training, spec, seed=seed), alignment_losses, None, validate)

    def wrap(network: nn.Module) -> nn.Module:
        from .alignment import WithCorrection
        from .networks.encoder_decoder import LandmarkExport

        assert isinstance(network, WithCorrection)
        return LandmarkExport(network.network, tolerance(spec))

    schedule = Schedule(steps=steps, batch=32, rate=2e-3, validate_every=2000)
    return Recipe(name, spec, build, wrap, prepare, "criterion", schedule)


def _build_encoder_decoder() -> nn.Module:
    from .alignment import WithCorrection
    from .networks.encoder_decoder import EncoderDecoder

    return WithCorrection(EncoderDecoder())


def _build_slim_sd_hrnet() -> nn.Module:
    """SD-HRNet's WFLW graph with a thin stem, narrow branches and one block an encoder, for 96 px crops.

    As large as the CPU time of the encoder-decoder allows, so that the two can be compared.
    """
    from .alignment import WithCorrection
    from .networks.sd_hrnet import SDHRNet, SDHRNetConfig

    slim = SDHRNetConfig(landmarks=68, size=96, stem=(16, 16), widths=(16, 24, 48, 96), blocks=1)
    return WithCorrection(SDHRNet(slim))


LANDMARKS_68 = _landmark_recipe("landmarks-68", 112, _build_encoder_decoder, 60_000)
LANDMARKS_68_SD_HRNET = _landmark_recipe("landmarks-68-sd-hrnet", 96, _build_slim_sd_hrnet, 60_000)

RECIPES = {recipe.name: recipe for recipe in (FACE_DETECTOR, LANDMARKS_68, LANDMARKS_68_SD_HRNET)}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        NasionError: there is none; the message lists them.
    """
    if name not in RECIPES:
        raise NasionError(f"recipe {name!r} is unknown; allowed: {', '.join(RECIPES)}")
    return RECIPES[name]
