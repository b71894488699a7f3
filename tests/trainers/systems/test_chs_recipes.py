"""CHS's recipes: schedules, augmentation, what each builds, and stages cut off a trained cascade."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasion.trainers.checkpoint import TrainingError
from nasion.trainers.data import read_set
from nasion.trainers.data.augment import CHS_CHANGES
from nasion.trainers.data.samples import validate_points
from nasion.trainers.systems import load_trained
from nasion.trainers.systems.chs.learner import CHSLearner, validate_stages
from nasion.trainers.systems.chs.recipes import AUGMENTATION
from nasion.trainers.training.loop import train
from nasion.trainers.training.recipes import Options

from ...support.data_sets.labelled import write_data
from ...support.training.tiny_chs import NAMES, built

# --- recipes


def test_the_schedule_is_the_papers() -> None:
    schedule = NAMES["chs"].schedule_for(Options())
    (optimiser,) = schedule.optimisers
    assert (schedule.steps, schedule.batch) == (335 * 3148 // 10, 10)
    assert (optimiser.kind, optimiser.momentum, optimiser.decay) == ("sgd", 0.9, 5e-4)
    rates = {epoch: optimiser.learning_rate_at(epoch / 335, 10**6) for epoch in (0, 119.9, 120, 200, 240, 330)}
    expected = {0: 0, 119.9: 0, 120: 1, 200: 2, 240: 3, 330: 21}
    assert rates == pytest.approx({epoch: 1e-2 * 0.75**drops for epoch, drops in expected.items()})


def test_in_minutes_the_optimiser_is_a_faster_one_that_ends_with_them() -> None:
    schedule = NAMES["chs"].schedule_for(Options(minutes=20))
    (optimiser,) = schedule.optimisers
    assert (optimiser.kind, schedule.ema) == ("adam", 0.99)
    assert optimiser.learning_rate_at(1.0, 10**6) < 0.02 * optimiser.learning_rate_at(0.0, 10**6)


def test_the_augmentation_is_the_papers() -> None:
    assert (AUGMENTATION.rotation, AUGMENTATION.scale, AUGMENTATION.flip) == (50, (0.85, 1.15), 0.5)
    assert AUGMENTATION.shift * 256 == 25
    assert len(set(CHS_CHANGES)) == 9
    assert AUGMENTATION.changes == CHS_CHANGES


@pytest.fixture(scope="module")
def learners() -> dict[str, CHSLearner]:
    return {name: built(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_builds_what_its_name_says(learners: dict[str, CHSLearner], name: str) -> None:
    learner = learners[name]
    config = learner.network.config
    assert learner.spec.name == name
    assert (config.landmarks, config.size) == (19, 64)
    stages = {"chs-awing": 0, "chs-sf": 0, "chs-0ccr": 0, "chs-1ccr": 1, "chs-2ccr": 2, "chs-6ccr": 6}
    assert len(learner.network.stages) == stages.get(name, 4)
    with torch.no_grad():
        out = learner.eval()(torch.rand(1, 3, 64, 64))
    assert out["points"].shape == (1, 19, 2)
    assert 0 <= out["confidence"].min() <= out["confidence"].max() <= 1


def test_no_two_recipes_but_the_cut_one_train_the_same(learners: dict[str, CHSLearner]) -> None:
    made = {
        name: (each.network.config, tuple(each.fixed.values()), each.adaptive is None)
        for name, each in learners.items()
    }
    twins = [{a, b} for a in made for b in made if a < b and made[a] == made[b]]
    assert twins == [{"chs-0ccr", "chs-sf"}]


# --- a trained cascade


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), each=8)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two steps on cartoons, 68 points."""
    return run("chs", Options(size=64, width=1 / 16), data, tmp_path_factory.mktemp("runs") / "chs", steps=2)


def run(name: str, options: Options, data: Path, folder: Path, *, steps: int) -> Path:
    learner, recipe = built(name, options), NAMES[name]
    prepared = recipe.prepare(learner, data, options)
    schedule = replace(recipe.schedule_for(options), steps=steps, batch=2)
    description = recipe.described(options)
    train(
        learner,
        prepared.samples,
        schedule,
        folder,
        validate=prepared.validate,
        criterion=recipe.criterion,
        description=description,
    )
    return folder / "best.pt"


@pytest.mark.parametrize("stages", [2, 1, 0])
def test_stages_are_cut_off_a_trained_cascade(trained: Path, stages: int) -> None:
    whole = load_trained(trained).learner
    cut = built(f"chs-{stages}ccr", Options(size=64, width=1 / 16, start=trained)).eval()
    assert isinstance(whole, CHSLearner)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        cells = whole.network(images).cells
        torch.testing.assert_close(cut.network(images).cells, cells[: stages + 1])


def test_a_cascade_grows_from_trained_selective_features(data: Path, tmp_path: Path) -> None:
    options = Options(size=64, width=1 / 16)
    start = run("chs-sf", options, data, tmp_path / "sf", steps=2)
    first, grown = load_trained(start).learner, built("chs-2ccr", replace(options, start=start)).eval()
    assert isinstance(first, CHSLearner)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(grown.network(images).cells[0], first.network(images).cells[0])
    assert len(grown.network.stages) == 2


def test_the_first_version_is_built_as_it_was() -> None:
    old = built("chs", Options(size=64, width=1 / 16, version=1)).network.config
    assert (old.bottleneck, old.early_coordinates) == ("scaled", False)
    assert built("chs", Options(size=64, width=1 / 16, stacks=2)).network.config.stacks == 2


def test_a_run_of_no_steps_keeps_the_cut_network(trained: Path, data: Path, tmp_path: Path) -> None:
    best = run("chs-1ccr", Options(size=64, width=1 / 16, start=trained), data, tmp_path, steps=0)
    cut = load_trained(best)
    before = load_trained(trained).learner.state_dict()
    assert cut.recipe.name == "chs-1ccr"
    assert list(cut.figures) == ["nme", "fr", "nme_maps", "nme_stage1"]
    for name, value in cut.learner.network.state_dict().items():  # type: ignore[operator, union-attr]
        torch.testing.assert_close(value, before[f"network.{name}"])


def test_a_start_of_another_make_is_refused(trained: Path) -> None:
    with pytest.raises(TrainingError, match="the weights do not fit CHSLearner: missing network"):
        built("chs-plain", Options(size=64, width=1 / 16, start=trained))
    with pytest.raises(TrainingError, match="size mismatch"):
        built("chs-2ccr", Options(size=64, width=1 / 8, start=trained))


def test_validation_tells_the_error_of_every_stage(trained: Path, data: Path) -> None:
    learner = load_trained(trained).learner
    held = read_set("300w", data, part="test")
    figures = validate_stages(learner, held, learner.spec)
    assert list(figures) == ["nme", "fr", "nme_maps", *(f"nme_stage{number}" for number in (1, 2, 3, 4))]
    assert {name: figures[name] for name in ("nme", "fr")} == validate_points(learner, held, learner.spec)
    assert figures["nme_stage4"] == figures["nme"]
