"""Properties of the recipes of all papers: every number of points, exact resume, only options that they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from nasion.engines.errors import NasionError
from nasion.realtime.values.schemes import USUAL
from nasion.tools.commands.train import train
from nasion.trainers.data import LandmarkSet
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceSamples
from nasion.trainers.evaluation.references import PairedSamples
from nasion.trainers.learner import Learner
from nasion.trainers.systems import all_recipes
from nasion.trainers.systems.rht.learner import RHTLearner
from nasion.trainers.systems.whole_images import Framing, ImageSamples
from nasion.trainers.training.loop import TrainingError
from nasion.trainers.training.loop import train as run_loop
from nasion.trainers.training.recipes import Options
from nasion.trainers.training.state import State

from ...support.data_sets.labelled import write_data
from ...support.training.by_heart import eight_faces

# One of each make: with it the others of the paper differ in parts that do not know how many points there are.
MAKES = (
    *("pwc-direct-disc", "pwc-dan-disc", "pwc-distribution-disc", "pwc-heatmap-disc", "pwc-hybrid-disc"),
    *("pwc-heatmap-height-1-disc", "pwc-mean-disc"),
    *("chs", "chs-awing", "rdfn", "rdfn-counts", "rdfn-stacked", "rdfn-head", "rht-r", "rht-4hg", "rht-w32-baseline"),
    *("sd-hrnet-teacher", "sd-hrnet-supernet", "sd-hrnet-300w", "sd-hrnet-wflw", "sd-hrnet-fig6-hrnet"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


class Points(Options):
    """Options of a tiny network for faces of so many points."""

    def __init__(self, landmarks: int) -> None:
        super().__init__(size=64, width=1 / 32)
        object.__setattr__(self, "count", landmarks)

    @property
    def landmarks(self) -> int:
        return int(vars(self)["count"])


def batch_for(learner: Learner, faces: LandmarkSet) -> object:
    """Two samples as its recipe has them."""
    if learner.spec.task == "faces":
        images = ImageSamples(faces, [], learner.spec, Framing())
        return default_collate([images[0], images[1]])
    samples = FaceSamples(faces, learner.spec, Augmentation())
    if not isinstance(learner, RHTLearner) or not learner.compares:
        return default_collate([samples[0], samples[1]])
    learner.set_reference(samples.crop(0))
    pairs = PairedSamples(samples)
    return default_collate([pairs[0], pairs[1]])


@pytest.mark.parametrize("landmarks", [19, 21, 29, 68, 98, 106])
def test_every_make_of_every_paper_learns_and_finds_so_many_points(landmarks: int, tmp_path: Path) -> None:
    assert landmarks in USUAL
    faces = eight_faces(tmp_path, landmarks=landmarks)
    for name in MAKES:
        torch.manual_seed(0)
        learner = all_recipes()[name].build(Points(landmarks))
        batch = batch_for(learner, faces)
        for objective in {learner.objective(step) for step in range(24)}:
            losses = learner.losses(batch, objective)
            sum(losses.values()).backward()  # type: ignore[union-attr]
            assert all(np.isfinite(float(value.detach())) for value in losses.values()), name
        with torch.no_grad():
            found = learner.eval().exported().eval()(torch.zeros(2, 3, 64, 64))["points"]
        assert found.shape[0] == 2
        assert found.shape[-2:] == (landmarks, 2), name


@pytest.mark.parametrize(
    "name", ["face-detector", "landmarks-68", "pwc-hybrid-disc", "pwc-dan", "chs-1ccr", "rdfn", "rht-r"]
)
def test_a_stopped_run_has_the_losses_of_an_unbroken_one(name: str, data: Path, tmp_path: Path) -> None:
    """Of the recipe itself: its samples, its chance and all that it keeps from step to step."""
    recipe = all_recipes()[name]
    options = Options(size=64, width=1 / 32) if recipe.takes else Options()
    schedule = replace(recipe.schedule_for(replace(options, faces=13)), steps=6, batch=4, validate_every=3)

    def run(folder: Path, validate: Callable[[nn.Module], dict[str, float]]) -> tuple[State, list[dict[str, float]]]:
        torch.manual_seed(0)
        learner, each = recipe.build(options), []
        samples = recipe.prepare(learner, data, options)
        more = {"collate": samples.collate, "validate": validate, "criterion": "loss"}
        state = run_loop(
            learner,
            samples.samples,
            schedule,
            folder,
            **more,  # type: ignore[arg-type]
            watch=lambda state, part, losses: each.append(dict(losses)),
        )
        return state, each

    def stop(_: nn.Module) -> dict[str, float]:
        if stops:
            stops.pop()
            raise KeyboardInterrupt
        return {"loss": 1.0}

    stops: list[int] = []
    whole, unbroken = run(tmp_path / "whole", stop)
    stops.append(1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", stop)
    resumed, rest = run(tmp_path / "broken", stop)
    assert len(unbroken) == 6
    assert rest == unbroken[6 - len(rest) :]
    assert 0 < len(rest) < 6
    weights, same = whole.learner.state_dict(), resumed.learner.state_dict()
    assert all(torch.equal(value, same[key]) for key, value in weights.items())


def test_a_batch_of_one_that_cannot_be_normalised_says_so(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"batch normalisation needs two samples per process; give a larger batch"):
        train("chs", data=data, out=tmp_path / "run", width=1 / 64, size=64, batch=1, steps=1, device="cpu")


@pytest.mark.parametrize(
    ("recipe", "options", "told"),
    [
        ("pwc", {"start": Path("a.pt"), "budget": 5.0}, r"pwc does not take --start, --budget; .* takes --set,"),
        (
            "chs",
            {"backbone_weights": Path("r50.pth")},
            r"chs does not take --backbone-weights; .* --stacks, --start",
        ),
        ("sd-hrnet-slim", {"width": 0.5}, r"sd-hrnet-slim does not take --width; .* --set, --size, --start, --budget"),
        (
            "landmarks-68",
            {"set_": "wflw", "width": 0.5},
            r"does not take --set, --width; leave it out. It takes --start",
        ),
        ("chs", {"width": -1.0}, r"width is -1.0; give a number above 0, or leave it out"),
        ("chs", {"batch": 0}, r"batch is 0; give a number above 0"),
        ("chs", {"seeds": 0}, r"--seeds is 0; give a whole number from 1"),
        ("chs", {"size": 50}, r"size 50"),
        ("rht-4hg", {"size": 50}, r"size 50"),
        ("sd-hrnet-teacher", {"size": 50}, r"size 50 is not a multiple of 32"),
    ],
)
def test_options_that_would_be_left_aside_or_mean_nothing_are_refused(
    recipe: str, options: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(NasionError, match=told):
        train(recipe, data=tmp_path, out=tmp_path / "run", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
