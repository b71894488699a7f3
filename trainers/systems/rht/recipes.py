"""Recipes of RHT: the paper's network and its ablations.

Paper: "Precise Facial Landmark Detection by Reference Heatmap Transformer" (Wan et al. 2023). docs/papers/rht.md lists
the choices made where the paper is unclear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ....engines.errors import NasionError
from ....engines.spec import Spec
from ... import checkpoint
from ...data import LandmarkSet, read_set
from ...data.augment import Augmentation
from ...data.samples import FaceSamples
from ...evaluation.references import PairedSamples, ReferenceStudy, neutral_face
from ...learner import Learner
from ...networks.rht.network import RHTConfig
from ...networks.rht.transformer import Backbone
from ...targets import BOUNDARIES
from ...training.recipes import FORM, Options, Prepared, Recipe, parted, training_part
from ...training.schedule import Optimiser, Schedule
from .learner import SIZE, RHTLearner, load_weights, validate_rht

AUGMENTATION = Augmentation(
    rotation=45.0,
    scale=(0.8, 1.2),
    shift=0.1,
    flip=0.5,
    occlusion_share=0.4,
    occlusion_area=(0.02, 0.25),  # not stated
    grey=0.2,
    blur=0.3,
)

# Threshold of the mean confidence. At half the width all held-out faces passed, and no square without a face.
THRESHOLD = 0.33

EPOCHS, BATCH = 150, 8
PAPER = Optimiser("adam", learning_rate=1e-4, decay=0.0, floor=0.1)
# In minutes of training from scratch, the paper's rate for pretrained backbones and 150 epochs hardly improves on empty
# maps. The encoder needs a long warmup: at twice this rate after 50 steps it learned nothing in 500.
BRIEF = Optimiser("adam", learning_rate=2e-3, decay=0.0, warmup=300)


def _schedule(options: Options) -> Schedule:
    """Return the paper's epochs over the set, with a faster optimiser in brief runs."""
    batch = options.batch or BATCH
    schedule = Schedule(EPOCHS * options.training_faces // batch, batch, (PAPER,))
    return replace(schedule, optimisers=(BRIEF,), validate_every=400) if options.is_brief else schedule


def _prepare(*, references: str | None = None, study: bool = False) -> Callable[[Learner, Path, Options], Prepared]:
    """Return the ``prepare`` of a recipe: samples paired with references from the training faces.

    Validation uses references from the set ``references`` if given; ``study`` adds the figures of ``ReferenceStudy``.
    """

    def prepare(learner: Learner, root: Path, options: Options) -> Prepared:
        assert isinstance(learner, RHTLearner)
        data, spec = training_part(root, options), learner.spec
        _check_points(data, spec)
        training, held = parted(data, options)
        faces = FaceSamples(training, spec, AUGMENTATION, seed=options.seed)
        if not learner.compares:
            return Prepared(faces, None, lambda network: validate_rht(network, held, spec))
        others = training if references is None else read_set(references, root, part="test")
        _check_points(others, spec)
        pool, neutral = FaceSamples(others, spec, Augmentation()), neutral_face(others)
        learner.set_reference(pool.crop(neutral))
        table = ReferenceStudy(FaceSamples(held, spec, Augmentation()), pool, neutral) if study else None

        def validate(network: nn.Module) -> dict[str, float]:
            assert isinstance(network, RHTLearner)
            return validate_rht(network, held, spec) | (table.figures(network.find) if table else {})

        return Prepared(PairedSamples(faces), None, validate)

    return prepare


def _check_points(data: LandmarkSet, spec: Spec) -> None:
    if data.points.shape[1] != spec.landmarks:
        raise NasionError(
            f"{data.name} has {data.points.shape[1]} landmarks per face, the network {spec.landmarks}; "
            "choose another --set or another recipe"
        )


def _build(options: Options, name: str, *, boundaries: bool, guided: bool, **parts: Any) -> RHTLearner:
    size = options.size or SIZE
    if size % 64:
        raise NasionError(f"size {size} is not a multiple of 64, which RHT's downsampling needs; try 128 or 256")
    config = RHTConfig(
        landmarks=options.landmarks,
        boundaries=len(BOUNDARIES[options.landmarks]) if boundaries else 0,
        size=size,
        width=1.0 if options.width is None else options.width,
        **parts,
    )
    spec = Spec(
        task="landmarks",
        name=name,
        size=(size, size),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        landmarks=config.landmarks,
        crop_margin=1.25,  # not stated; as HRNet
        threshold=THRESHOLD,
    )
    learner = RHTLearner(config, spec, guided=guided)
    if options.backbone_weights is not None:
        load_weights(learner, options.backbone_weights)
    if options.start is not None:
        begin_from(learner, options.start)
    return learner


def begin_from(learner: RHTLearner, path: Path) -> None:
    """Load the parts of a checkpoint that the network has; those that the checkpoint lacks stay as built.

    So all variants can start from one trained ``rht-trans-r``.

    Raises:
        TrainingError: the file cannot be read, has no part of the network, or one of another structure.
    """
    theirs, own = checkpoint.load(path)["average"], checkpoint.kept(learner)

    def part(name: str) -> str:
        return ".".join(name.split(".")[:3])  # such as network.decoder.joins

    have, want = {part(name) for name in theirs}, {part(name) for name in own}
    if "network.backbone.body" not in have:
        raise checkpoint.TrainingError(f"{path} is not a checkpoint of an RHT recipe; give RUN/best.pt of one")
    taken = {name: value for name, value in theirs.items() if part(name) in want}
    new = {name: value for name, value in own.items() if part(name) not in have}
    checkpoint.fill(learner, taken | new)


def _recipe(
    name: str,
    summary: str,
    backbone: Backbone = "resnet50",
    *,
    boundaries: bool = True,
    guided: bool = False,
    references: str | None = None,
    study: bool = False,
    **parts: Any,
) -> Recipe:
    return Recipe(
        name,
        summary,
        lambda options: _build(options, name, boundaries=boundaries, guided=guided, backbone=backbone, **parts),
        _prepare(references=references, study=study),
        "nme",
        _schedule,
        "rht",
        FORM | {"start", "backbone_weights"},
        version=2,
    )


_ALONE: dict[str, Any] = {"stm": False, "htm": False, "fusion": False}
_PLAIN: dict[str, Any] = {**_ALONE, "layers": 0}
_STUDY = "with --start RUN/best.pt and --steps 0 validates a trained one"

RECIPES: tuple[Recipe, ...] = (
    _recipe("rht-r", "ResNet-50 and encoder, soft and hard transformation, fusion"),
    _recipe("rht-r-guided", "the same, matches trained by the landmarks of both faces (ours)", guided=True),
    _recipe("rht-h", "rht-r over HRNet-W48", "hrnet-w48"),
    _recipe("rht-w32", "the same over HRNet-W32 (table V)", "hrnet-w32"),
    _recipe("rht-hg", "the same over an hourglass (table V)", "hourglass"),
    _recipe("rht-4hg", "the same over four hourglasses (table V)", "hourglass-4"),
    _recipe("rht-resnet50", "ResNet-50 alone (tables V, VI, VIII)", **_PLAIN),
    _recipe("rht-w48-baseline", "HRNet-W48 alone (tables V, VI)", "hrnet-w48", **_PLAIN),
    _recipe("rht-w32-baseline", "HRNet-W32 alone (table V)", "hrnet-w32", **_PLAIN),
    _recipe("rht-hg-baseline", "an hourglass alone (table V)", "hourglass", **_PLAIN),
    _recipe("rht-4hg-baseline", "four hourglasses alone (table V)", "hourglass-4", **_PLAIN),
    _recipe("rht-r-cofw68", f"references from COFW-68 (table VI); {_STUDY}", references="cofw68", study=True),
    _recipe("rht-h-cofw68", f"the same, HRNet-W48; {_STUDY}", "hrnet-w48", references="cofw68", study=True),
    _recipe("rht-r-references", f"validated with references of all kinds (table VII); {_STUDY}", study=True),
    _recipe("rht-h-references", f"the same, HRNet-W48; {_STUDY}", "hrnet-w48", study=True),
    _recipe("rht-trans-r", "ResNet-50 and encoder alone (table VIII)", **_ALONE),
    _recipe("rht-stm", "and soft transformation, added at one scale (table VIII)", htm=False, fusion=False),
    _recipe("rht-stm-msffm", "soft transformation and fusion (table VIII)", htm=False),
    _recipe("rht-htm-msffm", "hard transformation and fusion (table VIII)", stm=False),
    _recipe("rht-r-no-boundary", "without boundary maps (table IX)", boundaries=False),
    _recipe("rht-h-no-boundary", "the same, HRNet-W48 (table IX)", "hrnet-w48", boundaries=False),
)


def reference_figures(learner: Learner | None, faces: LandmarkSet, pool: LandmarkSet) -> dict[str, float]:
    """Return the NME of a trained RHT on ``faces`` for each way to choose references from ``pool`` (tables VI, VII).

    See ``ReferenceStudy.figures``.

    Raises:
        NasionError: a set has another number of landmarks than the network.
    """
    assert isinstance(learner, RHTLearner)
    for data in (faces, pool):
        _check_points(data, learner.spec)
    held, others = (FaceSamples(data, learner.spec, Augmentation()) for data in (faces, pool))
    with torch.no_grad():
        return ReferenceStudy(held, others, neutral_face(pool)).figures(learner.find)
