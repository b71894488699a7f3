"""Recipes of ``nasion train`` by name: network, data, losses, schedule, validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from ...engines.errors import ModelError, NasionError, foreign
from ...engines.spec import Spec
from .. import checkpoint
from ..data import SETS, LandmarkSet, check_validation, read_set, readable, sound_faces, split_validation
from ..data.augment import Augmentation
from ..data.samples import FaceSamples, validate_points
from ..learner import Learner
from .loop import Schedule, Validate


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a recipe; None means the recipe's default.

    Attributes:
        set: data set to train on, as named by ``read_set``.
        size: side of the crop in pixels.
        width: number of channels relative to the paper's.
        stacks: number of hourglasses.
        seed: seed of the samples; torch's generator, which draws the initial weights, is seeded with the same number.
        start: checkpoint of an earlier stage.
        teacher: checkpoint of the teacher network for distillation.
        backbone_weights: public weights of the backbone.
        budget: upper limit of the pruned network in million MACs.
        minutes: limit on training time; with a limit a recipe may use another schedule than the paper's.
        brief: use that schedule without a limit on time, too.
        batch: samples per step.
        faces: number of training faces of ``set``, for sets without a published number.
        structure: structure of the network as stored in a checkpoint (``Learner.structure``); never set by a user.
        scheme: file of the landmark scheme, for data of users.
        val: data for validation; None to hold out a part.
        val_share: share of the data that is held out.
        group: what keeps faces together when a part is held out.
        network: shipped network whose size one with random weights has.
        margin: side of the crop over the extent of the landmarks; None to estimate it.
        negatives: folder of images without faces.
        skip_bad: number of faces or boxes with labels that cannot be right that may be left out.
        version: version of the recipe that made a checkpoint; None for the current one; never set by a user.
    """

    set: str = "300w"
    size: int | None = None
    width: float | None = None
    stacks: int | None = None
    seed: int = 0
    start: Path | None = None
    teacher: Path | None = None
    backbone_weights: Path | None = None
    budget: float | None = None
    minutes: float | None = None
    brief: bool = False
    batch: int | None = None
    faces: int | None = None
    scheme: Path | None = None
    val: Path | None = None
    val_share: float | None = None
    group: str | None = None
    network: str | None = None
    margin: float | None = None
    negatives: Path | None = None
    skip_bad: int = 0
    structure: Mapping[str, Any] | None = None
    version: int | None = None

    def __post_init__(self) -> None:
        """Check that every number is above 0.

        Raises:
            NasionError: a number is 0 or less.
        """
        for name in ("size", "width", "stacks", "budget", "minutes", "batch", "faces", "val_share", "margin"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise NasionError(f"{name} is {value}; give a number above 0, or leave it out for the recipe's own")
        if self.val_share is not None and self.val_share >= 1:
            raise NasionError(f"val_share is {self.val_share}; give a number below 1, such as 0.1")

    @property
    def is_brief(self) -> bool:
        """True for the schedule of brief runs."""
        return self.brief or self.minutes is not None

    @property
    def landmarks(self) -> int:
        """Number of landmarks per face of ``set``.

        Raises:
            NasionError: there is no such set.
        """
        if self.set not in SETS:
            raise NasionError(f"set {self.set!r} is unknown; allowed: {', '.join(SETS)}")
        return SETS[self.set].landmarks

    @property
    def training_faces(self) -> int:
        """Number of faces in the training part of ``set``, as published, or else ``faces``.

        Schedules given in epochs are converted to steps with it.

        Raises:
            NasionError: no number is published, and none is given.
        """
        published = SETS[self.set].trained_on if self.set in SETS else None
        count = published or self.faces
        if count is None:
            raise NasionError(
                f"set {self.set!r} has no published number of training faces; count them and give the number as faces"
            )
        return count

    def described(self) -> dict[str, Any]:
        """Return the options as plain data for a checkpoint.

        ``structure`` is left out, because the learner stores it; ``version``, because the recipe does; ``batch``,
        ``faces`` and ``brief``, because the schedule does. ``stacks`` is left out if it is the recipe's.
        """
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        left_out = {"structure", "version", "batch", "faces", "brief", "skip_bad"}
        left_out |= {name for name in ("stacks", *OF_USERS) if not getattr(self, name)}
        return {name: value for name, value in values.items() if name not in left_out}

    @classmethod
    def of_checkpoint(cls, description: Mapping[str, Any]) -> Options:
        """Return the options that build the network of a checkpoint; its weights need no other file."""
        known = {field.name for field in fields(cls)}
        apart = ("val", "negatives")  # files of the training only
        given = {name: value for name, value in description.get("options", {}).items() if name in known}
        given = {name: value for name, value in given.items() if name not in apart}
        structure, version = description.get("structure") or None, description.get("version", 1)
        loaded = replace(cls(**given), start=None, teacher=None, backbone_weights=None)
        return replace(loaded, structure=structure, version=version)


FORM = frozenset({"set", "size", "width"})  # options of every network from the papers
OF_USERS = ("scheme", "val", "val_share", "group", "network", "margin", "negatives")
"""Options of the recipes for data of users."""
CHOICES = ("set", "size", "width", "stacks", "start", "teacher", "backbone_weights", "budget", *OF_USERS)
"""Options of which each recipe takes some."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Data of a recipe, ready for the training loop."""

    samples: Dataset[Any]
    collate: Callable[[list[Any]], Any] | None
    validate: Validate


@dataclass(frozen=True, slots=True)
class Recipe:
    """Recipe for training one network.

    Attributes:
        name: name in ``nasion train``.
        summary: description in one line.
        build: builds the untrained learner from the options.
        prepare: reads samples and validation from learner, data folder and options.
        criterion: validation figure whose minimum marks the best checkpoint.
        schedule: default schedule, or a function that builds it from the options.
        paper: short name of the paper (a row of ``published``), None if there is none.
        takes: those of ``CHOICES`` that the recipe uses.
        version: number that rises when losses, network or brief schedule change, so that results stay comparable.
        after: recipe that makes the checkpoint for ``start``, for recipes that need one.
        taught_by: recipe that makes the checkpoint for ``teacher``, for recipes that need one.
        survey: returns the options with the structure of the network, for recipes whose network follows the data.
        report: writes tables and images of the best checkpoint's errors on held-out data into the folder of a run.
        starts_from: network whose weights training starts from unless ``start`` names another one.
        caveat: reason why the recipe, which is kept as published, is not expected to learn.
    """

    name: str
    summary: str
    build: Callable[[Options], Learner]
    prepare: Callable[[Learner, Path, Options], Prepared]
    criterion: str
    schedule: Schedule | Callable[[Options], Schedule]
    paper: str | None = None
    takes: frozenset[str] = FORM
    version: int = 1
    after: str | None = None
    taught_by: str | None = None
    survey: Callable[[Path, Options], Options] | None = None
    report: Callable[[Path, Path, Options], list[Path]] | None = None
    starts_from: str | None = None
    caveat: str | None = None

    def described(self, options: Options) -> dict[str, Any]:
        """Return recipe and options as plain data for a checkpoint; a missing version is the first."""
        version = {"version": self.version} if self.version > 1 else {}
        return {"recipe": self.name, **version, "options": options.described()}

    def check(self, options: Options) -> None:
        """Check that the recipe uses every given option.

        Raises:
            NasionError: an option is given that the recipe does not take.
        """
        untouched = Options()
        given = [name for name in CHOICES if getattr(options, name) != getattr(untouched, name)]
        if unused := [name for name in given if name not in self.takes]:
            of_use = ", ".join(_flag(name) for name in CHOICES if name in self.takes) or "none of this kind"
            not_of_use = ", ".join(map(_flag, unused))
            raise NasionError(f"recipe {self.name} does not take {not_of_use}; leave it out. It takes {of_use}")

    def schedule_for(self, options: Options) -> Schedule:
        """Return the default schedule for these options."""
        return self.schedule if isinstance(self.schedule, Schedule) else self.schedule(options)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def training_part(root: Path, options: Options) -> LandmarkSet:
    """Read the training part of ``options.set`` and check its labels.

    Raises:
        DataError: the set is missing or malformed, labels cannot be right, or there are too few faces to validate.
    """
    data = sound_faces(read_set(options.set, root, part="train", checked=False), skip=options.skip_bad)
    check_validation(data.name, len(data))
    return data


def parted(data: LandmarkSet, options: Options) -> tuple[LandmarkSet, LandmarkSet]:
    """Return the faces for training and every twelfth one for validation.

    Raises:
        DataError: more than ``options.skip_bad`` of the images for validation cannot be read.
    """
    training, held = (data.pick(indices) for indices in split_validation(len(data)))
    return training, held.pick(readable(held.files, skip=options.skip_bad))


def prepare_faces(
    augmentation: Augmentation, validate: Callable[[nn.Module, LandmarkSet, Spec], dict[str, float]] | None = None
) -> Callable[[Learner, Path, Options], Prepared]:
    """Build the usual ``prepare`` of networks that take face crops.

    Samples are crops of the training part of ``options.set``. Every twelfth image is held out for validation by
    ``validate``, by default ``validate_points``.
    """

    def prepare(learner: Learner, root: Path, options: Options) -> Prepared:
        data, spec = training_part(root, options), learner.spec
        if data.points.shape[1] != spec.landmarks:
            raise NasionError(
                f"{options.set} has {data.points.shape[1]} landmarks per face, the network {spec.landmarks}; "
                "choose another --set or another recipe"
            )
        training, held = parted(data, options)
        samples = FaceSamples(training, spec, augmentation, seed=options.seed)
        return Prepared(samples, None, lambda network: (validate or validate_points)(network, held, spec))

    return prepare


NO_START = "none"
"""Value of ``Options.start`` for random weights, in recipes that start from a shipped network otherwise."""

_RECIPES: dict[str, Recipe] = {}


def register(recipes: Iterable[Recipe]) -> None:
    """Register recipes by name; importing ``trainers.systems`` registers all of this package."""
    _RECIPES.update({recipe.name: recipe for recipe in recipes})


def all_recipes() -> dict[str, Recipe]:
    """Return every recipe by name, those of the shipped networks first."""
    return dict(_RECIPES)


def recipe_named(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        NasionError: there is none; the message lists all recipes, one per line.
    """
    recipes = all_recipes()
    if name not in recipes:
        wide = max(map(len, recipes))
        lines = "\n".join(f"  {each.name:{wide}}  {each.summary}" for each in recipes.values())
        raise NasionError(f"recipe {name!r} is unknown; allowed:\n{lines}")
    return recipes[name]


@dataclass(frozen=True, slots=True)
class Trained:
    """Network loaded from a checkpoint, in evaluation mode.

    Attributes:
        recipe, options: recipe and options that built the network.
        learner: learner with the averaged weights.
        step: step at which the checkpoint was written.
        figures: validation figures of the checkpoint.
        start: name of the network whose weights the training started from, as it was given; empty if there was none.
    """

    recipe: Recipe
    options: Options
    learner: Learner
    step: int
    figures: dict[str, float]
    start: str = ""

    @property
    def spec(self) -> Spec:
        """Spec of the network."""
        return self.learner.spec

    @property
    def network(self) -> nn.Module:
        """Module that is exported."""
        return self.learner.exported().eval()


def _recipe_of(path: Path, name: object) -> Recipe:
    """Return the recipe that the checkpoint at ``path`` names."""
    if not isinstance(name, str):
        raise ModelError(f"{path}: does not name its recipe; give best.pt or latest.pt of a run of nasion train")
    if name not in all_recipes():
        raise ModelError(f"{path}: is of recipe {name!r}, which this version of nasion does not have; give another")
    return recipe_named(name)


def checkpoint_named(name: str) -> Path:
    """Return the path of a checkpoint that the user named: for the folder of a run, its ``best.pt``."""
    path = Path(name)
    return path / "best.pt" if path.is_dir() else path


def load_trained(path: Path) -> Trained:
    """Read ``best.pt`` or ``latest.pt`` of a run.

    Raises:
        ModelError: the file is missing or is not a nasion checkpoint.
    """
    try:
        saved = checkpoint.load(path)
        description = saved["description"]
        recipe = _recipe_of(path, description.get("recipe"))
        try:
            options = Options.of_checkpoint(description)
            learner = recipe.build(options)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"{path}: no network can be built from its description ({foreign(error)}); give another checkpoint"
            ) from error
        checkpoint.fill(learner, _fitting(saved["average"], learner))
    except checkpoint.TrainingError as error:
        raise ModelError(str(error)) from error
    start = description.get("options", {}).get("start") or ""
    return Trained(recipe, options, learner.eval(), saved["step"], saved["figures"], start)


def _fitting(weights: dict[str, Tensor], learner: Learner) -> dict[str, Tensor]:
    """Return weights under the names of ``learner``; the first detectors were saved without the learner's prefix."""
    if weights.keys() & learner.state_dict().keys():
        return weights
    return {f"network.{name}": value for name, value in weights.items()}
