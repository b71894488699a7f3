"""CHS's learner: losses of maps and stages and their weights, faces by heart, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceItem, FaceSamples
from nasion.trainers.export.files import example, worst_difference, write_model
from nasion.trainers.networks.chs.network import CHS, Cascade, CHSConfig
from nasion.trainers.systems.chs.learner import CHSLearner, maps_loss

from ...support.training.by_heart import assert_learned, eight_faces
from ...support.training.tiny_chs import SMALL, built


def item(count: int = 2, landmarks: int = 19, size: int = 64) -> FaceItem:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.rand(count, 3, size, size, generator=generator),
        "points": torch.rand(count, landmarks, 2, generator=generator) * (size - 9) + 4,
        "known": torch.ones(count, landmarks),
        "visible": torch.ones(count, landmarks),
    }


# --- losses


def drawn(points: Tensor) -> Tensor:
    """The maps (B, 20, 16, 16) that a network should make of points in cells; of 16 cells, so sigma is at its least."""
    from nasion.trainers.targets import BOUNDARIES, boundary_maps, gaussian_maps

    outline = boundary_maps(points, 16, 16, curves=BOUNDARIES[19], merged=True)
    return torch.cat([gaussian_maps(points, 16, 16, sigma=1.0, window=5), outline], dim=1)


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


def test_a_stage_is_charged_by_the_cell_of_the_papers_maps() -> None:
    # one cell of 16 is 4 cells of 64: 8 ln(1 + 4 / 10)
    assert stage_losses(item(), 1.0)["stage1"] == pytest.approx(8 * np.log(1.4), rel=1e-5)
    assert stage_losses(item(size=128), 2.0)["stage1"] == pytest.approx(8 * np.log(1.4), rel=1e-5)


def test_gaussians_are_as_wide_on_the_face_for_every_crop_but_never_under_a_cell() -> None:
    widths = {}
    for side in (16, 64, 128):
        points = torch.full((1, 19, 2), side / 2)
        wide = torch.zeros(1, 20, side, side, requires_grad=True)
        maps_loss([wide], points, torch.ones(1, 19)).backward()  # type: ignore[no-untyped-call]
        assert wide.grad is not None
        widths[side] = int((wide.grad[0, 0, side // 2] != 0).sum())
    assert widths == {16: 5, 64: 7, 128: 15}


def test_losses_before_weighting_and_the_learned_weights_are_noted() -> None:
    learner = built("chs")
    weighted = learner.losses(item(), "all")
    notes = learner.notes()
    tasks = ("maps", "stage1", "stage2", "stage3", "stage4")
    assert notes.keys() == {f"{kind}_{task}" for kind in ("raw", "log_sigma") for task in tasks}
    assert float(notes["raw_stage4"]) == pytest.approx(float(weighted["stage4"].detach()) / 3)
    assert float(notes["log_sigma_maps"]) == 0
    assert built("chs-sf").notes() == {}


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


# --- learning and export


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
