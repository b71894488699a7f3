"""RHT's recipes: learning, starts from other weights, schedules, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from nasion.engines.errors import NasionError
from nasion.trainers.checkpoint import TrainingError
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceSamples
from nasion.trainers.evaluation.published import TABLES
from nasion.trainers.systems import load_trained
from nasion.trainers.systems.rht.learner import RHTLearner, validate_rht
from nasion.trainers.training.loop import train
from nasion.trainers.training.recipes import Options, Recipe
from nasion.trainers.training.schedule import Optimiser, Schedule

from ...support.data_sets.labelled import write_data
from ...support.training.by_heart import assert_learned, eight_faces
from ...support.training.tiny_rht import NAMES, TINY, built, taught


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_eight_faces_are_learned_by_heart(tmp_path: Path) -> None:
    options = replace(TINY, width=1 / 8)
    learner = RHTLearner(replace(built("rht-r", options).network.config, layers=1), built("rht-r", options).spec)
    learner.sigma = 3.0  # of 32 cells: wide Gaussians are sooner learned
    eight = eight_faces(tmp_path, landmarks=19)
    samples = FaceSamples(eight, learner.spec, Augmentation())
    learner.set_reference(samples.crop(0))
    items = [{**samples.crop(i), "reference": samples.crop(0)} for i in range(8)]
    batch = default_collate(items)
    before = learner.losses(batch, "all")
    adam = Optimiser("adam", learning_rate=5e-3, decay=0.0, warmup=40)
    train(learner, items * 120, Schedule(steps=120, batch=8, optimisers=(adam,), clip=1.0), tmp_path / "run")  # type: ignore[arg-type]
    learner.eval()
    with torch.no_grad():
        after = learner.losses(batch, "all")
        assert_learned(learner(batch["image"])["points"], batch["points"], within=2)
    assert after["boundaries"] < 0.1 * before["boundaries"]
    assert after["landmarks"] < 0.4 * before["landmarks"]
    assert validate_rht(learner, eight, learner.spec)["nme"] < 0.1


@pytest.mark.parametrize("name", ["rht-r", "rht-trans-r", "rht-r-references"])
def test_a_recipe_trains_validates_and_is_read_again(name: str, data: Path, tmp_path: Path) -> None:
    options = Options(size=64, width=1 / 16)
    recipe, learner = NAMES[name], built(name, options)
    prepared = recipe.prepare(learner, data, options)
    description = recipe.described(options)
    train(
        learner,
        prepared.samples,
        Schedule(steps=1, batch=2, optimisers=recipe.schedule_for(options).optimisers),
        tmp_path,
        validate=prepared.validate,
        criterion=recipe.criterion,
        description=description,
    )
    trained = load_trained(tmp_path / "best.pt")
    assert {"nme", "fr", "nme_hard", "nme_masked", "fr_masked"} <= set(trained.figures)
    assert ("nme_neutral" in trained.figures) == (name == "rht-r-references")
    crops = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(trained.learner(crops), learner.eval()(crops))


def test_the_study_of_references_starts_from_a_trained_network(data: Path, tmp_path: Path) -> None:
    learner, options = taught(built()), TINY
    torch.save({"average": learner.state_dict(), "description": {}, "step": 1, "figures": {}}, tmp_path / "best.pt")
    begun = built("rht-r-references", replace(options, start=tmp_path / "best.pt"))
    assert torch.equal(begun.reference_points, learner.reference_points)


def saved(learner: RHTLearner, file: Path) -> Path:
    torch.save({"average": learner.state_dict(), "description": {}, "step": 1, "figures": {}}, file)
    return file


def test_all_variants_start_from_one_trained_backbone(tmp_path: Path) -> None:
    first = taught(built("rht-trans-r"))
    start = saved(first, tmp_path / "best.pt")
    for name in ("rht-r", "rht-r-guided", "rht-htm-msffm", "rht-trans-r"):
        begun, fresh = built(name, replace(TINY, start=start)), built(name)
        theirs, own = begun.state_dict(), fresh.state_dict()
        for key, value in first.state_dict().items():
            if key.startswith(("network.backbone", "network.decoder.maps", "network.decoder.lifts")):
                assert torch.equal(theirs[key], value), key
        assert all(torch.equal(theirs[key], own[key]) for key in own if ".hard." in key or ".joins." in key)
    with pytest.raises(TrainingError, match="the weights do not fit RHTLearner"):
        built("rht-r", replace(TINY, width=1 / 8, start=start))
    torch.save({"average": {"x": torch.zeros(1)}, "description": {}, "step": 1, "figures": {}}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="is not a checkpoint of an RHT recipe"):
        built("rht-r", replace(TINY, start=tmp_path / "other.pt"))


def test_all_ablations_of_the_paper_have_a_recipe() -> None:
    rows = {row for table in TABLES if table.paper == "rht" for row in table.rows}
    kinds = ("neutral", "random", "least", "64", "32")  # table VII, all of them figures of rht-r-references
    figures = {f"rht-{network}-{kind}" for network in ("r", "h") for kind in kinds}
    assert rows - figures <= set(NAMES)
    assert figures <= rows


def test_a_size_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(NasionError, match=r"size 100 is not a multiple of 64, .* try 128 or 256"):
        built("rht-r", Options(size=100))


def test_a_set_with_other_points_is_refused(data: Path) -> None:
    with pytest.raises(NasionError, match="300w has 68 landmarks per face, the network 19; choose another --set"):
        NAMES["rht-r"].prepare(built(), data, Options())


def test_hourglasses_take_no_public_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({}, weights)
    with pytest.raises(NasionError, match="hourglasses have no public weights; leave --backbone-weights out"):
        built("rht-hg", replace(TINY, backbone_weights=weights))


@pytest.mark.parametrize("name", ["rht-r", "rht-w32"])
def test_public_weights_go_into_the_backbone(name: str, tmp_path: Path) -> None:
    body = built(name).network.backbone.body
    weights = {entry: torch.full_like(value, 2) for entry, value in body.state_dict().items()}
    torch.save(weights, tmp_path / "weights.pt")
    filled = built(name, replace(TINY, backbone_weights=tmp_path / "weights.pt")).network.backbone.body
    assert all((value == 2).all() for value in filled.state_dict().values())


def test_the_papers_schedule_is_the_default() -> None:
    recipe: Recipe = NAMES["rht-r"]
    schedule = recipe.schedule_for(Options())
    assert (schedule.steps, schedule.batch) == (59_025, 8)
    (adam,) = schedule.optimisers
    assert [round(adam.learning_rate_at(part, 1000), 7) for part in (0.0, 0.5, 1.0)] == [1e-4, 5.5e-5, 1e-5]


def test_where_minutes_are_limited_the_rate_is_higher() -> None:
    recipe: Recipe = NAMES["rht-r"]
    (adam,) = recipe.schedule_for(Options(minutes=15)).optimisers
    assert adam.learning_rate > recipe.schedule_for(Options()).optimisers[0].learning_rate
