"""CHS: counts as published, each part of the network, its losses, cutting stages, learning, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from nasion.trainers.augment import CHS_LOOKS, Augmentation
from nasion.trainers.checkpoint import TrainingError
from nasion.trainers.counting import multiply_accumulates, parameters
from nasion.trainers.datasets import read_set
from nasion.trainers.export import example, worst_difference, write_model
from nasion.trainers.loop import train
from nasion.trainers.networks.chs import CHS, Cascade, CHSConfig, RegressionStage, attention_of, windows
from nasion.trainers.networks.hourglass import HourglassConfig, StackedHourglass
from nasion.trainers.networks.selective_features import Attention, Mixture, SelectiveFeatures
from nasion.trainers.recipes import Options, load_trained
from nasion.trainers.samples import FaceItem, FaceSamples, validate_points
from nasion.trainers.systems.chs import AUGMENTATION, RECIPES, CHSLearner, maps_loss, validate_stages

from .by_heart import assert_learned, eight_faces
from .labelled import write_data

NAMES = {recipe.name: recipe for recipe in RECIPES}
TINY = Options(set="aflw", size=64, width=1 / 16)  # 19 points: quick
SMALL = CHSConfig(landmarks=19, size=64, stacks=1, stages=2, width=1 / 16)


def built(name: str, options: Options = TINY) -> CHSLearner:
    torch.manual_seed(0)
    learner = NAMES[name].build(options)
    assert isinstance(learner, CHSLearner)
    return learner


def item(count: int = 2, landmarks: int = 19, size: int = 64) -> FaceItem:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.rand(count, 3, size, size, generator=generator),
        "points": torch.rand(count, landmarks, 2, generator=generator) * (size - 9) + 4,
        "known": torch.ones(count, landmarks),
        "visible": torch.ones(count, landmarks),
    }


# --- counts


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("chs-awing", 24_153_036),
        ("chs-sf", 24_154_996),
        ("chs-0ccr", 24_154_996),
        ("chs-1ccr", 56_624_804),
        ("chs-2ccr", 89_094_612),
        ("chs", 154_034_228),
    ],
)
def test_the_networks_have_as_many_weights_as_published(name: str, count: int) -> None:
    with torch.device("meta"):
        learner = built(name, Options(set="wflw"))
    assert parameters(learner.network) == count


@pytest.mark.parametrize(
    ("landmarks", "millions"),
    [
        (19, (24.0, 30.7, 37.4, 50.8)),
        (29, (24.0, 34.0, 43.9, 63.8)),
        (68, (24.1, 46.8, 69.4, 114.7)),
        (106, (24.2, 59.3, 94.4, 164.5)),
    ],
)
def test_other_schemes_have_the_weights_worked_out_for_them(landmarks: int, millions: tuple[float, ...]) -> None:
    with torch.device("meta"):
        networks = [CHS(CHSConfig(landmarks=landmarks, stages=stages)) for stages in (0, 1, 2, 4)]
    assert tuple(round(parameters(network) / 1e6, 1) for network in networks) == millions


def test_the_parts_of_a_stage_have_as_many_weights_as_published() -> None:
    with torch.device("meta"):
        stage = RegressionStage(CHSConfig(), 128)
        first = attention_of(CHSConfig(), task=0, inputs=128, outputs=256)
    assert parameters(first) == 90_024
    parts = (stage.attention, stage.block, stage.tail, stage.offset)
    assert [parameters(part) for part in parts] == [731_724, 28_976_640, 2_607_584, 153_860]


def test_one_stage_multiplies_as_often_as_published() -> None:
    with torch.device("meta"):
        network = CHS(CHSConfig(stages=1))
    assert multiply_accumulates(network, (1, 3, 256, 256), convention="thop") == pytest.approx(30.517e9, abs=5e5)


def test_no_stage_and_no_attention_is_awing() -> None:
    torch.manual_seed(0)
    plain = StackedHourglass(HourglassConfig(landmarks=19, size=64, stacks=2, width=1 / 16)).eval()
    network = CHS(CHSConfig(landmarks=19, size=64, stacks=2, width=1 / 16, stages=0, attention="none")).eval()
    weights = plain.state_dict()
    renamed = {
        name.replace("extractor.", "stem.").replace("heatmaps.", "stacks."): name for name in network.state_dict()
    }
    network.load_state_dict({mine: weights[theirs] for theirs, mine in renamed.items()})
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(images).maps, plain(images))


# --- parts


def test_a_window_at_whole_cells_is_a_cutting() -> None:
    features = torch.rand(1, 3, 9, 9)
    seen = windows(features, torch.tensor([[[4.0, 5.0], [2.0, 6.0]]]), 5)
    torch.testing.assert_close(seen[0, 0], features[0, :, 3:8, 2:7])
    torch.testing.assert_close(seen[0, 1], features[0, :, 4:9, 0:5])


def test_a_window_between_cells_is_interpolated() -> None:
    features = torch.arange(9.0).expand(1, 1, 9, 9)
    seen = windows(features, torch.tensor([[[4.25, 4.0]]]), 3)
    torch.testing.assert_close(seen[0, 0, 0], torch.tensor([3.25, 4.25, 5.25]).expand(3, 3))


def test_no_gradient_says_where_a_window_should_lie() -> None:
    cells = torch.full((1, 1, 2), 4.3, requires_grad=True)
    assert not windows(torch.rand(1, 1, 9, 9), cells, 5).requires_grad


def test_a_mixture_weighs_channel_by_channel_to_a_sum_of_one() -> None:
    mixture = Mixture(4, 3, 4)
    one = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(mixture([one, one, one]), one)
    others = [torch.full_like(one, value) for value in (0.0, 1.0, 2.0)]
    mixed = mixture(others)
    assert mixed.std(dim=(2, 3)).max() < 1e-6  # one weight for a channel, wherever
    assert 0 < mixed.min() < mixed.max() < 2


@pytest.mark.parametrize("attention", ["none", "cbam", "sk", "sdfl", "sf"])
@pytest.mark.parametrize("guided", [True, False])
def test_only_guided_attention_over_levels_looks_at_the_maps(attention: Attention, guided: bool) -> None:
    torch.manual_seed(0)
    config = replace(SMALL, attention=attention, guided=guided)
    module = attention_of(config, task=1, inputs=8, outputs=8).eval()
    levels = [torch.rand(1, 8, 6, 6) for _ in range(3)]
    seen = [module(levels, maps) for maps in (torch.zeros(1, 20, 6, 6), torch.rand(1, 20, 6, 6))]
    assert seen[0].shape == (1, 8, 6, 6)
    assert (not torch.equal(*seen)) == (guided and attention in ("sdfl", "sf"))


@pytest.mark.parametrize("attention", ["cbam", "sk", "sdfl"])
def test_other_attention_is_of_the_stages_alone(attention: Attention) -> None:
    """Table 7 puts it "to the network layer of the four CCRs"."""
    ours, theirs = CHS(SMALL), CHS(replace(SMALL, attention=attention))
    for part in ("extractor", "attention", "heatmaps"):
        assert str(theirs.get_submodule(part)) == str(ours.get_submodule(part)), part
    assert str(theirs.stages) != str(ours.stages)


def test_every_level_reaches_the_selected_features() -> None:
    module = SelectiveFeatures(4, 8, narrow=4, width=4, hidden=4, maps=0, levels=3)
    levels = [torch.rand(2, 4, 6, 6, requires_grad=True) for _ in range(3)]
    module(levels).square().sum().backward()
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in levels)


def test_each_landmark_has_kernels_of_its_own() -> None:
    torch.manual_seed(0)
    stage = RegressionStage(SMALL, 8).eval()
    seen = torch.rand(1, 19 * 8, 5, 5)
    changed = seen.clone()
    changed[:, 3 * 8 : 4 * 8] += 1  # the fourth landmark's window
    moved = (stage.block(changed) - stage.block(seen)).view(19, -1).abs().amax(dim=1) > 1e-6
    assert moved.nonzero().flatten().tolist() == [3]
    same = stage.block(seen[:, :8].repeat(1, 19, 1, 1)).view(19, -1)
    assert (same[0] - same[1]).abs().max() > 1e-3


def test_points_start_from_the_maps_and_each_stage_adds_its_offset() -> None:
    torch.manual_seed(0)
    network = CHS(SMALL).eval()
    with torch.no_grad():
        for number, stage in enumerate(network.stages, 1):
            assert isinstance(stage, RegressionStage)
            stage.offset.weight.zero_()
            stage.offset.bias.fill_(number)
        out: Cascade = network(torch.rand(2, 3, 64, 64))
    peak, place = out.maps[-1][:, :-1].flatten(2).max(dim=2)
    whole = torch.stack([place % 16, place // 16], dim=2)
    assert (out.cells[0] - whole).abs().max() <= 0.25
    torch.testing.assert_close(out.peak, peak)
    torch.testing.assert_close(out.cells[1], out.cells[0] + 1)
    torch.testing.assert_close(out.cells[2], out.cells[0] + 3)


@pytest.mark.parametrize(
    ("routing", "earlier", "maps"), [("ccr", True, False), ("full", True, True), ("task", False, False)]
)
def test_gradients_go_back_as_far_as_the_routing_says(routing: str, earlier: bool, maps: bool) -> None:
    torch.manual_seed(0)
    network = CHS(replace(SMALL, routing=routing))
    network(torch.rand(2, 3, 64, 64)).cells[-1].square().sum().backward()

    def reached(module: torch.nn.Module) -> bool:
        return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())

    assert reached(network.stages[1])
    assert reached(network.extractor)
    assert reached(network.stages[0]) == earlier
    assert reached(network.heatmaps) == maps


# --- losses


def drawn(points: Tensor) -> Tensor:
    """The maps (B, 20, 16, 16) that a network should make of points in cells."""
    from nasion.trainers.targets import BOUNDARIES, boundary_maps, gaussian_maps

    outline = boundary_maps(points, 16, 16, curves=BOUNDARIES[19], merged=True)
    return torch.cat([gaussian_maps(points, 16, 16, sigma=1.75, window=7), outline], dim=1)


def test_perfect_maps_cost_nothing_and_every_stack_counts() -> None:
    points, known = torch.rand(2, 19, 2) * 15, torch.ones(2, 19)
    perfect = drawn(points)
    assert maps_loss([perfect], points, known) == 0
    one = maps_loss([perfect + 0.1], points, known)
    assert one > 0
    torch.testing.assert_close(maps_loss([perfect + 0.1] * 3, points, known), 3 * one)


def test_maps_of_what_is_not_annotated_do_not_count() -> None:
    points, known = torch.rand(2, 19, 2) * 15, torch.ones(2, 19)
    known[0, 4] = 0
    maps = drawn(points)
    maps[0, 4] += 1  # not annotated
    maps[0, 19] += 1  # the outline, of which a piece may be missing
    assert maps_loss([maps], points, known) == 0
    maps[1, 19] += 1
    assert maps_loss([maps], points, known) > 0


class Told(CHS):
    """A network that answers what it was told."""

    def __init__(self, answer: Cascade) -> None:
        super().__init__(replace(SMALL, stages=len(answer.cells) - 1))
        self.answer = answer

    def forward(self, images: Tensor) -> Cascade:
        return self.answer


def stage_losses(batch: FaceItem, off: float, *, weighting: str = "none") -> dict[str, float]:
    """Losses of a network whose maps are perfect and whose two stages are ``off`` cells wrong in x and y."""
    side = batch["image"].shape[-1] // 4
    cells = (batch["points"] + 0.5) / 4 - 0.5
    answer = Cascade([torch.zeros(2, 20, side, side)], [cells, cells + off, cells + off], torch.ones(2, 19))
    learner = CHSLearner(Told(answer), built("chs").spec, weighting)  # type: ignore[arg-type]
    return {name: float(value.detach()) for name, value in learner.losses(batch, "all").items()}


def test_a_stage_is_charged_by_the_pixel_of_a_256_crop() -> None:
    # one cell of 16 is 16 pixels of 256: 8 ln(1 + 16 / 10)
    assert stage_losses(item(), 1.0)["stage1"] == pytest.approx(8 * np.log(2.6), rel=1e-5)
    assert stage_losses(item(size=128), 2.0)["stage1"] == pytest.approx(8 * np.log(2.6), rel=1e-5)


def test_a_stage_is_not_charged_for_points_outside_the_crop_or_unknown() -> None:
    batch = item()
    wrong = stage_losses(batch, 1.0)["stage2"]
    batch["points"][0, 0] = torch.tensor([-20.0, 5])
    assert stage_losses(batch, 1.0)["stage2"] == pytest.approx(wrong, rel=1e-5)
    batch["known"][:] = 0
    assert stage_losses(batch, 1.0)["stage2"] == 0


def test_fixed_weights_count_the_last_stage_threefold() -> None:
    plain, fixed, learned, both = (
        stage_losses(item(), 1.0, weighting=weighting) for weighting in ("none", "fixed", "adaptive", "both")
    )
    assert fixed == pytest.approx(plain | {"stage2": 3 * plain["stage2"]})
    assert learned == pytest.approx(plain)  # sigma begins at 1
    assert both == pytest.approx(fixed)


def test_learned_weights_follow_the_losses() -> None:
    learner = built("chs")
    assert learner.adaptive is not None
    sum(learner.losses(item(), "all").values()).backward()  # type: ignore[union-attr]
    gradient = learner.adaptive.log_sigma.grad
    assert gradient is not None
    assert (gradient < 0).all()  # every loss is above 1 at first: sigma rises
    assert built("chs-fixed").adaptive is None
    assert built("chs-awing").adaptive is None


# --- recipes


def test_the_schedule_is_the_papers() -> None:
    schedule = NAMES["chs"].schedule_for(Options())
    (optimiser,) = schedule.optimisers
    assert (schedule.steps, schedule.batch) == (335 * 3148 // 10, 10)
    assert (optimiser.kind, optimiser.momentum, optimiser.decay) == ("sgd", 0.9, 5e-4)
    rates = {epoch: optimiser.rate_at(epoch / 335, 10**6) for epoch in (0, 119.9, 120, 200, 240, 330)}
    expected = {0: 0, 119.9: 0, 120: 1, 200: 2, 240: 3, 330: 21}
    assert rates == pytest.approx({epoch: 1e-2 * 0.75**drops for epoch, drops in expected.items()})


def test_in_minutes_the_optimiser_is_a_faster_one_that_ends_with_them() -> None:
    schedule = NAMES["chs"].schedule_for(Options(minutes=20))
    (optimiser,) = schedule.optimisers
    assert (optimiser.kind, schedule.average) == ("adam", 0.99)
    assert optimiser.rate_at(1.0, 10**6) < 0.02 * optimiser.rate_at(0.0, 10**6)


def test_the_augmentation_is_the_papers() -> None:
    assert (AUGMENTATION.rotation, AUGMENTATION.scale, AUGMENTATION.flip) == (50, (0.85, 1.15), 0.5)
    assert AUGMENTATION.shift * 256 == 25
    assert len(set(CHS_LOOKS)) == 9
    assert AUGMENTATION.looks == CHS_LOOKS


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


# --- training


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
    description = {"recipe": name, "options": options.described()}
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


def small_learner(**changes: int) -> CHSLearner:
    """Two stacks, two halvings, 19 points: quick to train and to export, with every part that there is."""
    torch.manual_seed(0)
    config = CHSConfig(landmarks=19, size=64, stacks=2, depth=2, stages=2, width=1 / 8)
    spec = replace(built("chs").spec, size=(64, 64))
    return CHSLearner(CHS(replace(config, **changes)), spec)  # type: ignore[arg-type]


def test_eight_faces_are_learned_by_heart(tmp_path: Path) -> None:
    learner = small_learner()
    samples = FaceSamples(eight_faces(tmp_path, landmarks=19), learner.spec, Augmentation())
    batch: FaceItem = default_collate([samples.crop(i) for i in range(8)])
    optimiser = torch.optim.Adam(learner.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=60, pct_start=0.2)
    totals = []
    for _ in range(60):
        optimiser.zero_grad()
        total = torch.stack(list(learner.losses(batch, "all").values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rates.step()
        totals.append(float(total.detach()))
    assert np.mean(totals[-5:]) < 0.2 * np.mean(totals[:5])
    with torch.no_grad():
        assert_learned(learner.eval()(batch["image"])["points"], batch["points"], within=2)


def test_the_exported_file_says_what_the_network_says(tmp_path: Path) -> None:
    learner = small_learner(stacks=1, stages=1, depth=1).eval()
    path = tmp_path / "chs.onnx"
    write_model(learner.exported(), learner.spec, path)
    for batch in (1, 3):
        images = example(learner.spec, batch=batch)
        differences = worst_difference(learner.exported(), learner.spec, path, images)
        assert differences["points"] < 1e-3
        assert differences["confidence"] < 1e-4
