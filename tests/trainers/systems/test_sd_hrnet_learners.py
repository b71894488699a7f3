"""SD-HRNet's learners of each stage: objectives, distillation, faces by heart, stopped runs, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceItem, FaceSamples
from nasion.trainers.export.files import example, worst_difference, write_model
from nasion.trainers.networks.backbones.hrnet import HRNet, HRNetConfig
from nasion.trainers.networks.sd_hrnet.network import COFW_GRAPH, Graph, SDHRNetConfig, SHRNet
from nasion.trainers.networks.sd_hrnet.slimming import plain
from nasion.trainers.systems.heat_maps import Decoding, MapsLearner, read_maps, validate_maps
from nasion.trainers.systems.sd_hrnet.distilling import (
    DistilLearner,
    SlimLearner,
    SupernetLearner,
    erased,
    is_factor,
)
from nasion.trainers.systems.sd_hrnet.recipes import spec_of
from nasion.trainers.training.loop import train
from nasion.trainers.training.recipes import Options
from nasion.trainers.training.schedule import Optimiser, Schedule

from ...support.training.by_heart import Repeated, assert_learned, eight_faces
from ...support.training.tiny_sd_hrnet import NAMES, SIZE, TINY, tiny

TEACHER = HRNetConfig(68, (4, 6, 8, 10), (1, 1, 1), blocks=1, stem=4, bottlenecks=1)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> FaceSamples:
    return FaceSamples(eight_faces(tmp_path_factory.mktemp("eight")), spec_of("tiny", SIZE), Augmentation())


@pytest.fixture(scope="module")
def batch(eight: FaceSamples) -> FaceItem:
    items: FaceItem = default_collate([eight.crop(i) for i in range(8)])
    return items


# --- the supernet


def test_factors_and_weights_are_learned_in_turn(batch: FaceItem) -> None:
    learner = SupernetLearner(tiny(), spec_of("x", SIZE), sigma=1.0, passes=(2, 3))
    assert [learner.objective(step) for step in range(6)] == ["importance"] * 2 + ["weights"] * 3 + ["importance"]
    factors, weights = learner.trained("importance"), learner.trained("weights")
    assert len(factors) == len(learner.network.transforms())
    assert len(factors) + len(weights) == len(list(learner.parameters()))
    for objective, ours, others in (("importance", factors, weights), ("weights", weights, factors)):
        learner.zero_grad()
        parts = learner.losses(batch, objective)
        torch.stack(list(parts.values())).sum().backward()
        assert all(p.grad is not None for p in ours)
        assert all(p.grad is None for p in others), "no time is lost on gradients that are not used"
    total = sum(abs(float(p.detach())) for p in factors)
    assert float(parts["sparsity"]) == pytest.approx(5e-5 * total, rel=1e-5)


# --- distillation


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
        ("sd-hrnet-masks-only", {"maps1"}),
        ("sd-hrnet-table6-teacher", {"maps1", "teacher1"}),
        ("sd-hrnet-table6-peer", {"maps1", "peer1", "teacher1", "maps2", "peer2", "teacher2"}),
    ],
)
def test_the_ablations_leave_out_what_table_6_leaves_out(name: str, parts: set[str], batch: FaceItem) -> None:
    learner = NAMES[name].build(Options(size=64, structure={"config": plain(TINY), "size": 64}))
    assert isinstance(learner, DistilLearner)
    assert learner.masks == name.endswith("masks-only")
    learner.teacher = HRNet(TEACHER) if learner.teaching else None
    assert set(learner.train().losses(batch, "all")) == parts


# --- learning


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


def schedule(steps: int, objectives: tuple[str, ...]) -> Schedule:
    return Schedule(
        steps, 8, tuple(Optimiser("adam", 1e-2, 0.0, objective=objective) for objective in objectives), validate_every=2
    )


def learn(learner: MapsLearner, batch: FaceItem, folder: Path) -> None:
    """Some hundred fast steps on eight faces."""
    objectives = ("importance", "weights") if isinstance(learner, SupernetLearner) else ("all",)
    optimisers = tuple(Optimiser("adam", 2e-2, 0.0, warmup=5, objective=objective) for objective in objectives)
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

        objectives = ("importance", "weights") if kind == "supernet" else ("all",)
        learner = learner_of(kind)
        if isinstance(learner, DistilLearner):
            learner.masks = True
            torch.manual_seed(1)
            learner.teacher = HRNet(TEACHER)
        train(
            learner,
            Repeated(batch),
            schedule(6, objectives),
            tmp_path / folder,
            validate=validate,
            watch=lambda state, part, values: parts.append(dict(values)),
        )
        return parts

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", stop=4)
    assert run("broken") == whole[4:]


# --- export


def test_the_file_says_what_the_learner_says(tmp_path: Path) -> None:
    graph: Graph = ({0: (0,), 1: (0,)}, {0: (0, 1)})
    learner = SlimLearner(tiny(graph), spec_of("x", SIZE), sigma=1.0)
    network, path, images = learner.exported().eval(), tmp_path / "slim.onnx", example(learner.spec)
    write_model(network, learner.spec, path)
    assert max(worst_difference(network, learner.spec, path, images).values()) < 1e-3
    with torch.no_grad():
        torch.testing.assert_close(learner.eval()(images)["points"], network(images)["points"], atol=1e-3, rtol=0)
