"""Learners of the pixel-wise classification study: readings of maps, losses, objectives, faces by heart, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceItem, FaceSamples
from nasion.trainers.export.files import example, worst_difference, write_model
from nasion.trainers.networks.pwc.dan import DAN
from nasion.trainers.networks.pwc.networks import DirectRegression
from nasion.trainers.systems.heat_maps import read_by
from nasion.trainers.systems.pwc.learners import (
    CRITIC,
    FINDER,
    Distribution,
    HeatmapRegression,
    HeightOneRegression,
    Hybrid,
    Maps,
    PixelClassification,
    PrintedPixelClassification,
    Regression,
    SoftReading,
    Study,
)
from nasion.trainers.systems.pwc.recipes import RECIPES
from nasion.trainers.training.loop import train
from nasion.trainers.training.recipes import Options

from ...support.training.by_heart import Repeated, blind_error, distance, eight_faces
from ...support.training.tiny_pwc import NAMES, TINY, batch, built, count, data, eight

__all__ = ["batch", "data", "eight"]  # fixtures


# --- reading the maps


class Drawn(nn.Module):
    """Answers with the same maps whatever it sees."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = nn.Parameter(maps)

    def forward(self, images: Tensor) -> Tensor:
        return self.maps


SPOTS = torch.tensor([[[3.0, 5.0], [10.0, 1.0], [0.0, 15.0]]])


def spots(*, background: int | None) -> Tensor:
    """Logits (1,3 or 4,16,16): a sharp spot a landmark, background map at ``background`` where there is one."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    maps = -((x - SPOTS[..., 0, None, None]) ** 2 + (y - SPOTS[..., 1, None, None]) ** 2) * 4
    if background is None:
        return maps
    nothing = torch.full((1, 1, 16, 16), -2.0)
    return torch.cat([nothing, maps] if background == 0 else [maps, nothing], dim=1)


def reading(kind: type[Maps], background: int | None) -> Maps:
    learner = kind(Drawn(spots(background=background)), replace(built("pwc").spec, size=(16, 16), landmarks=3))
    learner.unit = 2.0  # Gaussians of 1.5 pixels
    return learner


@pytest.mark.parametrize(
    ("kind", "background"), [(Distribution, None), (HeatmapRegression, -1), (PixelClassification, 0), (Hybrid, 0)]
)
def test_both_readings_find_the_spots_that_were_drawn(kind: type[Maps], background: int | None) -> None:
    learner, images = reading(kind, background), torch.zeros(1, 3, 16, 16)
    out = learner(images)
    torch.testing.assert_close(out["points"], SPOTS)
    assert ((out["confidence"] > 0.5) & (out["confidence"] <= 1)).all()
    # the spot in the corner is half outside, so its mean lies a little inside, and more so beside a background
    beside = background is not None and kind is not Hybrid
    torch.testing.assert_close(SoftReading(learner)(images)["points"], SPOTS, atol=0.12 if beside else 0.05, rtol=0)


def test_the_decoding_that_is_asked_for_is_exported() -> None:
    learner, images = reading(PixelClassification, 0), torch.zeros(1, 3, 16, 16)
    by_peak = learner.exported()(images)["points"]
    read_by(learner, "soft_arg_max")
    by_mean = learner.exported()(images)["points"]
    torch.testing.assert_close(by_peak, SPOTS)
    torch.testing.assert_close(by_mean, SoftReading(learner)(images)["points"])
    assert (by_mean - by_peak).norm(dim=2)[0, 2] > 1e-3  # the spot in the corner


def test_the_best_maps_cost_least() -> None:
    """Each loss prefers the drawn maps, whose peaks lie on the landmarks, to maps shifted by a pixel."""
    item = {"image": torch.zeros(1, 3, 16, 16), "points": SPOTS, "known": torch.ones(1, 3)}
    kinds = (
        *((Distribution, None), (HeatmapRegression, -1), (HeightOneRegression, -1)),
        *((PixelClassification, 0), (PrintedPixelClassification, 0)),
    )
    for kind, background in kinds:
        learner = reading(kind, background)
        right = learner.losses(item, "all")  # type: ignore[arg-type]
        with torch.no_grad():
            learner.network.maps.copy_(learner.network.maps.roll(1, dims=3))
        wrong = learner.losses(item, "all")  # type: ignore[arg-type]
        assert right.keys() == wrong.keys() == ({"pixels"} if issubclass(kind, PixelClassification) else {"maps"})
        assert all(right[name].item() < wrong[name].item() for name in right), kind


def test_a_perfect_distribution_costs_the_entropy_of_its_gaussian() -> None:
    learner = reading(Distribution, None)
    points = torch.tensor([[[7.0, 8.0], [8.0, 8.0], [7.5, 7.2]]])
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    square = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    with torch.no_grad():
        learner.network.maps.copy_(-square / (2 * 1.5**2))
    item = {"image": torch.zeros(1, 3, 16, 16), "points": points, "known": torch.ones(1, 3)}
    entropy = 1 + np.log(2 * np.pi * 1.5**2)
    loss = learner.losses(item, "all")["maps"]  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(3 * entropy, rel=1e-3)


def test_points_outside_the_crop_teach_no_map() -> None:
    item = {"image": torch.zeros(1, 3, 16, 16), "points": SPOTS - 40, "known": torch.ones(1, 3)}
    learner = reading(Distribution, None)
    assert float(learner.losses(item, "all")["maps"]) == 0  # type: ignore[arg-type]


def test_the_loss_of_the_pixels_is_a_sum_per_landmark_and_as_printed_a_mean() -> None:
    item = {"image": torch.zeros(2, 3, 16, 16), "points": SPOTS.expand(2, -1, -1), "known": torch.ones(2, 3)}
    item["known"][1, 2] = 0
    losses = []
    for kind in (PixelClassification, PrintedPixelClassification):
        learner = reading(kind, 0)
        learner.network.maps = nn.Parameter(learner.network.maps.detach().expand(2, -1, -1, -1))  # type: ignore[assignment]
        alone = [
            learner.map_losses(learner.network.maps[i : i + 1], {k: v[i : i + 1] for k, v in item.items()})  # type: ignore[index, operator, arg-type]
            for i in range(2)
        ]
        losses.append([float(each["pixels"].detach()) for each in alone])
        both = learner.losses(item, "all")["pixels"]  # type: ignore[arg-type]
        assert float(both.detach()) == pytest.approx(np.mean(losses[-1]))
    assert losses[0][0] == pytest.approx(losses[1][0] * 256 / 3)
    assert losses[0][1] == pytest.approx(losses[1][1] * 256 / 2)


def test_landmarks_in_one_place_share_its_pixel() -> None:
    """Lips of a closed mouth: each gets half of the pixel, so the best answer finds both."""
    points = SPOTS.clone()
    points[0, 1] = points[0, 0]
    learner = reading(PixelClassification, 0)
    maps = torch.full((1, 4, 16, 16), -20.0)
    maps[:, 0] = 0
    maps[0, :3, 5, 3] = torch.tensor([-20.0, 0.0, 0.0])
    maps[0, [0, 3], 15, 0] = torch.tensor([-20.0, 0.0])
    with torch.no_grad():
        learner.network.maps.copy_(maps)
    item = {"image": torch.zeros(1, 3, 16, 16), "points": points, "known": torch.ones(1, 3)}
    assert float(learner.losses(item, "all")["pixels"]) == pytest.approx(2 / 3 * 0.5 * 2 * np.log(2) / 2 * 1, abs=0.02)  # type: ignore[arg-type]
    torch.testing.assert_close(learner(torch.zeros(1, 3, 16, 16))["points"], points)


def test_the_gaussians_are_as_high_as_their_recipes_say() -> None:
    assert reading(HeatmapRegression, -1).height == pytest.approx(1 / (2 * np.pi * 1.5**2))  # type: ignore[attr-defined]
    assert reading(HeightOneRegression, -1).height == 1  # type: ignore[attr-defined]


# --- losses and objectives


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("pwc-direct", {"points"}),
        ("pwc-dan", {"points"}),
        ("pwc-distribution", {"maps"}),
        ("pwc-heatmap", {"maps"}),
        ("pwc-heatmap-height-1", {"maps"}),
        ("pwc", {"pixels"}),
        ("pwc-mean", {"pixels"}),
        ("pwc-hybrid-mean", {"pixels", "points"}),
        ("pwc-hybrid", {"pixels", "points"}),
        ("pwc-hybrid-as-released", {"pixels", "points"}),
    ],
)
def test_each_variant_has_its_own_losses(name: str, parts: set[str], batch: FaceItem) -> None:
    assert built(name).losses(batch, "all").keys() == parts
    if f"{name}-disc" in NAMES:
        assert built(f"{name}-disc").losses(batch, FINDER).keys() == parts | {"face"}
        assert built(f"{name}-disc").losses(batch, CRITIC).keys() == {"discriminator"}


def test_distances_count_in_pixels_of_the_papers_crop() -> None:
    spec = replace(built("pwc-direct").spec, size=(56, 56), landmarks=2)
    learner = Regression(Drawn(torch.tensor([[[3.0, 4.0], [9.0, 9.0]]])), spec)
    item = {"image": torch.zeros(1, 3, 56, 56), "points": torch.zeros(1, 2, 2), "known": torch.tensor([[1.0, 0.0]])}
    assert float(learner.losses(item, "all")["points"]) == 20  # type: ignore[arg-type]


def gradient(learner: Study, batch: FaceItem, objective: str) -> Tensor:
    torch.manual_seed(0)
    parts = learner.losses(batch, objective)
    found = torch.autograd.grad(sum(parts.values()), learner.trained(objective), allow_unused=True)
    return torch.cat([slope.flatten() for slope in found if slope is not None])


def test_the_distance_reaches_the_network_through_soft_arg_max_and_never_through_arg_max(batch: FaceItem) -> None:
    plain, hybrid, released = (
        gradient(built(name), batch, "all") for name in ("pwc-mean", "pwc-hybrid-mean", "pwc-hybrid-as-released")
    )
    torch.testing.assert_close(released, plain)
    assert float((hybrid - plain).norm()) > 0.1 * float(plain.norm())


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES if recipe.name.endswith("-disc")])
def test_the_judgement_reaches_every_network(name: str, batch: FaceItem) -> None:
    learner = built(name)
    torch.manual_seed(0)
    face = learner.losses(batch, FINDER)["face"]
    slopes = torch.autograd.grad(face, learner.trained(FINDER), allow_unused=True)
    assert sum(float(slope.abs().sum()) for slope in slopes if slope is not None) > 0


def test_the_discriminator_sees_an_offset_that_all_shapes_share(batch: FaceItem) -> None:
    """In separate batches, batch normalisation would subtract it, and both sides would be judged alike."""
    learner = built("pwc-direct-disc")
    shifted = batch["points"] + 8 * torch.randn(1, 68, 2, generator=torch.Generator().manual_seed(0))
    real, fake = (judged.detach() for judged in learner.judged(shifted, batch))
    assert float((real - fake).abs().mean()) > 0.1
    same, again = (judged.detach() for judged in learner.judged(batch["points"], batch))
    torch.testing.assert_close(same, again)


def test_the_discriminator_learns_to_tell_annotations_from_predictions(batch: FaceItem) -> None:
    """The sign is right: stepping down its loss raises its answer to annotated shapes and lowers that to others."""
    learner = built("pwc-direct-disc")
    learner.network.start_from(batch["points"].mean(dim=0))  # type: ignore[operator]
    optimiser = torch.optim.Adam(learner.trained(CRITIC), 1e-3)
    for _ in range(60):
        (loss,) = learner.losses(batch, CRITIC).values()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.5 * 2 * np.log(2), "half of chance"
    found = learner.network(batch["image"]).detach()
    real, fake = learner.judged(found, batch)
    assert float(real.mean()) > 0 > float(fake.mean())


def test_the_judgement_weighs_less_than_printed_except_in_the_printed_variants(batch: FaceItem) -> None:
    weights = {name: built(name).by_face for name in NAMES if name.endswith("-disc")}
    printed = {name: weight for name, weight in weights.items() if weight == 1}
    assert printed.keys() == {"pwc-mean-disc", "pwc-hybrid-mean-disc"}
    assert set(weights.values()) == {0.1, 1}


def test_one_step_of_the_discriminator_comes_before_two_of_the_network(batch: FaceItem) -> None:
    learner = built("pwc-hybrid-disc")
    assert [learner.objective(step) for step in range(6)] == [CRITIC, FINDER, FINDER] * 2
    critic, finder = learner.trained(CRITIC), learner.trained(FINDER)
    assert count(learner) == sum(p.numel() for p in critic) + sum(p.numel() for p in finder)
    assert built("pwc-hybrid").objective(0) == "all"
    (loss,) = learner.losses(batch, CRITIC).values()
    loss.backward()
    assert all(p.grad is None for p in finder)


def test_points_without_annotation_change_no_loss(batch: FaceItem) -> None:
    known = batch["known"].clone()
    known[:, :17] = 0
    moved = torch.where(known[..., None] > 0, batch["points"], 7.0)
    for name in ("pwc-direct", "pwc-distribution", "pwc-heatmap", "pwc", "pwc-hybrid"):
        learner = built(name).eval()
        a, b = (
            learner.losses({**batch, "points": points, "known": known}, "all")  # type: ignore[typeddict-item]
            for points in (batch["points"], moved)
        )
        assert {k: float(v) for k, v in a.items()} == pytest.approx({k: float(v) for k, v in b.items()}), name


# --- learning and export


SIDE = 112  # the crop that the studies on a CPU use


class SixPoints(Options):
    """Options for faces of six points, whose maps take a tenth of the time."""

    @property
    def landmarks(self) -> int:
        return 6


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> FaceItem:
    """Eight faces of six points."""
    spec = built("pwc", Options(size=SIDE, width=1 / 16)).spec
    samples = FaceSamples(eight_faces(tmp_path_factory.mktemp("eight")), spec, Augmentation())
    crops: FaceItem = default_collate([samples.crop(i) for i in range(8)])
    chosen = [36, 45, 30, 48, 54, 8]
    points, known, visible = (crops[name][:, chosen] for name in ("points", "known", "visible"))
    return {"image": crops["image"], "points": points, "known": known, "visible": visible}


# One of each kind of losses, with steps of the network. The printed mean over the pixels needs far more.
KINDS = {
    "pwc-direct": 120,
    "pwc-dan": 120,
    "pwc-distribution": 120,
    "pwc-heatmap-height-1": 250,
    "pwc": 120,
    "pwc-hybrid": 120,
    "pwc-hybrid-disc": 120,
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_learns_eight_faces_at_its_own_size_and_rate(name: str, few: FaceItem, tmp_path: Path) -> None:
    """By the losses, the schedule for brief runs and the crop of a CPU run of its recipe; only the width is smaller."""
    torch.manual_seed(0)
    recipe, options = NAMES[name], SixPoints(size=SIDE, width=1 / 16, brief=True)
    learner = recipe.build(options)
    assert isinstance(learner, Study)
    if isinstance(learner.network, DirectRegression | DAN):
        learner.network.start_from(few["points"].mean(dim=0))
    for part in learner.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # dropout keeps faces from being learned by heart
    steps = 180 if learner.discriminator is not None else KINDS[name]
    train(learner, Repeated(few), replace(recipe.schedule_for(options), steps=steps, batch=8), tmp_path)
    blind, learner = blind_error(few["points"]), learner.eval()
    readings = [learner, SoftReading(learner)] if isinstance(learner, Maps) else [learner]
    with torch.no_grad():
        error = min(distance(reading(few["image"])["points"], few["points"]) for reading in readings)
    assert error < 0.6 * blind, f"{error:.2f} of {blind:.2f} pixels"


def test_a_file_says_what_torch_says(tmp_path: Path) -> None:
    learner = built("pwc-hybrid-disc", replace(TINY, size=32)).eval()
    network = learner.exported().eval()
    assert not [key for key in network.state_dict() if key.startswith("discriminator")]
    write_model(network, learner.spec, tmp_path / "network.onnx")
    worst = worst_difference(network, learner.spec, tmp_path / "network.onnx", example(learner.spec, batch=3))
    assert worst.keys() == {"points", "confidence"}
    assert max(worst.values()) < 1e-3
