"""SD-HRNet: counts, pruning, rewrites for export, the learners of each stage, the whole chain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from nasion.engines.errors import NasionError
from nasion.trainers.augment import Augmentation
from nasion.trainers.checkpoint import TrainingError
from nasion.trainers.export import example, worst_difference, write_model
from nasion.trainers.learner import Learner
from nasion.trainers.loop import train
from nasion.trainers.networks.hrnet import HRNet, HRNetConfig
from nasion.trainers.networks.sd_hrnet import (
    COFW_GRAPH,
    HRNET,
    SUPERNET,
    W300_GRAPH,
    WFLW_GRAPH,
    Graph,
    SDHRNetConfig,
    SHRNet,
    published_count,
)
from nasion.trainers.networks.slimming import Costs, PruningError, from_plain, inherit, plain, prune, without
from nasion.trainers.recipes import Options, Recipe, load_trained
from nasion.trainers.samples import FaceItem, FaceSamples
from nasion.trainers.schedule import Optimiser, Schedule
from nasion.trainers.systems.distilling import DistilLearner, SlimLearner, SupernetLearner, erased, is_factor
from nasion.trainers.systems.heat_maps import Decoding, MapsLearner, read_by, read_maps, validate_maps
from nasion.trainers.systems.sd_hrnet import RECIPES, sigma_of, spec_of
from nasion.trainers.targets import gaussian_maps

from .by_heart import Repeated, assert_learned, eight_faces
from .labelled import write_data

NAMES = {recipe.name: recipe for recipe in RECIPES}
# every kind of operator: up, down by one and by two, identity
EACH = dict.fromkeys(range(3), (0, 1, 2))
SMALL: Graph = (dict.fromkeys(range(3), (0,)), EACH, EACH)
TINY = SDHRNetConfig(68, 64, (6, 6), (4, 6, 8, 10), blocks=1, graph=SMALL)
SIZE = Options(size=64)


def count(network: nn.Module) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if not is_factor(name))


def full(graph: Graph, landmarks: int = 68) -> SHRNet:
    return SHRNet(SDHRNetConfig(landmarks, graph=graph))


def tiny(graph: Graph = SMALL) -> SHRNet:
    """With factors and statistics that differ from each other, as training makes them."""
    torch.manual_seed(0)
    network = SHRNet(replace(TINY, graph=graph))
    for i, transform in enumerate(network.transforms().values()):
        nn.init.constant_(transform.importance, 0.2 + 0.05 * i)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
    nn.init.normal_(network.get_parameter("head.maps.weight"))
    return network.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), each=8)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> FaceSamples:
    return FaceSamples(eight_faces(tmp_path_factory.mktemp("eight")), spec_of("tiny", SIZE), Augmentation())


@pytest.fixture(scope="module")
def batch(eight: FaceSamples) -> FaceItem:
    items: FaceItem = default_collate([eight.crop(i) for i in range(8)])
    return items


# --- graphs and counts


def test_the_supernet_has_the_published_parameters_and_132_factors() -> None:
    network = full(SUPERNET)
    assert count(network) == 3_403_430
    assert published_count(network) == 3_311_292
    assert published_count(network, stem=False) == 3_272_444
    assert len(network.transforms()) == 132
    assert Costs(network).of(SUPERNET) == pytest.approx(933.34, abs=0.01)


@pytest.mark.parametrize(
    ("graph", "landmarks", "parameters", "without_head", "mmac"),
    [
        (W300_GRAPH, 68, 961_134, 868_996, 597.49),
        (COFW_GRAPH, 29, 1_074_637, 1_054_700, 604.31),
        (WFLW_GRAPH, 98, 1_351_348, 1_322_648, 594.94),
    ],
)
def test_the_released_graphs_count_as_the_sheet_says(
    graph: Graph, landmarks: int, parameters: int, without_head: int, mmac: float
) -> None:
    network = full(graph, landmarks)
    assert (count(network), published_count(network)) == (parameters, without_head)
    assert Costs(network).of(graph) == pytest.approx(mmac, abs=0.01)


def test_nothing_in_the_released_graphs_is_dead_and_together_they_use_all_blocks_but_one() -> None:
    blocks = set()
    for graph in (W300_GRAPH, COFW_GRAPH, WFLW_GRAPH):
        assert without(graph, set()) == graph
        blocks |= {(i, target) for i, wiring in enumerate(graph) for target in wiring}
    assert len(blocks) == 36 - 1


def test_hrnet_as_a_supernet_grows_a_branch_where_hrnet_does() -> None:
    assert [len(wiring) for wiring in HRNET] == [2, 3, 3, 3, 3, 4, 4, 4, 4]
    residual = SHRNet(replace(TINY, unit="residual", graph=HRNET)).eval()
    assert residual(torch.rand(1, 3, 64, 64)).shape == (1, 68, 16, 16)
    assert count(residual) > count(SHRNet(replace(TINY, graph=HRNET)))


def test_a_configuration_survives_a_checkpoint() -> None:
    config = replace(TINY, graph=WFLW_GRAPH, unit="residual")
    assert from_plain(plain(config)) == config


# --- pruning


def test_a_block_that_loses_its_sources_or_its_readers_takes_its_operators_along() -> None:
    #    0 -> 0 -> 0 -> 0
    #      -> 1 -> 1 -> 0
    graph: Graph = ({0: (0,), 1: (0,)}, {0: (0,), 1: (1,)}, {0: (0, 1)})
    assert without(graph, {(0, 1, 0)}) == ({0: (0,)}, {0: (0,)}, {0: (0,)}), "downwards"
    assert without(graph, {(2, 0, 1)}) == ({0: (0,)}, {0: (0,)}, {0: (0,)}), "upwards"
    assert without(graph, {(2, 0, 0), (2, 0, 1)}) == ({}, {}, {}), "nothing is left"


def test_factors_below_the_threshold_go_whatever_their_sign() -> None:
    network = tiny()
    gone = {(1, 0, 1), (2, 2, 0), (1, 1, 2)}
    for place in gone:
        nn.init.constant_(network.transforms()[place].importance, -1e-3)
    slim = prune(network, threshold=2e-3)
    assert set(network.transforms()) - set(slim.transforms()) == gone


def test_what_is_pruned_at_no_importance_was_of_no_use() -> None:
    network, images = tiny(), torch.rand(2, 3, 64, 64)
    for place in ((1, 0, 1), (2, 2, 0), (1, 1, 2)):
        nn.init.zeros_(network.transforms()[place].importance)
    slim = prune(network, threshold=1e-6).eval()
    torch.testing.assert_close(slim(images), network(images))
    assert [float(t.importance.detach()) for t in slim.transforms().values()] == pytest.approx(
        [float(network.transforms()[place].importance.detach()) for place in slim.transforms()]
    ), "factors are inherited too"


def test_a_budget_drops_the_least_important_first_and_is_kept() -> None:
    network = tiny()
    costs = Costs(network)
    whole, order = costs.of(SMALL), list(network.transforms())
    least = costs.of(({0: (0,)}, {0: (0,)}, {0: (0,)}))
    spent = []
    for share in (0.9, 0.7, 0.5):
        budget = least + share * (whole - least)
        slim = prune(network, budget=budget)
        spent.append(costs.of(slim.config.graph))
        assert spent[-1] <= budget
        assert Costs(slim).of(slim.config.graph) == pytest.approx(spent[-1])
        left = [order.index(place) for place in slim.transforms()]
        assert min(left) > 0, "factors rise in order: the first is the least"
    assert spent == sorted(spent, reverse=True)
    assert prune(network, budget=whole).config.graph == SMALL


def test_the_head_keeps_the_channels_of_the_branches_that_are_left() -> None:
    network = tiny()
    slim = inherit(network, without(SMALL, {(2, 1, source) for source in range(3)}))
    assert slim.branches == (0, 2)
    kept = [0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17]
    torch.testing.assert_close(
        slim.get_parameter("head.mix.weight"), network.get_parameter("head.mix.weight")[kept][:, kept]
    )
    torch.testing.assert_close(slim.get_buffer("head.norm.running_var"), torch.ones(12))
    assert slim(torch.rand(1, 3, 64, 64)).shape == (1, 68, 16, 16)


def test_what_cannot_be_pruned_is_said() -> None:
    with pytest.raises(PruningError, match="threshold is None and budget None; give one of the two"):
        prune(tiny())
    with pytest.raises(
        PruningError, match="no operator has a factor of 9 or more; give a lower threshold, or a budget"
    ):
        prune(tiny(), threshold=9)
    with pytest.raises(PruningError, match=r"budget 0.1 MMAC is less than .* \(\d+ MMAC\)"):
        prune(tiny(), budget=0.1)


# --- rewrites that change nothing


def test_the_head_in_another_order_and_folded_factors_change_nothing() -> None:
    network, images = tiny(), torch.rand(2, 3, 64, 64)
    published = network(images)
    assert published.std() > 0.1
    network.reordered = True
    torch.testing.assert_close(network(images), published, atol=1e-4, rtol=1e-4)
    network.fold()
    torch.testing.assert_close(network(images), published, atol=1e-4, rtol=1e-4)
    folded = [transform.folded for transform in network.transforms().values()]
    assert folded.count(False) == 6, "the identities"


# --- reading the maps


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_the_soft_reading_finds_a_gaussians_centre_where_the_other_is_a_quarter_off(sigma: float) -> None:
    cells = torch.tensor(np.random.default_rng(0).uniform(5, 26, (1, 200, 2)), dtype=torch.float32)
    window = 2 * int(np.ceil(3 * sigma)) + 1
    maps = gaussian_maps(cells, 32, 32, sigma=sigma, window=window)
    crop = (cells + 0.5) * 4 - 0.5
    hard, peak = read_maps(maps, "arg_max", reach=3)
    soft, _ = read_maps(maps, "soft_arg_max", reach=int(np.ceil(3 * sigma)))
    assert 0.4 < float((hard - crop).norm(dim=2).mean()) < 1.0, "pixels"
    assert float((soft - crop).norm(dim=2).max()) < 0.1
    assert ((peak > 0.7) & (peak <= 1)).all()


def test_targets_are_as_large_on_the_face_at_256_pixels_and_never_narrower_than_a_cell() -> None:
    def cells(of_set: str, size: int) -> float:
        options = Options(set=of_set, size=size)
        return sigma_of(options, spec_of("x", options))

    assert [cells("300w", 256), cells("wflw", 256), cells("wflw", 192), cells("300w", 128)] == [1.0, 1.5, 1.125, 1.0]


def test_a_learner_reads_its_maps_as_it_is_told() -> None:
    learner, images = SlimLearner(tiny(), spec_of("x", SIZE), sigma=1.0).eval(), torch.rand(2, 3, 64, 64)
    soft = learner(images)["points"]
    read_by(learner, "arg_max")
    hard = learner(images)["points"]
    assert ((hard + 0.5) % 1).abs().max() < 1e-4, "quarters of a cell are pixels"
    assert (hard - soft).abs().max() > 0.1
    torch.testing.assert_close(learner.exported()(images)["points"], hard)
    with pytest.raises(NasionError, match="a Learner leaves no choice of decoding"):
        read_by(Learner(), "arg_max")


# --- learners


def test_factors_and_weights_are_learned_in_turn(batch: FaceItem) -> None:
    learner = SupernetLearner(tiny(), spec_of("x", SIZE), sigma=1.0, passes=(2, 3))
    assert [learner.turn(step) for step in range(6)] == ["importance"] * 2 + ["weights"] * 3 + ["importance"]
    factors, weights = learner.trained("importance"), learner.trained("weights")
    assert len(factors) == len(learner.network.transforms())
    assert len(factors) + len(weights) == len(list(learner.parameters()))
    for turn, ours, others in (("importance", factors, weights), ("weights", weights, factors)):
        learner.zero_grad()
        parts = learner.losses(batch, turn)
        torch.stack(list(parts.values())).sum().backward()
        assert all(p.grad is not None for p in ours)
        assert all(p.grad is None for p in others), "no time is lost on gradients that nobody uses"
    total = sum(abs(float(p.detach())) for p in factors)
    assert float(parts["sparsity"]) == pytest.approx(5e-5 * total, rel=1e-5)


def test_erasing_covers_its_share_inside_each_image_by_itself() -> None:
    torch.manual_seed(0)
    changed = erased(torch.ones(400, 3, 64, 64)) == 0
    assert (changed.all(dim=1) == changed.any(dim=1)).all(), "all colours alike"
    part = changed[:, 0].float().mean(dim=(1, 2))
    assert 0.42 < float((part > 0).float().mean()) < 0.58
    part = part[part > 0]
    assert 0.015 < float(part.min()) < float(part.max()) < 0.105
    rows = changed[:, 0].any(dim=2).sum(dim=1)
    columns = changed[:, 0].any(dim=1).sum(dim=1)
    assert (rows * columns == changed[:, 0].sum(dim=(1, 2))).all(), "rectangles"


class Seen(HRNet):
    """A teacher that remembers what it was shown."""

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return super().forward(images)


TEACHER = HRNetConfig(68, (4, 6, 8, 10), (1, 1, 1), blocks=1, stem=4, bottlenecks=1)


def students(*, peer: float = 4.0, teacher: float = 1.0, masks: bool = True) -> DistilLearner:
    learner = DistilLearner(tiny(), spec_of("x", SIZE), sigma=1.0, peer=peer, teacher=teacher, masks=masks)
    learner.teacher = Seen(TEACHER)
    return learner.train()


def test_the_teacher_sees_clean_crops_and_never_changes(batch: FaceItem) -> None:
    learner, images = students(), batch["image"].clone()
    parts = learner.losses(batch, "all")
    assert set(parts) == {"maps1", "peer1", "teacher1", "maps2", "peer2", "teacher2"}
    assert isinstance(learner.teacher, Seen)
    assert torch.equal(learner.teacher.images, images)
    assert torch.equal(batch["image"], images), "students' masks are not drawn into the batch"
    assert not learner.teacher.training
    assert not any(p.requires_grad for p in learner.teacher.parameters())


def test_students_learn_from_their_mean_but_do_not_pull_at_it(batch: FaceItem) -> None:
    learner = students(teacher=0.0)
    learner.losses(batch, "all")["peer1"].backward()
    assert learner.second is not None
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learner.network.parameters())
    assert all(p.grad is None for p in learner.second.parameters())
    assert all(p.grad is None for name, p in learner.named_parameters() if is_factor(name))


def test_with_equal_students_and_no_masks_peers_have_nothing_to_say(batch: FaceItem) -> None:
    learner = students(teacher=0.0, masks=False)
    assert float(learner.losses(batch, "all")["peer1"].detach()) == pytest.approx(0, abs=1e-6)
    torch.manual_seed(0)
    assert float(students(teacher=0.0).losses(batch, "all")["peer1"].detach()) > 1e-6


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sd-hrnet-table6-none", {"maps1"}),
        ("sd-hrnet-table6-teacher", {"maps1", "teacher1"}),
        ("sd-hrnet-table6-peer", {"maps1", "peer1", "teacher1", "maps2", "peer2", "teacher2"}),
    ],
)
def test_the_ablations_leave_out_what_table_6_leaves_out(name: str, parts: set[str], batch: FaceItem) -> None:
    learner = NAMES[name].build(Options(size=64, structure={"config": plain(TINY), "size": 64}))
    assert isinstance(learner, DistilLearner)
    assert not learner.masks
    learner.teacher = HRNet(TEACHER) if learner.teaching else None
    assert set(learner.train().losses(batch, "all")) == parts


# wide enough to learn faces by heart within seconds
WIDER = replace(TINY, stem=(12, 12), widths=(8, 12, 16, 20))


def learner_of(kind: str, config: SDHRNetConfig = TINY) -> MapsLearner:
    torch.manual_seed(0)
    spec = spec_of("x", SIZE)
    if kind == "teacher":
        return MapsLearner(HRNet(TEACHER), spec, sigma=1.0)
    network = SHRNet(replace(config, graph=COFW_GRAPH) if kind == "released" else config)
    if kind == "supernet":
        return SupernetLearner(network, spec, sigma=1.0, passes=(2, 8))
    if kind in ("slim", "released"):
        return SlimLearner(network, spec, sigma=1.0)
    learner = DistilLearner(network, spec, sigma=1.0, peer=4.0, teacher=1.0, masks=False)
    learner.teacher = HRNet(TEACHER)
    return learner


def schedule(steps: int, turns: tuple[str, ...]) -> Schedule:
    return Schedule(steps, 8, tuple(Optimiser("adam", 1e-2, 0.0, turn=turn) for turn in turns), validate_every=2)


def learn(learner: MapsLearner, batch: FaceItem, folder: Path) -> None:
    """Some hundred fast steps on eight faces."""
    turns = ("importance", "weights") if isinstance(learner, SupernetLearner) else ("all",)
    optimisers = tuple(Optimiser("adam", 2e-2, 0.0, warmup=5, turn=turn) for turn in turns)
    train(learner, Repeated(batch), Schedule(120, 8, optimisers), folder)
    learner.eval()


@torch.no_grad()
def assert_by_heart(learner: MapsLearner, network: nn.Module, batch: FaceItem) -> None:
    """By both readings, of which the papers' is exact to a pixel: a quarter of a cell."""
    maps = network(batch["image"])
    for decoding in get_args(Decoding):
        found, _ = read_maps(maps, decoding, reach=learner.reach)
        assert_learned(found, batch["points"], within=2)


@pytest.fixture(scope="module")
def taught(batch: FaceItem, tmp_path_factory: pytest.TempPathFactory) -> MapsLearner:
    """A teacher that knows the eight faces."""
    learner = learner_of("teacher")
    learn(learner, batch, tmp_path_factory.mktemp("teacher"))
    return learner


def test_the_teacher_learns_eight_faces_by_heart(taught: MapsLearner, eight: FaceSamples, batch: FaceItem) -> None:
    assert_by_heart(taught, taught.network, batch)
    figures = validate_maps(taught, eight.data, taught.spec)
    assert figures.keys() == {"nme", "fr", "nme_soft", "fr_soft"}
    assert max(figures["nme"], figures["nme_soft"]) < 0.1


@pytest.mark.parametrize("kind", ["supernet", "slim", "released"])
def test_eight_faces_are_learned_by_heart(kind: str, batch: FaceItem, tmp_path: Path) -> None:
    learner = learner_of(kind, WIDER)
    learn(learner, batch, tmp_path)
    assert_by_heart(learner, learner.network, batch)


def test_two_students_with_a_teacher_learn_eight_faces_by_heart(
    taught: MapsLearner, batch: FaceItem, tmp_path: Path
) -> None:
    learner = learner_of("distil", WIDER)
    assert isinstance(learner, DistilLearner)
    assert isinstance(taught.network, HRNet)
    learner.teacher, learner.masks = taught.network, True
    learn(learner, batch, tmp_path)
    first, second = learner.students
    for student in (first, second):
        assert_by_heart(learner, student, batch)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["supernet", "distil"])
def test_a_stage_that_was_stopped_goes_on_as_if_it_had_not_been(kind: str, batch: FaceItem, tmp_path: Path) -> None:
    def run(folder: str, stop: int = 0) -> list[dict[str, float]]:
        parts: list[dict[str, float]] = []

        def validate(_: nn.Module) -> dict[str, float]:
            if len(parts) == stop > 0:
                raise KeyboardInterrupt
            return {"loss": 1.0}

        turns = ("importance", "weights") if kind == "supernet" else ("all",)
        learner = learner_of(kind)
        if isinstance(learner, DistilLearner):
            learner.masks = True
            torch.manual_seed(1)
            learner.teacher = HRNet(TEACHER)
        train(
            learner,
            Repeated(batch),
            schedule(6, turns),
            tmp_path / folder,
            validate=validate,
            watch=lambda state, part, values: parts.append(dict(values)),
        )
        return parts

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", stop=4)
    assert run("broken") == whole[4:]


# --- recipes


def command(name: str, data: Path, folder: Path, options: Options, *, steps: int = 0) -> Path:
    """What ``nasion train`` does."""
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
        description={"recipe": name, "options": options.described()},
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


def test_the_file_says_what_the_learner_says(tmp_path: Path) -> None:
    graph: Graph = ({0: (0,), 1: (0,)}, {0: (0, 1)})
    learner = SlimLearner(tiny(graph), spec_of("x", SIZE), sigma=1.0)
    network, path, images = learner.exported().eval(), tmp_path / "slim.onnx", example(learner.spec)
    write_model(network, learner.spec, path)
    assert max(worst_difference(network, learner.spec, path, images).values()) < 1e-3
    with torch.no_grad():
        torch.testing.assert_close(learner.eval()(images)["points"], network(images)["points"], atol=1e-3, rtol=0)


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
    with pytest.raises(TrainingError, match="197 steps never come to the turn 'weights'; give at least 198 steps"):
        command("sd-hrnet-supernet", data, tmp_path, Options(size=64, width=0.1), steps=197)


def test_the_papers_schedule_is_the_default_and_minutes_cut_it() -> None:
    supernet = NAMES["sd-hrnet-supernet"].schedule_for(Options())
    assert (supernet.steps, supernet.batch) == (2 * 60 * 197, 16)
    factors, weights = supernet.optimisers
    assert [factors.rate_at(part, 0) for part in (0, 0.99)] == [1.8e-4, 1.8e-4]
    assert [weights.rate_at(part, 0) for part in (0, 0.66, 0.67, 0.84)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6])
    assert weights.decay == 4e-5
    (teacher,) = NAMES["sd-hrnet-teacher"].schedule_for(Options()).optimisers
    assert [teacher.rate_at(part, 0) for part in (0.49, 0.51, 0.84)] == pytest.approx([1e-4, 1e-5, 1e-6])
    wflw = NAMES["sd-hrnet-wflw"].schedule_for(Options(set="wflw"))
    assert (wflw.batch, wflw.optimisers[0].rate, wflw.steps) == (32, 2e-4, 60 * 235)
    (short,) = NAMES["sd-hrnet-slim"].schedule_for(Options(minutes=60)).optimisers
    assert short.drops is None
    assert short.rate_at(0.0, 500) == pytest.approx(1e-3)
    assert short.rate_at(1.0, 500) == pytest.approx(1e-5)


def test_what_is_missing_is_asked_for(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NasionError, match=r"goes on from an earlier stage; give --start RUN/best.pt"):
        NAMES["sd-hrnet-slim"].build(Options())
    with pytest.raises(NasionError, match="size 100 is not a multiple of 32"):
        NAMES["sd-hrnet-teacher"].build(Options(size=100))
    teacher = command("sd-hrnet-teacher", data, tmp_path, Options(size=32, width=0.05))
    with pytest.raises(NasionError, match="holds a MapsLearner; sd-hrnet-slim starts from a supernet or slim net"):
        NAMES["sd-hrnet-slim"].build(Options(start=teacher))
    slim = command("sd-hrnet-cofw", data, tmp_path, Options(size=64, width=0.05))
    with pytest.raises(NasionError, match=r"give --teacher RUN/best.pt of sd-hrnet-teacher"):
        NAMES["sd-hrnet-distil"].build(Options(start=slim))
    with pytest.raises(
        NasionError, match="68 points at 32 px, the students 68 points at 64 px; their maps must be alike"
    ):
        NAMES["sd-hrnet-distil"].build(Options(start=slim, teacher=teacher))
    with pytest.raises(NasionError, match="finds 68 points, cofw has 29; choose another --set"):
        NAMES["sd-hrnet-slim"].build(Options(start=slim, set="cofw"))
