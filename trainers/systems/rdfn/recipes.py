"""Recipes of RDFN: the paper's two phases, joint training, and its ablations.

Paper: "Region-Aware Deep Feature-Fused Network for Robust Facial Landmark Localization" (Lin and Liang 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ....engines.errors import NasionError
from ....engines.spec import Spec, Task
from ... import checkpoint
from ...data import layout_of, read_negatives, readable, split_validation
from ...data.augment import Augmentation
from ...data.samples import validate_lips
from ...learner import Learner
from ...networks.backbones.resnet import load_backbone
from ...networks.rdfn.network import RDFN, HeadAlone, RegionDetector, RegionLandmarks
from ...networks.rdfn.region_head import PRESETS, RDFNConfig
from ...training.loop import Optimiser, Schedule
from ...training.recipes import FORM, Options, Prepared, Recipe, parted, prepare_faces, training_part
from ..whole_images import PAPER, Framing, ImageSamples, validate_boxes, validate_faces
from .learners import DetectorLearner, HeadLearner, RDFNLearner

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MARGIN = 1.2  # size of a region relative to its box; the outermost landmarks lie on a tight box (docs/papers/rdfn.md)
CROP_MARGIN = 1.25  # margin of the crops for the head alone
# Threshold of the mean peak of the maps. For a head of quarter width at 128 px it was at most 0.22 on 150 squares of
# background, and below 0.48 on one in a hundred of the held-out faces.
HEAD_THRESHOLD = 0.35
NORMALISED = 16
"""Least number of boxes in a step. The channel attention normalises one value per box and channel: with the two of the
paper's batch, every value would become 1 or -1.
"""


def _config(options: Options, changes: dict[str, Any]) -> RDFNConfig:
    own: dict[str, Any] = {"up": "resize", "roi_margin": MARGIN} | changes
    preset = PRESETS["counts" if options.version == 1 else "fused"]
    config = replace(preset, landmarks=options.landmarks, **own)
    size, width = options.size or config.size, config.width if options.width is None else options.width
    if size % 16:
        raise NasionError(f"--size {size} is not a multiple of 16, the coarsest stride of RDFN; try {size // 16 * 16}")
    return replace(config, size=size, width=width)


def _spec(name: str, config: RDFNConfig, task: Task) -> Spec:
    return Spec(
        task=task,
        name=name,
        size=(config.size, config.size),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stride=1 if task == "landmarks" else 16,
        landmarks=0 if task == "detector" else config.landmarks,
        crop_margin=CROP_MARGIN if task == "landmarks" else 1.0,
        threshold=HEAD_THRESHOLD if task == "landmarks" else config.threshold,
    )


def _build(name: str, task: Task, changes: dict[str, Any], *, frozen: bool) -> Callable[[Options], Learner]:
    def build(options: Options) -> Learner:
        config = _config(options, changes)
        spec = _spec(name, config, task)
        learner: DetectorLearner | RDFNLearner | HeadLearner
        if task == "detector":
            learner = DetectorLearner(RegionDetector(config), spec)
        elif task == "faces":
            learner = RDFNLearner(RDFN(config), spec, frozen=frozen)
        else:
            learner = HeadLearner(RegionLandmarks(config), spec)
        if options.backbone_weights is not None:
            load_backbone(learner.network.backbone, options.backbone_weights)
        if options.start is not None:
            begin_from(learner, options.start)
        return learner

    return build


def head_of(learner: Learner) -> HeadLearner:
    """Return the landmark head of a network that detects faces itself, for crops from another face detector.

    Raises:
        NasionError: the learner is not a whole RDFN.
    """
    if not isinstance(learner, RDFNLearner):
        raise NasionError(f"{learner.spec.name} has no landmark head of its own; only the whole RDFN has")
    whole, config = learner.network.state_dict(), learner.network.config
    network = RegionLandmarks(config)
    network.load_state_dict({name: whole[name] for name in network.state_dict()})
    return HeadLearner(network, _spec(f"{learner.spec.name}-head", config, "landmarks"))


def begin_from(learner: Learner, path: Path) -> None:
    """Load backbone, detector and head from a checkpoint of any RDFN recipe; parts that it lacks stay as they are.

    Raises:
        TrainingError: the file cannot be read, or one of its parts has another structure.
    """
    theirs, own = checkpoint.load(path)["average"], checkpoint.kept(learner)

    def part(name: str) -> str:
        return ".".join(name.split(".")[:2])

    have, want = {part(name) for name in theirs}, {part(name) for name in own}
    taken = {name: value for name, value in theirs.items() if part(name) in want}
    new = {name: value for name, value in own.items() if part(name) not in have}
    checkpoint.fill(learner, taken | new if have & want else theirs)


def _faceless(root: Path) -> tuple[Path, ...]:
    """Return the images without a face in the data folder, if there are any."""
    return read_negatives(root) if layout_of("negatives").find(root, "train") else ()


def _whole_images(
    learner: Learner, root: Path, options: Options, framing: Framing
) -> tuple[ImageSamples, ImageSamples]:
    """Return the samples for training and for validation; every twelfth image is held out for validation."""
    faces, faceless = training_part(root, options), _faceless(root)
    of_faceless = [[faceless[i] for i in chosen] for chosen in split_validation(len(faceless))]
    of_faceless[1] = [of_faceless[1][i] for i in readable(of_faceless[1], skip=options.skip_bad)]
    parts = zip(parted(faces, options), of_faceless, strict=True)
    batch = options.batch or _schedule(options).batch
    framing = replace(framing, rois=max(1, NORMALISED // batch))
    training, held = (ImageSamples(*part, learner.spec, framing, seed=options.seed) for part in parts)
    return training, held


def _prepare_boxes(learner: Learner, root: Path, options: Options) -> Prepared:
    training, held = _whole_images(learner, root, options, Framing())
    return Prepared(training, None, lambda network: validate_boxes(network, held))


def _prepare_whole(framing: Framing) -> Callable[[Learner, Path, Options], Prepared]:
    def prepare(learner: Learner, root: Path, options: Options) -> Prepared:
        assert isinstance(learner, RDFNLearner)
        if learner.frozen and options.start is None:
            raise NasionError(
                "this recipe freezes backbone and detector and needs trained ones: "
                "give --start RUN/best.pt of rdfn-detector"
            )
        training, held = _whole_images(learner, root, options, framing)

        def validate(network: nn.Module) -> dict[str, float]:
            assert isinstance(network, RDFNLearner)
            return validate_faces(network, HeadAlone(network.network), held)

        return Prepared(training, None, validate)

    return prepare


# Rotation as in the paper. The paper's scales of 0.5 and 2 do not apply to crops that the face fills.
_ON_CROPS = Augmentation(rotation=30.0, scale=(0.85, 1.1), shift=0.04, flip=0.5)


def _schedule(options: Options) -> Schedule:
    """Return the paper's schedule; its number of steps is ours. Brief runs have a faster one, to train from scratch.

    The paper divides the rate by 10 after every 50,000 of its steps; in a run of another length this happens after the
    same fractions.
    """
    if not options.is_brief:
        paper = Optimiser("sgd", learning_rate=1e-3, decay=5e-4, drops=((1 / 3, 0.1), (2 / 3, 0.1)))
        return Schedule(steps=150_000, batch=2, optimisers=(paper,), validate_every=5000)
    quick = Optimiser(learning_rate=2e-3, decay=0.01, warmup=100)
    return Schedule(steps=60_000, batch=16, optimisers=(quick,), ema=0.998, clip=5.0, validate_every=500)


def _recipe(
    name: str,
    summary: str,
    task: Task = "faces",
    *,
    frozen: bool = False,
    framing: Framing | None = None,
    **changes: Any,
) -> Recipe:
    prepare = {
        "detector": _prepare_boxes,
        "faces": _prepare_whole(framing or Framing()),
        "landmarks": prepare_faces(_ON_CROPS, validate_lips),
    }[task]
    return Recipe(
        name,
        summary,
        _build(name, task, changes, frozen=frozen),
        prepare,
        {"detector": "missed_precision", "faces": "nme_lost", "landmarks": "nme"}[task],
        _schedule,
        "rdfn",
        FORM | {"start", "backbone_weights"},
        version=2,
        after="rdfn-detector" if frozen else None,
    )


_COUNTS: dict[str, Any] = {"rpn_width": 256, "attn_factor": "dw_dw_pw", "up_input": "last"}
_TWO_UNITS: dict[str, Any] = {"rpn_width": 256, "wff_units": 2, "unit_input": "last", "up_input": "last"}
_PLAIN: dict[str, Any] = {"encoding": "stacked", "reweighting": False}

RECIPES: tuple[Recipe, ...] = (
    _recipe("rdfn-detector", "phase 1: backbone and boxes", "detector"),
    _recipe("rdfn-landmarks", "phase 2: landmarks, all else frozen; needs --start", frozen=True),
    _recipe("rdfn", "boxes and landmarks together, from scratch or from --start"),
    _recipe("rdfn-head", "the landmark head alone, on crops", "landmarks"),
    _recipe("rdfn-counts", "the reading with both published counts, without fusion", **_COUNTS),
    _recipe("rdfn-two-units", "two units in sequence, within the published parameters", **_TWO_UNITS),
    _recipe("rdfn-paper", "rdfn with the augmentation of the paper", framing=PAPER),
    _recipe("rdfn-deconv", "the deconvolution as published, which leaves gaps", up="deconv"),
    _recipe("rdfn-stacked", "stacked encoding instead of fusion", encoding="stacked"),
    _recipe("rdfn-dense", "dense encoding instead of fusion", encoding="dense"),
    _recipe(
        "rdfn-baseline",
        "top tap, stacked encoding, highest cell (figure 5)",
        taps="top",
        channel_attention=False,
        spatial_attention=False,
        **_PLAIN,
    ),
    _recipe("rdfn-gca", "nine taps and channel attention (figure 5)", spatial_attention=False, **_PLAIN),
    _recipe("rdfn-gsa", "and spatial attention (figure 5)", **_PLAIN),
    _recipe("rdfn-wff", "and fused encoding (figure 5); with location reweighting it is rdfn", reweighting=False),
)
