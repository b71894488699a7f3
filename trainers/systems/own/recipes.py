"""Recipes for data of users: landmarks of any scheme, and boxes of any faces, from the shipped weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ....engines.errors import ModelError, NasionError
from ....engines.output_paths import write_file
from ....engines.spec import Spec
from ....engines.zoo import model_path, models
from ....realtime.sources.image_files.sources import images_in
from ....realtime.values.scheme import LandmarkScheme
from ....realtime.values.scheme_files import read_scheme, scheme_of_values, values_of_scheme
from ....realtime.values.schemes import PUBLISHED, SCHEMES
from ... import checkpoint
from ...data import FOREHEAD, DataError, LandmarkSet, SampleStream, TrainingData, batch_of_pixels, readable, sheet
from ...data.own import VALIDATION_SHARE, own_boxes, own_faces
from ...data.tolerance import Tolerant
from ...evaluation.own import measure_own, write_report
from ...evaluation.tracking import ModuleRuntime
from ...learner import Learner
from ...networks.encoder_decoder import ACCURATE, EncoderDecoder, EncoderDecoderConfig
from ...networks.face_detector import FaceDetector
from ...training.loop import Optimiser, Schedule
from ...training.recipes import NO_START, Options, Prepared, Recipe, checkpoint_named, load_trained
from ..shipped.alignment_samples import collate_crops
from ..shipped.detection import DetectorLearner, validate_detector
from ..shipped.detection_samples import DetectionSamples, collate
from ..shipped.recipes import DETECTOR_SHIFTS, DETECTOR_SPEC
from .learner import OwnLandmarks, locate_with, validate_own
from .margin import estimated_margin
from .samples import OwnSamples
from .weights import config_from, config_of, config_values, fill_network, read_weights, restore_statistics

T = TypeVar("T")

_SHORT = {"accurate": "landmarks-68-accurate"}
_SIZES = {"landmarks-68": EncoderDecoderConfig(), "accurate": ACCURATE}
"""Networks that begin with random weights, by the names of the shipped ones of their size."""
_LOOKED_AT = 256  # faces that tell which landmarks of two schemes correspond
_CALIBRATION = 128  # crops on which the statistics of folded normalisations are measured

_TAKES = frozenset({"start", "network", "scheme", "val", "val_share", "group", "margin", "negatives"})


@lru_cache(maxsize=2)
def _parts(
    _folder: Path,
    root: Path,
    val: Path | None,
    scheme: Path | None,
    of_start: LandmarkScheme | None,
    share: float,
    group: str,
    skip: int,
) -> tuple[LandmarkSet, LandmarkSet]:
    """Read the faces once, for the survey and the training; relative paths begin at the working folder ``_folder``."""
    chosen = read_scheme(scheme) if scheme else of_start
    return own_faces(root, val, scheme=chosen, share=share, group=group, skip=skip)


def faces_of(root: Path, options: Options, of_start: LandmarkScheme | None = None) -> tuple[LandmarkSet, LandmarkSet]:
    """Return the labelled faces for training and for validation, as the options name them.

    Args:
        root: folder or file of labels.
        options: options of the recipe.
        of_start: scheme of the network that training starts from, used if the options name none.

    Raises:
        NasionError: see ``own_faces``.
    """
    share = VALIDATION_SHARE if options.val_share is None else options.val_share
    group = options.group or "image"
    return _parts(Path.cwd(), root, options.val, options.scheme, of_start, share, group, options.skip_bad)


def _survey(root: Path, options: Options) -> Options:
    """Return the options with the structure of the network: its scheme and the size of its crops follow the data."""
    start = _start_of(options)
    if start and options.network is not None:
        raise NasionError("--network is for random weights, with --start none; the network of --start has its own size")
    training, _ = faces_of(root, options, start.scheme if start and start.is_own else None)
    scheme = training.scheme
    config = start.config(scheme.count) if start else replace(_size_named(options.network), landmarks=scheme.count)
    if start and start.scheme is not None and values_of_scheme(start.scheme) == values_of_scheme(scheme):
        margin = options.margin or start.margin
    else:
        config = replace(config, visibility=False)
        margin = options.margin or estimated_margin(training, skip=options.skip_bad)
    structure = {
        "config": config_values(config),
        "scheme": values_of_scheme(scheme),
        "margin": margin,
        "name": scheme.name,
    }
    return replace(options, structure=structure)


class _Start:
    """Network that training starts from: a shipped one by name, an ``.onnx`` file, or a checkpoint of this recipe.

    Attributes:
        scheme: scheme of a network of a user; None for a shipped one.
        margin: side of its crops over the extent of its landmarks.
        is_folded: True if its normalisations are folded.
    """

    def __init__(self, name: Path) -> None:
        shipped = _SHORT.get(str(name), str(name))
        path = model_path(shipped) if shipped in models() else checkpoint_named(str(name))
        self.scheme: LandmarkScheme | None = None
        if not path.is_file():
            known = ", ".join(["landmarks-68", *_SHORT, NO_START])
            raise NasionError(f"--start {str(name)!r} is neither a file nor a folder of a run; allowed too: {known}")
        if path.suffix == ".onnx":
            self.weights, self.spec = read_weights(path)
            self.is_folded = True
            if self.spec.scheme_values:
                self.scheme = scheme_of_values(json.loads(self.spec.scheme_values), origin=str(path))
        else:
            trained = load_trained(path)
            network = getattr(trained.learner, "network", None)
            if not isinstance(network, EncoderDecoder):
                raise ModelError(
                    f"--start {path}: a network of recipe {trained.recipe.name} cannot be fine-tuned here; give "
                    "landmarks-68, accurate, or a run of nasion train landmarks"
                )
            self.weights, self.spec, self.is_folded = network.state_dict(), trained.spec, False
            if isinstance(trained.learner, OwnLandmarks):
                self.scheme = trained.learner.scheme
        if self.scheme is None and self.spec.scheme in SCHEMES:
            self.scheme = SCHEMES[self.spec.scheme]
        self.margin = self.spec.crop_margin

    @property
    def is_own(self) -> bool:
        """True if the network has a scheme of a user."""
        return bool(self.spec.scheme_values)

    def fill(self, network: EncoderDecoder) -> None:
        """Load the weights into a network; heads of another number of landmarks keep theirs."""
        fill_network(network, self.weights, self.spec if self.is_folded else replace(self.spec, std=(255.0,) * 3))

    def config(self, landmarks: int) -> EncoderDecoderConfig:
        """Return the size of the network for a number of landmarks."""
        return config_of(self.weights, self.spec, landmarks=landmarks)


def _start_of(options: Options) -> _Start | None:
    return None if options.start is None or str(options.start) == NO_START else _Start(options.start)


def _size_named(name: str | None) -> EncoderDecoderConfig:
    """Return the size of a network with random weights.

    Raises:
        NasionError: no shipped network has that name.
    """
    if name is not None and name not in _SIZES:
        raise NasionError(f"--network {name!r} is unknown; allowed: {', '.join(_SIZES)}")
    return _SIZES[name or "landmarks-68"]


def own_spec(structure: Mapping[str, Any], scheme: LandmarkScheme) -> Spec:
    """Return the spec of a network with this structure."""
    config = config_from(structure["config"])
    published = scheme.name in PUBLISHED and values_of_scheme(SCHEMES[scheme.name]) == values_of_scheme(scheme)
    return Spec(
        task="landmarks",
        name=str(structure["name"]),
        size=(config.size, config.size),
        landmarks=scheme.count,
        scheme=scheme.name,
        crop_margin=float(structure["margin"]),
        threshold=0.5,
        visibility=config.visibility,
        scheme_values="" if published else json.dumps(values_of_scheme(scheme)),
    )


def _build(options: Options) -> Learner:
    if options.structure is None:
        raise NasionError("recipe landmarks follows the data: give --data, or a checkpoint of it")
    structure = options.structure
    scheme = scheme_of_values(structure["scheme"], origin="the checkpoint")
    config = config_from(structure["config"])
    network, start = EncoderDecoder(config), _start_of(options)
    learner = OwnLandmarks(network, own_spec(structure, scheme), scheme)
    if start:
        start.fill(network)
        learner.is_folded = start.is_folded
        learner.keeps_statistics = True
        if start.scheme is None or values_of_scheme(start.scheme) != values_of_scheme(scheme):
            learner.before = EncoderDecoder(start.config(start.spec.landmarks))
            start.fill(learner.before)
    return learner


def _begin_heads(learner: OwnLandmarks, before: EncoderDecoder, samples: OwnSamples) -> None:
    """Begin the heads of each landmark with those of the landmark of another scheme that lies nearest to it.

    ``before`` finds its landmarks in the plain crops; the nearest one has the smallest median distance to the label.
    """
    points, truth = locate_with(before, samples)
    distance = np.nanmedian(np.linalg.norm(points[:, None] - truth[:, :, None], axis=3), axis=0)  # (new, old)
    nearest = torch.from_numpy(np.nan_to_num(distance, nan=np.inf).argmin(axis=1))
    network = learner.network
    pairs = ((network.maps, before.maps), (network.reading.scale, before.reading.scale))
    with torch.no_grad():
        for head, old in pairs:
            assert head.bias is not None
            assert old.bias is not None
            head.weight.copy_(old.weight[nearest])
            head.bias.copy_(old.bias[nearest])
        network.reading.slope.copy_(before.reading.slope[nearest])


def _prepare(learner: Learner, root: Path, options: Options) -> Prepared:
    assert isinstance(learner, OwnLandmarks)
    training, held = faces_of(root, options, learner.scheme)
    held = held.pick(readable(held.files, skip=options.skip_bad))
    samples = OwnSamples(training, learner.spec, _negatives(options.negatives), seed=options.seed)
    validation = OwnSamples(held, learner.spec)
    if learner.before is not None:
        _begin_heads(learner, learner.before, OwnSamples(_some(training, options.skip_bad), learner.spec))
        learner.before = None
    if learner.is_folded:
        crops = _first(samples, min(_CALIBRATION, 2 * len(training)), options.skip_bad)
        restore_statistics(learner.network, batch_of_pixels([crop["image"] for crop in crops]))
        learner.is_folded = False
    return Prepared(samples, collate_crops, lambda network: validate_own(network, validation))


def _some(faces: LandmarkSet, skip: int) -> LandmarkSet:
    """Return some faces from all over a set, whose images can be read.

    Raises:
        DataError: more than ``skip`` of their images cannot be read.
    """
    chosen = faces.pick(sheet.spread(len(faces), _LOOKED_AT))
    return chosen.pick(readable(chosen.files, skip=skip))


def _first(samples: SampleStream[T], count: int, skip: int) -> list[T]:
    """Return the first samples; others take the place of those that cannot be read, if any may be left out.

    Raises:
        DataError: a sample cannot be read.
    """
    drawn = [Tolerant(samples, replace=skip > 0)[i] for i in range(count)]
    if fault := next((each.errors[0] for each in drawn if each.batch is None), None):
        raise DataError(fault)
    return [each.batch for each in drawn]


def _negatives(folder: Path | None) -> tuple[Path, ...]:
    """Return the images without faces in a folder."""
    if folder is None:
        return ()
    try:
        found = tuple(path for each in (folder, *folder.rglob("*")) if each.is_dir() for path in images_in(each))
    except OSError as error:
        raise NasionError(f"--negatives {str(folder)!r}: cannot be listed ({error.strerror})") from error
    if not found:
        raise NasionError(f"--negatives {str(folder)!r}: holds no image; give a folder of images without faces")
    return found


def _report(folder: Path, root: Path, options: Options) -> list[Path]:
    """Write the errors of the best checkpoint of a run on the held-out faces, and its model card."""
    trained = load_trained(folder / "best.pt")
    assert isinstance(trained.learner, OwnLandmarks)
    training, held = faces_of(root, options, trained.learner.scheme)
    held = held.pick(readable(held.files, skip=options.skip_bad))
    with ModuleRuntime(trained.network, trained.spec) as runtime:
        measured = measure_own(runtime, held)
    card = {
        "name": trained.spec.name,
        "about": f"landmarks of the scheme {trained.spec.name}, {_origin(options)}",
        "task": "landmarks",
        "size": trained.spec.size,
        "scheme": trained.learner.structure()["scheme"],
        "data": {
            "training": str(root),
            "faces": len(training),
            "validation": str(options.val or root),
            "held_out": len(held),
            "group": options.group or "image",
        },
        "recipe": {"options": options.described(), "steps": trained.step, "validation": trained.figures},
        "measured": measured.figures(),
    }
    write_file(folder / "card.json", json.dumps(card, indent=1) + "\n")
    return [*write_report(measured, folder), folder / "card.json"]


def _origin(options: Options) -> str:
    return "trained from random weights" if str(options.start) == NO_START else f"fine-tuned from {options.start}"


def _schedule(steps: int, batch: int, rate: float, every: int) -> Schedule:
    optimiser = Optimiser("adamw", learning_rate=rate, decay=0.01, warmup=50)
    return Schedule(steps, batch, (optimiser,), ema=0.995, clip=5.0, validate_every=every)


def _landmark_schedule(options: Options) -> Schedule:
    """Return the schedule: pretrained weights take smaller steps than random ones."""
    return _schedule(3000, 32, 1e-3 if str(options.start) == NO_START else 3e-4, 250)


def _build_detector(options: Options) -> Learner:
    learner = DetectorLearner(FaceDetector(), DETECTOR_SPEC, DETECTOR_SHIFTS)
    if options.start is None or str(options.start) == NO_START:
        return learner
    path = model_path(str(options.start)) if str(options.start) in models() else checkpoint_named(str(options.start))
    if path.suffix == ".onnx":
        fill_network(learner.network, *read_weights(path))
        learner.is_folded = True
    else:
        checkpoint.fill(learner, load_trained(path).learner.state_dict())
    return learner


def _prepare_detector(learner: Learner, root: Path, options: Options) -> Prepared:
    assert isinstance(learner, DetectorLearner)
    share = VALIDATION_SHARE if options.val_share is None else options.val_share
    training, held = own_boxes(root, options.val, forehead=FOREHEAD, share=share, skip=options.skip_bad)
    held = held.pick(readable(held.files, skip=options.skip_bad))
    negatives = _negatives(options.negatives)
    apart = len(negatives) // 12
    samples = DetectionSamples(TrainingData((), training, negatives[apart:]), seed=options.seed)
    if learner.is_folded:
        scenes = _first(samples, 32, options.skip_bad)
        restore_statistics(learner.network, batch_of_pixels([scene[0] for scene in scenes]))
        learner.is_folded = False
    apart_readable = tuple(negatives[i] for i in readable(negatives[:apart], skip=options.skip_bad))
    validation = TrainingData((), held, apart_readable)
    return Prepared(samples, collate, lambda network: validate_detector(network, learner.spec, validation))


LANDMARKS = Recipe(
    "landmarks",
    "your own faces with any landmarks, from the weights of a shipped network",
    _build,
    _prepare,
    "nme",
    _landmark_schedule,
    takes=_TAKES,
    survey=_survey,
    report=_report,
    starts_from="landmarks-68",
)
DETECTOR = Recipe(
    "detector",
    "your own boxes of faces, from the weights of the shipped detector",
    _build_detector,
    _prepare_detector,
    "missed_precision",
    _schedule(3000, 16, 5e-4, 500),
    takes=frozenset({"start", "val", "val_share", "negatives"}),
    starts_from="face-detector",
)
RECIPES = (LANDMARKS, DETECTOR)
