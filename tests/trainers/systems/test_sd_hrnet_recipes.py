"""SD-HRNet's recipes: the whole chain of stages, schedules, and what a stage needs of the one before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasion.engines.errors import NasionError
from nasion.trainers.checkpoint import TrainingError
from nasion.trainers.export.files import example
from nasion.trainers.networks.sd_hrnet.network import WFLW_GRAPH
from nasion.trainers.systems import load_trained
from nasion.trainers.systems.sd_hrnet.distilling import DistilLearner, SlimLearner, SupernetLearner
from nasion.trainers.training.loop import train
from nasion.trainers.training.recipes import Options, Recipe

from ...support.data_sets.labelled import write_data
from ...support.training.tiny_sd_hrnet import NAMES


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), each=8)


def command(name: str, data: Path, folder: Path, options: Options, *, steps: int = 0) -> Path:
    """Train as ``nasion train`` does."""
    recipe: Recipe = NAMES[name]
    torch.manual_seed(0)
    learner = recipe.build(options)
    prepared = recipe.prepare(learner, data, options)
    train(
        learner,
        prepared.samples,
        replace(recipe.schedule_for(options), steps=steps, batch=2),
        folder / name,
        validate=prepared.validate,
        criterion=recipe.criterion,
        description=recipe.described(options),
    )
    return folder / name / "best.pt"


def test_the_whole_chain_by_its_recipes(data: Path, tmp_path: Path) -> None:
    options = Options(size=64, width=0.1)
    teacher = command("sd-hrnet-teacher", data, tmp_path, options, steps=1)
    supernet = command("sd-hrnet-supernet", data, tmp_path, replace(options, minutes=1), steps=5)
    slim = command("sd-hrnet-slim", data, tmp_path, Options(start=supernet, budget=8), steps=1)
    graph = load_trained(slim).learner.structure()["config"]["graph"]
    released = NAMES["sd-hrnet-wflw"].build(Options(start=supernet))
    assert isinstance(released, SlimLearner)
    assert released.network.config.graph == WFLW_GRAPH
    inherited = "network.stages.2.transforms.3-0.body.0.weight"
    assert torch.equal(released.get_parameter(inherited), load_trained(supernet).learner.get_parameter(inherited))
    last = command("sd-hrnet-distil", data, tmp_path, Options(start=slim, teacher=teacher), steps=1)
    for path in (teacher, supernet, slim):
        path.unlink()
    trained = load_trained(last)
    assert isinstance(trained.learner, DistilLearner)
    assert trained.spec.size == (64, 64)
    assert trained.learner.structure()["config"]["graph"] == graph
    assert not [name for name in torch.load(last, weights_only=True)["average"] if name.startswith("teacher")]
    assert trained.figures.keys() >= {"nme", "nme_soft", "nme2", "nme_soft2"}
    images = example(trained.spec)
    with torch.no_grad():
        before, after = trained.learner(images), trained.network(images)
    torch.testing.assert_close(after["confidence"], before["confidence"], atol=1e-5, rtol=1e-3)


def test_pruning_is_reported_and_a_supernet_of_which_nothing_goes_is_warned_of(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "nasion.trainers")
    supernet = command("sd-hrnet-supernet", data, tmp_path, Options(size=64, width=0.1, minutes=1), steps=5)
    NAMES["sd-hrnet-slim"].build(Options(start=supernet, budget=8))
    assert "before pruning: 132 operators" in caplog.text
    assert "nothing was pruned" not in caplog.text
    NAMES["sd-hrnet-slim"].build(Options(start=supernet))  # by the paper's threshold
    assert "nothing was pruned: no operator has a factor below 0.0017; train the supernet longer" in caplog.text


@pytest.mark.parametrize(("of", "batch", "steps"), [("300w", 16, 197), ("cofw", 16, 85), ("wflw", 32, 235)])
def test_a_pass_of_the_supernet_is_one_over_its_set(of: str, batch: int, steps: int) -> None:
    recipe = NAMES["sd-hrnet-supernet"]
    options = Options(set=of, size=64, width=0.1)
    for asked, each in ((None, steps), (batch // 2, -(-2 * of_published(of) // batch))):
        learner = recipe.build(replace(options, batch=asked))
        assert isinstance(learner, SupernetLearner)
        assert learner.passes == (each, each)
        schedule = recipe.schedule_for(replace(options, batch=asked))
        assert (schedule.steps, schedule.validate_every) == (120 * each, each)


def of_published(name: str) -> int:
    return Options(set=name).training_faces


def test_a_supernet_that_would_never_learn_its_weights_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="197 steps never reach the objective 'weights'; give at least 198 steps"):
        command("sd-hrnet-supernet", data, tmp_path, Options(size=64, width=0.1), steps=197)


def test_the_papers_schedule_is_the_default_and_minutes_cut_it() -> None:
    supernet = NAMES["sd-hrnet-supernet"].schedule_for(Options())
    assert (supernet.steps, supernet.batch) == (2 * 60 * 197, 16)
    factors, weights = supernet.optimisers
    assert [factors.learning_rate_at(part, 0) for part in (0, 0.99)] == [1.8e-4, 1.8e-4]
    assert [weights.learning_rate_at(part, 0) for part in (0, 0.66, 0.67, 0.84)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-6]
    )
    assert weights.decay == 4e-5
    (teacher,) = NAMES["sd-hrnet-teacher"].schedule_for(Options()).optimisers
    assert [teacher.learning_rate_at(part, 0) for part in (0.49, 0.51, 0.84)] == pytest.approx([1e-4, 1e-5, 1e-6])
    wflw = NAMES["sd-hrnet-wflw"].schedule_for(Options(set="wflw"))
    assert (wflw.batch, wflw.optimisers[0].learning_rate, wflw.steps) == (32, 2e-4, 60 * 235)
    (short,) = NAMES["sd-hrnet-slim"].schedule_for(Options(minutes=60)).optimisers
    assert short.drops is None
    assert short.learning_rate_at(0.0, 500) == pytest.approx(1e-3)
    assert short.learning_rate_at(1.0, 500) == pytest.approx(1e-5)


def test_what_is_missing_is_asked_for(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NasionError, match=r"continues from an earlier stage; give --start RUN/best.pt"):
        NAMES["sd-hrnet-slim"].build(Options())
    with pytest.raises(NasionError, match="size 100 is not a multiple of 32"):
        NAMES["sd-hrnet-teacher"].build(Options(size=100))
    teacher = command("sd-hrnet-teacher", data, tmp_path, Options(size=32, width=0.05))
    with pytest.raises(NasionError, match="holds a MapsLearner; sd-hrnet-slim starts from a supernet or slim network"):
        NAMES["sd-hrnet-slim"].build(Options(start=teacher))
    slim = command("sd-hrnet-cofw", data, tmp_path, Options(size=64, width=0.05))
    with pytest.raises(NasionError, match=r"give --teacher RUN/best.pt of sd-hrnet-teacher"):
        NAMES["sd-hrnet-distil"].build(Options(start=slim))
    with pytest.raises(NasionError, match="68 landmarks at 32 px, the students 68 landmarks at 64 px; give a teacher"):
        NAMES["sd-hrnet-distil"].build(Options(start=slim, teacher=teacher))
    with pytest.raises(NasionError, match="finds 68 landmarks, cofw has 29; choose another --set"):
        NAMES["sd-hrnet-slim"].build(Options(start=slim, set="cofw"))
