"""Everything ``nasion train`` can train, by name: network, data, losses, schedule, validation."""

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
from ..data import SETS, LandmarkSet, read_set, split_validation
from ..data.augment import Augmentation
from ..data.samples import FaceSamples, validate_points
from ..learner import Learner
from .loop import Schedule, Validate


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may vary of a recipe; None leaves it at the recipe's own.

    Attributes:
        set: data set to learn from, as ``read_set`` names it.
        size: side of the crop in pixels.
        width: channels over those of the paper.
        seed: of the samples; the initial weights follow torch's own, set from the same number.
        start: checkpoint of an earlier stage.
        teacher: checkpoint of the network to learn from.
        backbone_weights: public weights of the backbone.
        budget: million MACs that pruning may leave.
        minutes: of training, where they are limited: a recipe may then have another schedule than the paper's.
        batch: samples a step.
        faces: training faces of ``set``, for sets of which nobody published how many there are.
        structure: what a checkpoint says of the network's form (``Learner.structure``); never set by a user.
    """

    set: str = "300w"
    size: int | None = None
    width: float | None = None
    seed: int = 0
    start: Path | None = None
    teacher: Path | None = None
    backbone_weights: Path | None = None
    budget: float | None = None
    minutes: float | None = None
    batch: int | None = None
    faces: int | None = None
    structure: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """See that what is counted or measured is more than nothing.

        Raises:
            NasionError: it is not.
        """
        for name in ("size", "width", "budget", "minutes", "batch", "faces"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise NasionError(f"{name} is {value}; give a number above 0, or leave it out for the recipe's own")

    @property
    def landmarks(self) -> int:
        """Points a face of ``set``.

        Raises:
            NasionError: there is no such set.
        """
        if self.set not in SETS:
            raise NasionError(f"set {self.set!r} is unknown; allowed: {', '.join(SETS)}")
        return SETS[self.set].landmarks

    @property
    def training_faces(self) -> int:
        """Faces in the training part of ``set``, from which schedules in epochs follow: as published, or ``faces``.

        Raises:
            NasionError: no number is published, and none is given.
        """
        published = SETS[self.set].trained_on if self.set in SETS else None
        count = published or self.faces
        if count is None:
            raise NasionError(f"nobody published how many faces of {self.set!r} train; count them and give faces")
        return count

    def described(self) -> dict[str, Any]:
        """Plain data for a checkpoint, without what it has elsewhere: ``structure``, of which the learner tells, and
        ``batch`` and ``faces``, of which the schedule does."""
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        return {name: value for name, value in values.items() if name not in ("structure", "batch", "faces")}

    @classmethod
    def of_checkpoint(cls, description: Mapping[str, Any]) -> Options:
        """The options that build the network of a checkpoint, whose weights need no other file."""
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in description.get("options", {}).items() if name in known}
        structure = description.get("structure") or None
        return replace(cls(**given), start=None, teacher=None, backbone_weights=None, structure=structure)


FORM = frozenset({"set", "size", "width"})  # options of every network of the papers
CHOICES = ("set", "size", "width", "start", "teacher", "backbone_weights", "budget")  # of which each recipe takes some


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipe with its data read: all that the loop needs."""

    samples: Dataset[Any]
    collate: Callable[[list[Any]], Any] | None
    validate: Validate


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make one network.

    Attributes:
        name: what ``nasion train`` calls it.
        summary: one line on what it is.
        build: options to the untrained learner.
        prepare: learner, data folder and options to samples and validation.
        criterion: the validation figure whose minimum marks the best checkpoint.
        schedule: defaults of the run, or what makes them from the options.
        paper: short name of the paper (a row of ``published``), None where there is none.
        takes: those of ``CHOICES`` that it has a use for.
    """

    name: str
    summary: str
    build: Callable[[Options], Learner]
    prepare: Callable[[Learner, Path, Options], Prepared]
    criterion: str
    schedule: Schedule | Callable[[Options], Schedule]
    paper: str | None = None
    takes: frozenset[str] = FORM

    def check(self, options: Options) -> None:
        """See that nothing is asked for that would be left aside.

        Raises:
            NasionError: an option is given that the recipe does not take.
        """
        untouched = Options()
        given = [name for name in CHOICES if getattr(options, name) != getattr(untouched, name)]
        if unused := [name for name in given if name not in self.takes]:
            of_use = ", ".join(_flag(name) for name in CHOICES if name in self.takes) or "none of this kind"
            not_of_use = ", ".join(map(_flag, unused))
            raise NasionError(f"recipe {self.name} has no use for {not_of_use}; leave it out. It takes {of_use}")

    def schedule_for(self, options: Options) -> Schedule:
        """Defaults of the run with these options."""
        return self.schedule if isinstance(self.schedule, Schedule) else self.schedule(options)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def prepare_faces(
    augmentation: Augmentation, validate: Callable[[nn.Module, LandmarkSet, Spec], dict[str, float]] | None = None
) -> Callable[[Learner, Path, Options], Prepared]:
    """The usual ``prepare`` of networks that take crops of faces.

    Samples are crops of the training part of ``options.set``, less every twelfth picture, which validates: by
    ``validate``, or ``validate_points``.
    """

    def prepare(learner: Learner, root: Path, options: Options) -> Prepared:
        data, spec = read_set(options.set, root, part="train"), learner.spec
        if data.points.shape[1] != spec.landmarks:
            raise NasionError(
                f"{options.set} has {data.points.shape[1]} points a face, the network {spec.landmarks}; "
                "choose another --set, or another recipe"
            )
        training, held = (data.pick(indices) for indices in split_validation(len(data)))
        samples = FaceSamples(training, spec, augmentation, seed=options.seed)
        return Prepared(samples, None, lambda network: (validate or validate_points)(network, held, spec))

    return prepare


_RECIPES: dict[str, Recipe] = {}


def register(recipes: Iterable[Recipe]) -> None:
    """Make recipes known by their names; importing ``trainers.systems`` does so for all of ours."""
    _RECIPES.update({recipe.name: recipe for recipe in recipes})


def all_recipes() -> dict[str, Recipe]:
    """Return every recipe by name, those of the shipped networks first."""
    return dict(_RECIPES)


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        NasionError: there is none; the message lists them all, a line each.
    """
    recipes = all_recipes()
    if name not in recipes:
        wide = max(map(len, recipes))
        lines = "\n".join(f"  {each.name:{wide}}  {each.summary}" for each in recipes.values())
        raise NasionError(f"recipe {name!r} is unknown; allowed:\n{lines}")
    return recipes[name]


@dataclass(frozen=True, slots=True)
class Trained:
    """A checkpoint made ready: the recipe it came from and the learner with its weights, not training.

    Attributes:
        recipe, options: what built it.
        learner: with the averaged weights.
        step: at which the checkpoint was written.
        figures: of its validation.
    """

    recipe: Recipe
    options: Options
    learner: Learner
    step: int
    figures: dict[str, float]

    @property
    def spec(self) -> Spec:
        """What the network says of itself."""
        return self.learner.spec

    @property
    def network(self) -> nn.Module:
        """The module that is exported."""
        return self.learner.exported().eval()


def _recipe_of(path: Path, name: object) -> Recipe:
    """Return the recipe that the checkpoint at ``path`` names."""
    if not isinstance(name, str):
        raise ModelError(f"{path}: does not name its recipe; give best.pt or latest.pt of a run of nasion train")
    if name not in all_recipes():
        raise ModelError(f"{path}: is of recipe {name!r}, which this version of nasion does not have; give another")
    return recipe_named(name)


def load_trained(path: Path) -> Trained:
    """Read ``best.pt`` or ``latest.pt`` of a run.

    Raises:
        ModelError: the file is missing or no checkpoint of ours.
    """
    try:
        saved = checkpoint.load(path)
        description = saved["description"]
        recipe = _recipe_of(path, description.get("recipe"))
        try:
            options = Options.of_checkpoint(description)
            learner = recipe.build(options)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path}: its description builds no network ({foreign(error)}); give another") from error
        checkpoint.fill(learner, _fitting(saved["average"], learner))
    except checkpoint.TrainingError as error:
        raise ModelError(str(error)) from error
    return Trained(recipe, options, learner.eval(), saved["step"], saved["figures"])


def _fitting(weights: dict[str, Tensor], learner: Learner) -> dict[str, Tensor]:
    """Weights of the first detectors, which were saved without the learner around them, by their present names."""
    if weights.keys() & learner.state_dict().keys():
        return weights
    return {f"network.{name}": value for name, value in weights.items()}
