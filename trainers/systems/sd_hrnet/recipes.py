"""Recipes of SD-HRNet: teacher, supernet, slimming, distillation, ablations.

Paper: "SD-HRNet: Slimming and Distilling High-Resolution Network for Efficient Face Alignment". The ablations are those
of table 6 and figure 6. docs/papers/sd-hrnet.md lists the choices made where the paper is unclear.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from ....engines.errors import NasionError
from ....engines.spec import Spec
from ...data.augment import Augmentation
from ...networks.backbones.hrnet import W18, HRNet, HRNetConfig, load_public_weights
from ...networks.sd_hrnet.network import (
    COFW_GRAPH,
    HRNET,
    SUPERNET,
    W300_GRAPH,
    WFLW_GRAPH,
    Graph,
    SDHRNetConfig,
    SHRNet,
)
from ...networks.sd_hrnet.slimming import Costs, from_plain, inherit, prune
from ...training.recipes import FORM, Options, Recipe, load_trained, prepare_faces
from ...training.schedule import Schedule
from ..heat_maps import MapsLearner, validate_maps
from .distilling import DistilLearner, SlimLearner, SupernetLearner, validate_students
from .schedules import CUT_PASSES, epoch, setting_of, slim_schedule, supernet_schedule, teacher_schedule

log = logging.getLogger(__name__)

SIZE = 256  # side of the paper's crop, pixels
AUGMENTATION = Augmentation(rotation=30.0, scale=(0.75, 1.25), flip=0.5)


def spec_of(name: str, options: Options, size: int | None = None) -> Spec:
    """Return a spec for square crops 1.25 times the box around the landmarks, with ImageNet's normalisation.

    ``size`` is the default side of the crop if the options give none.

    Raises:
        NasionError: the side is not a multiple of 32, which four branches need.
    """
    side = options.size or size or SIZE
    if side % 32:
        raise NasionError(f"size {side} is not a multiple of 32, which four branches need; try 128 or 256")
    return Spec(
        task="landmarks",
        name=name,
        size=(side, side),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        landmarks=options.landmarks,
        crop_margin=1.25,
        threshold=_threshold(side),
    )


def _threshold(side: int) -> float:
    """Return the threshold of the mean peak of the maps, between slim networks' peaks on faces and on background.

    At 128 px one in a hundred background squares is above 0.39, one in a hundred held-out faces below 0.52. At 256 px,
    where the targets are half as wide on the face, the figures are 0.21 and 0.37.
    """
    return 0.4 if side <= 128 else 0.3


def sigma_of(options: Options, spec: Spec) -> float:
    """Return the sigma of the targets in cells: as large on the face as the paper's, but at least 1 cell."""
    return max(setting_of(options).sigma * spec.size[0] / SIZE, 1.0)


def _scaled(options: Options, *channels: int) -> tuple[int, ...]:
    return tuple(max(2, round(each * (options.width or 1.0))) for each in channels)


# --- networks


def build_teacher(options: Options) -> MapsLearner:
    """Build HRNetV2-W18, from scratch or with public weights."""
    spec = spec_of("hrnet-w18", options)
    (stem,) = _scaled(options, W18.stem)
    network = HRNet(HRNetConfig(options.landmarks, _scaled(options, *W18.widths), stem=stem))
    network.reordered = True
    if options.backbone_weights:
        load_public_weights(network.trunk, options.backbone_weights)
    return MapsLearner(network, spec, sigma=sigma_of(options, spec))


def graph_config(options: Options, graph: Graph) -> SDHRNetConfig:
    """Return the configuration of ``graph`` with the paper's widths, scaled by the user's ``width``."""
    first, second, *branches = _scaled(options, 64, 64, 18, 36, 72, 144)
    a, b, c, d = branches
    return SDHRNetConfig(options.landmarks, options.size or SIZE, (first, second), (a, b, c, d), graph=graph)


def _supernet(graph: Graph, unit: Literal["light", "residual"] = "light") -> Callable[[Options], SupernetLearner]:
    """Return the ``build`` of a supernet, from scratch or from a checkpoint of a supernet."""

    def build(options: Options) -> SupernetLearner:
        network, spec = SHRNet(replace(graph_config(options, graph), unit=unit)), spec_of("hrsupernet", options)
        if options.structure or options.start:
            network, spec = _form(options, "a supernet", "hrsupernet")
        network.reordered = True
        return SupernetLearner(network, spec, sigma=sigma_of(options, spec), passes=_passes(options))

    return build


def _passes(options: Options) -> tuple[int, int]:
    """Return the steps of the factors and of the weights per pass.

    Each is one pass over the data (algorithm 1), or a few steps if ``minutes`` is given.
    """
    if options.is_brief or options.structure:  # a network loaded from its checkpoint is not trained
        return CUT_PASSES
    return epoch(options), epoch(options)


def start_network(options: Options, stage: str) -> tuple[SHRNet, Spec]:
    """Load the network of ``options.start`` and return it with its spec.

    Raises:
        NasionError: no checkpoint is given, or it holds another kind of network or another number of landmarks.
    """
    if options.start is None:
        raise NasionError(f"{stage} continues from an earlier stage; give --start RUN/best.pt")
    learner = load_trained(options.start).learner
    if not isinstance(learner, MapsLearner) or not isinstance(learner.network, SHRNet):
        raise NasionError(
            f"{options.start} holds a {type(learner).__name__}; {stage} starts from a supernet or slim network"
        )
    if learner.spec.landmarks != options.landmarks:
        raise NasionError(
            f"{options.start} finds {learner.spec.landmarks} landmarks, {options.set} has {options.landmarks}; "
            "choose another --set"
        )
    return learner.network, learner.spec


def _form(options: Options, stage: str, name: str = "s-hrnet") -> tuple[SHRNet, Spec]:
    """Return the network described by a checkpoint's structure, or else that of ``options.start``, and its spec."""
    if options.structure:
        network = SHRNet(from_plain(options.structure["config"]))
        return network, spec_of(name, options, options.structure["size"])
    network, spec = start_network(options, stage)
    return network, spec_of(name, options, spec.size[0])


def _slim(options: Options, stage: str) -> tuple[SHRNet, Spec]:
    """Return the network of ``_form``, pruned to the budget.

    Without a budget, an unpruned supernet is pruned at the paper's threshold.
    """
    network, spec = _form(options, stage)
    whole = network.config.graph in (SUPERNET, HRNET)
    if options.structure or (options.budget is None and not whole):
        return network, spec
    threshold = setting_of(options).threshold if options.budget is None else None
    slim = prune(network, threshold=threshold, budget=options.budget)
    for label, each in (("before pruning", network), ("after pruning", slim)):
        cost = Costs(each).of(each.config.graph)
        log.info("%s: %d operators, %.0f MMAC at 256 px without the head", label, len(each.transforms()), cost)
    if len(slim.transforms()) == len(network.transforms()):
        limit = f"a factor below {threshold:g}" if threshold is not None else f"to go for {options.budget:g} MMAC"
        log.warning("nothing was pruned: no operator has %s; train the supernet longer, or give a --budget", limit)
    return slim, spec


def build_slim(options: Options) -> SlimLearner:
    """Build the learner of a pruned supernet, to be trained further."""
    network, spec = _slim(options, "sd-hrnet-slim")
    return SlimLearner(network, spec, sigma=sigma_of(options, spec))


def _released(graph: Graph) -> Callable[[Options], SlimLearner]:
    """Return the ``build`` of a released graph, from scratch or with the weights of a supernet."""

    def build(options: Options) -> SlimLearner:
        network, spec = SHRNet(graph_config(options, graph)), spec_of("s-hrnet", options)
        if options.structure:
            network, spec = _form(options, "a released graph")
        elif options.start:
            supernet, spec = _form(options, "a released graph")
            network = inherit(supernet, graph)
        return SlimLearner(network, spec, sigma=sigma_of(options, spec))

    return build


def _distilled(*, teacher: bool = True, peer: bool = True, masks: bool = True) -> Callable[[Options], DistilLearner]:
    """Return the ``build`` of two students and a teacher, or of the subset in an ablation of table 6."""

    def build(options: Options) -> DistilLearner:
        network, spec = _slim(options, "distillation")
        setting = setting_of(options)
        learner = DistilLearner(
            network,
            spec,
            sigma=sigma_of(options, spec),
            peer=setting.peer if peer else 0.0,
            teacher=setting.teacher if teacher else 0.0,
            masks=masks,
        )
        if teacher and not options.structure:
            learner.teacher = _teacher(options, spec)
        return learner

    return build


def _teacher(options: Options, spec: Spec) -> HRNet:
    if options.teacher is None:
        raise NasionError("distillation learns from a trained network; give --teacher RUN/best.pt of sd-hrnet-teacher")
    learner = load_trained(options.teacher).learner
    if not isinstance(learner, MapsLearner) or not isinstance(learner.network, HRNet):
        raise NasionError(f"{options.teacher} holds a {type(learner).__name__}; give one of sd-hrnet-teacher")
    if learner.spec.size != spec.size or learner.spec.landmarks != spec.landmarks:
        ours, theirs = (f"{each.landmarks} landmarks at {each.size[0]} px" for each in (spec, learner.spec))
        raise NasionError(
            f"{options.teacher} finds {theirs}, the students {ours}; give a teacher with the students' --set and --size"
        )
    return learner.network


# --- recipes

_PREPARE = prepare_faces(AUGMENTATION, validate_maps)
_PREPARE_STUDENTS = prepare_faces(AUGMENTATION, validate_students)
_PRUNED = frozenset({"set", "size", "start", "budget"})  # the width is taken from --start


def _recipe(
    name: str,
    summary: str,
    build: Callable[[Options], MapsLearner],
    schedule: Callable[[Options], Schedule],
    takes: frozenset[str] = FORM | {"start"},
) -> Recipe:
    after = "sd-hrnet-supernet" if "budget" in takes else None
    return Recipe(name, summary, build, _PREPARE, "nme", schedule, "sd-hrnet", takes, after=after)


def _distil(
    name: str, summary: str, build: Callable[[Options], DistilLearner], takes: frozenset[str] = _PRUNED | {"teacher"}
) -> Recipe:
    return Recipe(
        name,
        summary,
        build,
        _PREPARE_STUDENTS,
        "nme",
        slim_schedule,
        "sd-hrnet",
        takes,
        after="sd-hrnet-slim",
        taught_by="sd-hrnet-teacher" if "teacher" in takes else None,
    )


RECIPES = (
    _recipe(
        "sd-hrnet-teacher",
        "HRNetV2-W18, the teacher",
        build_teacher,
        teacher_schedule,
        FORM | {"backbone_weights"},
    ),
    _recipe("sd-hrnet-supernet", "supernet with importance factors", _supernet(SUPERNET), supernet_schedule),
    _recipe("sd-hrnet-slim", "the supernet of --start, pruned to --budget MMAC", build_slim, slim_schedule, _PRUNED),
    _recipe("sd-hrnet-300w", "the graph released for 300W", _released(W300_GRAPH), slim_schedule),
    _recipe("sd-hrnet-cofw", "the graph released for COFW", _released(COFW_GRAPH), slim_schedule),
    _recipe("sd-hrnet-wflw", "the graph released for WFLW", _released(WFLW_GRAPH), slim_schedule),
    _distil("sd-hrnet-distil", "two students of --start and the teacher of --teacher", _distilled()),
    _distil(
        "sd-hrnet-table6-none",
        "table 6: no distillation",
        _distilled(teacher=False, peer=False, masks=False),
        _PRUNED,
    ),
    _distil(
        "sd-hrnet-masks-only",
        "erased crops without distillation, a control of sd-hrnet-distil (ours)",
        _distilled(teacher=False, peer=False),
        _PRUNED,
    ),
    _distil("sd-hrnet-table6-teacher", "table 6: teacher only", _distilled(peer=False, masks=False)),
    _distil("sd-hrnet-table6-peer", "table 6: teacher and peer, no masks", _distilled(masks=False)),
    _recipe(
        "sd-hrnet-fig6-hrnet", "figure 6: HRNet's layout as supernet, light blocks", _supernet(HRNET), supernet_schedule
    ),
    _recipe(
        "sd-hrnet-fig6-hrnet-residual",
        "figure 6: HRNet's layout as supernet, residual units",
        _supernet(HRNET, "residual"),
        supernet_schedule,
    ),
    _recipe(
        "sd-hrnet-fig6-residual",
        "figure 6: the supernet with residual units",
        _supernet(SUPERNET, "residual"),
        supernet_schedule,
    ),
)
