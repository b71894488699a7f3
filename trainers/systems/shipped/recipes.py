"""Recipes of the shipped networks, and of the SD-HRNet that they were compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import nn

from ....engines.spec import Spec
from ... import checkpoint
from ...data import TrainingData
from ...learner import Learner
from ...networks.encoder_decoder import ACCURATE, EncoderDecoder
from ...networks.face_detector import FaceDetector
from ...networks.sd_hrnet.network import SDHRNet, SDHRNetConfig
from ...training.loop import Optimiser, Schedule
from ...training.recipes import Options, Prepared, Recipe
from .alignment import HeldOut, WithCorrection, validate_alignment
from .alignment_samples import AlignmentSamples, collate_crops
from .detection import DetectorLearner, validate_detector
from .detection_samples import DetectionSamples, collate

T = TypeVar("T", bound=Learner)

DETECTOR_SPEC = Spec(task="detector", name="face-detector", size=(384, 384), stride=32, threshold=0.45)

# Shifts of the logits at strides 8, 16 and 32, with which held-out faces of all sizes pass the threshold about equally
# often.
DETECTOR_SHIFTS = (0.0, 0.0, 0.0)


def landmark_spec(name: str, size: int, *, visibility: bool = False) -> Spec:
    """Return the spec of a network of 68 landmarks: crops of ``size`` pixels, a fifth wider than the landmarks."""
    return Spec(
        task="landmarks",
        name=name,
        size=(size, size),
        landmarks=68,
        scheme="ibug-68",
        crop_margin=1.2,
        threshold=0.5,
        visibility=visibility,
    )


def _schedule(batch: int, validate_every: int) -> Schedule:
    return Schedule(
        steps=60_000,
        batch=batch,
        optimisers=(Optimiser("adamw", learning_rate=2e-3, decay=0.01, warmup=300),),
        ema=0.9995,
        clip=5.0,
        validate_every=validate_every,
    )


def _prepare_detector(learner: Learner, root: Path, options: Options) -> Prepared:
    training, held = TrainingData.read(root, skip_bad=options.skip_bad)
    return Prepared(
        DetectionSamples(training, seed=options.seed),
        collate,
        lambda network: validate_detector(network, learner.spec, held),
    )


def _prepare_landmarks(learner: Learner, root: Path, options: Options) -> Prepared:
    training, data = TrainingData.read(root, skip_bad=options.skip_bad)
    held = HeldOut(data, learner.spec)
    return Prepared(
        AlignmentSamples(training, learner.spec, seed=options.seed),
        collate_crops,
        lambda network: validate_alignment(network, held),
    )


STARTS = frozenset({"start"})  # a checkpoint whose weights training begins with; the optimiser starts new


def _begun(learner: T, options: Options) -> T:
    """Return ``learner`` with the weights of ``options.start``, possibly float16; None leaves it as built.

    Raises:
        TrainingError: the file is not a checkpoint, or is one of another network.
    """
    if options.start is not None:
        checkpoint.fill(learner, checkpoint.load(options.start)["average"])
    return learner


def _landmarks(
    name: str,
    summary: str,
    size: int,
    network: Callable[[], nn.Module],
    batch: int = 32,
    visibility: bool = False,
) -> Recipe:
    """Build the recipe of a landmark network; data, losses and schedule are the same for all of them."""
    return Recipe(
        name,
        summary,
        lambda options: _begun(WithCorrection(network(), landmark_spec(name, size, visibility=visibility)), options),
        _prepare_landmarks,
        "criterion",
        _schedule(batch, 2000),
        takes=STARTS,
    )


def _slim_sd_hrnet() -> SDHRNet:
    """Build SD-HRNet's WFLW graph with a thin stem, narrow branches and one block per encoder, for 96 px crops.

    Its size is chosen to match the CPU time of the encoder-decoder, so that the two can be compared.
    """
    return SDHRNet(SDHRNetConfig(landmarks=68, size=96, stem=(16, 16), widths=(16, 24, 48, 96), blocks=1))


FACE_DETECTOR = Recipe(
    "face-detector",
    "the shipped face detector",
    lambda options: _begun(DetectorLearner(FaceDetector(), DETECTOR_SPEC, DETECTOR_SHIFTS), options),
    _prepare_detector,
    "missed_precision",
    _schedule(16, 1500),
    takes=STARTS,
)
LANDMARKS_68 = _landmarks("landmarks-68", "the shipped landmark network, 68 points", 112, EncoderDecoder)
LANDMARKS_68_ACCURATE = _landmarks(
    "landmarks-68-accurate",
    "the accurate landmark network, 68 points with visibility",
    160,
    lambda: EncoderDecoder(ACCURATE),
    batch=16,
    visibility=True,
)
LANDMARKS_68_SD_HRNET = _landmarks(
    "landmarks-68-sd-hrnet", "a narrow SD-HRNet trained like the shipped landmark network", 96, _slim_sd_hrnet
)

RECIPES = (FACE_DETECTOR, LANDMARKS_68, LANDMARKS_68_ACCURATE, LANDMARKS_68_SD_HRNET)
