"""The recipes of the pixel-wise classification study: columns of its table, schedules, crops, mean shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasion.engines.errors import NasionError
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.trainers.checkpoint import kept, save
from nasion.trainers.data.samples import FaceItem, FaceSamples, mean_shape
from nasion.trainers.networks.pwc.networks import DirectRegression
from nasion.trainers.systems import load_trained
from nasion.trainers.systems.pwc.recipes import RECIPES
from nasion.trainers.training.loop import train
from nasion.trainers.training.recipes import Options

from ...support.training.by_heart import Repeated
from ...support.training.tiny_pwc import NAMES, TINY, batch, built, data, eight

__all__ = ["batch", "data", "eight"]  # fixtures


def test_every_column_of_table_two_is_a_recipe() -> None:
    columns = ("pwc-direct", "pwc-dan", "pwc-distribution", "pwc-heatmap", "pwc", "pwc-hybrid")
    columns += ("pwc-heatmap-height-1", "pwc-mean", "pwc-hybrid-mean")  # variants of them
    assert set(NAMES) == {*columns, *(f"{name}-disc" for name in columns), "pwc-hybrid-as-released"}
    for name, recipe in NAMES.items():
        schedule = recipe.schedule_for(Options())
        regression = name.startswith(("pwc-direct", "pwc-dan"))
        assert {each.learning_rate for each in schedule.optimisers} == {1e-3 if regression else 1e-4}
        assert {each.kind for each in schedule.optimisers} == {"adam"}
        assert schedule.batch == 16
        assert schedule.patience == 10
        assert schedule.validate_every == (3000 if name.endswith("-disc") else 1000)
        assert {each.objective for each in schedule.optimisers} >= {NAMES[name].build(TINY).objective(1)}


def test_a_budget_of_minutes_brings_a_faster_schedule_that_ends_with_it() -> None:
    for recipe in RECIPES:
        paper, hurried = recipe.schedule_for(Options()), recipe.schedule_for(Options(minutes=8))
        assert all(a.learning_rate < b.learning_rate for a, b in zip(paper.optimisers, hurried.optimisers, strict=True))
        assert all(each.learning_rate_at(1.0, 0) < 0.02 * each.learning_rate for each in hurried.optimisers)
        assert all(each.learning_rate_at(1.0, 0) == each.learning_rate for each in paper.optimisers)
        assert (hurried.patience, paper.ema) == (None, 0.0)
        assert hurried.ema > 0


def test_the_study_keeps_one_crop_and_the_cascade_its_half() -> None:
    with torch.device("meta"):
        for name, recipe in NAMES.items():
            spec = recipe.build(Options()).spec
            assert spec.size == ((112, 112) if "dan" in name else (224, 224))
            assert (spec.crop_margin, spec.landmarks, spec.name) == (1.3, 68, name)
            assert recipe.build(Options(set="wflw", size=64, width=1 / 32)).spec.landmarks == 98


def test_preparing_sets_the_mean_shape_and_validates_both_readings(data: Path) -> None:
    for name in ("pwc-direct", "pwc-dan", "pwc-hybrid"):
        learner = built(name)
        prepared = NAMES[name].prepare(learner, data, TINY)
        figures = prepared.validate(learner.eval())
        lips = {"nme_lips_closed", "nme_lips_open"} & figures.keys()
        assert lips
        assert figures.keys() == {"nme", "fr"} | lips | ({"nme_soft"} if "hybrid" in name else set())
        assert isinstance(prepared.samples, FaceSamples)
        shape = mean_shape(prepared.samples)
        if "hybrid" not in name:
            found = learner(torch.rand(4, 3, 48, 48))["points"]
            assert float((found - shape).norm(dim=2).mean()) < 5, "begins near the mean shape"
            assert figures["nme"] < 0.35


def test_the_mean_shape_is_that_of_the_plain_crops(eight: FaceSamples, batch: FaceItem) -> None:
    torch.testing.assert_close(mean_shape(eight), batch["points"].mean(dim=0), atol=1e-3, rtol=1e-4)
    eyes = mean_shape(eight)[[*IBUG_68.left_eye, *IBUG_68.right_eye]]
    assert float(eyes[:6, 0].mean()) < float(eyes[6:, 0].mean())


def test_a_checkpoint_builds_the_variant_again(tmp_path: Path, batch: FaceItem) -> None:
    learner, recipe = built("pwc-dan-disc"), NAMES["pwc-dan-disc"]
    description = recipe.described(TINY)
    learner.network.start_from(batch["points"].mean(dim=0))
    schedule = replace(recipe.schedule_for(TINY), steps=2, batch=2)
    train(learner, Repeated(batch), schedule, tmp_path, description=description)
    again, images = load_trained(tmp_path / "latest.pt"), batch["image"]
    torch.testing.assert_close(again.learner(images)["points"], learner.eval()(images)["points"])


def test_sizes_whose_maps_or_features_would_not_fit_are_refused() -> None:
    for name in ("pwc", "pwc-distribution"):
        with pytest.raises(NasionError, match=r"size 100 is not a multiple of 8; .* try 96 or 104"):
            NAMES[name].build(Options(size=100))
    with pytest.raises(NasionError, match=r"size 111 is not a multiple of 2; .* DAN.* try 110 or 112"):
        NAMES["pwc-dan"].build(Options(size=111))


def test_direct_regression_of_the_first_version_answers_in_pixels(tmp_path: Path, batch: FaceItem) -> None:
    learner, recipe = built("pwc-direct"), NAMES["pwc-direct"]
    assert isinstance(learner.network, DirectRegression)
    learner.network.unit = 1.0
    learner.network.start_from(batch["points"].mean(dim=0))
    old = {"recipe": recipe.name, "options": TINY.described()}  # no version: the first
    save({"average": kept(learner), "description": old, "step": 1, "figures": {}}, tmp_path / "old.pt")
    again, images = load_trained(tmp_path / "old.pt"), batch["image"]
    torch.testing.assert_close(again.learner(images)["points"], learner.eval()(images)["points"])
    assert (again.options.version, recipe.version) == (1, 2)
