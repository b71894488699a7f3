"""Recipes of CHS: the paper's network and its ablations.

Paper: "Heatmap-Guided Selective Feature Attention for Robust Cascaded Face Alignment" (So and Han 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....engines.spec import Spec
from ... import checkpoint
from ...data.augment import CHS_CHANGES, Augmentation
from ...networks.chs.network import CHS, CHSConfig
from ...training.loop import Optimiser, Schedule
from ...training.recipes import FORM, Options, Recipe, prepare_faces
from .learner import CHSLearner, Weighting, validate_stages

AUGMENTATION = Augmentation(
    rotation=50.0,
    scale=(0.85, 1.15),
    shift=25 / 256,
    flip=0.5,
    occlusion_share=1.0,
    occlusion_area=(0.0, 0.25),  # a patch of up to half the crop's side
    changes=CHS_CHANGES,
)

# Threshold of the mean confidence. At an eighth of the width all held-out faces passed, and 1 % of squares without one.
THRESHOLD = 0.65

EPOCHS = 335  # the last drop is at 330; the paper does not give the number of epochs
DROPS = (120, 200, *range(240, 331, 5))
BATCH = 10
SGD = Optimiser("sgd", learning_rate=1e-2, decay=5e-4, momentum=0.9, drops=tuple((e / EPOCHS, 0.75) for e in DROPS))
# The paper's SGD is meant for 335 epochs. With BRIEF the error at an eighth of the width fell from 37 to 17 % in 600
# steps.
BRIEF = Optimiser("adam", learning_rate=1e-3, decay=0.0, warmup=100)


def _schedule(options: Options) -> Schedule:
    """Return the paper's epochs over the set, with a faster optimiser and averaged weights in brief runs."""
    batch = options.batch or BATCH
    steps = EPOCHS * options.training_faces // batch
    if options.is_brief:
        return Schedule(steps, batch, (BRIEF,), ema=0.99, validate_every=200)
    return Schedule(steps, batch, (SGD,))


def _learner(options: Options, name: str, weighting: Weighting, changes: dict[str, Any]) -> CHSLearner:
    if options.version == 1:
        changes = {"bottleneck": "scaled", "early_coordinates": False} | changes
    config = CHSConfig(
        landmarks=options.landmarks,
        size=options.size or 256,
        stacks=options.stacks or 4,
        width=1.0 if options.width is None else options.width,
        **changes,
    )
    spec = Spec(
        task="landmarks",
        name=name,
        size=(config.size, config.size),
        landmarks=config.landmarks,
        crop_margin=1.25,  # the paper crops by the boxes of the data sets; here boxes follow the landmarks
        threshold=THRESHOLD,
    )
    learner = CHSLearner(CHS(config), spec, weighting)
    if options.start is not None:
        begin_from(learner, options.start)
    return learner


def begin_from(learner: CHSLearner, path: Path) -> None:
    """Load the network's weights from a checkpoint of the same structure.

    Its additional stages are discarded. Stages that it lacks stay as built, so that a cascade grows from ``chs-sf``.

    Raises:
        TrainingError: the file cannot be read, or has another structure.
    """
    theirs, own = checkpoint.load(path)["average"], learner.state_dict()

    def stage(name: str) -> str | None:
        """Return the name of the stage that a weight belongs to; None if it belongs to none."""
        part, inner, *rest = name.split(".")
        return rest[0] if part == "network" and inner == "stages" else None

    have, want = {stage(name) for name in theirs}, {stage(name) for name in own}
    taken = {name: value for name, value in theirs.items() if name.startswith("network.") and stage(name) in want}
    new = {name: value for name, value in own.items() if not name.startswith("network.") or stage(name) not in have}
    checkpoint.fill(learner, taken | new)


def _recipe(name: str, summary: str, weighting: Weighting = "both", **changes: Any) -> Recipe:
    return Recipe(
        name,
        summary,
        lambda options: _learner(options, name, weighting, changes),
        prepare_faces(AUGMENTATION, validate_stages),
        "nme",
        _schedule,
        "chs",
        FORM | {"start", "stacks"},
        version=2,
    )


_GROWN = "from scratch, or grown from the chs-sf of --start"
_CUT = "; with --start and --steps 0 cut from a longer cascade (table 9)"

RECIPES: tuple[Recipe, ...] = (
    _recipe("chs", f"selective features and four stages of regression, {_GROWN}"),
    _recipe("chs-awing", "AWing's four hourglasses alone (tables 6, 9)", attention="none", stages=0),
    _recipe("chs-sf", "hourglasses with selective features (tables 6, 9)", stages=0),
    _recipe("chs-6ccr", "six stages of regression (table 6)", stages=6),
    _recipe("chs-2ccr", f"two stages (table 6){_CUT}", stages=2),
    _recipe("chs-1ccr", f"one stage{_CUT}", stages=1),
    _recipe("chs-0ccr", f"no stage{_CUT}", stages=0),
    _recipe("chs-fixed", "task weights fixed, not learned (table 6)", "fixed"),
    _recipe("chs-adaptive", "task weights learned, not fixed (table 6)", "adaptive"),
    _recipe("chs-plain", "regression without selective features (tables 6, 7)", attention="none"),
    _recipe("chs-plain-fixed", "the same, task weights fixed (table 6)", "fixed", attention="none"),
    _recipe("chs-plain-adaptive", "the same, task weights learned (table 6)", "adaptive", attention="none"),
    _recipe("chs-plain-unweighted", "the same, tasks weighted alike (table 6)", "none", attention="none"),
    _recipe("chs-cbam", "CBAM on the deepest level in the stages (table 7)", attention="cbam", guided=False),
    _recipe("chs-sk", "selective kernel on the deepest level in the stages (table 7)", attention="sk", guided=False),
    _recipe("chs-sdfl", "SDFL's attention on every level in the stages (table 7)", attention="sdfl", guided=False),
    _recipe("chs-unguided", "selective features without the maps (table 7)", guided=False),
    _recipe("chs-sdfl-guided", "SDFL's attention guided by the maps (table 7)", attention="sdfl"),
    _recipe("chs-task", "no gradient from task to task (table 8)", routing="task"),
    _recipe("chs-full", "gradient from every task to the one before (table 8)", routing="full"),
)
