"""RHT's learner: targets and losses, the reference that is kept, learning, export, recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nasion.trainers.counting import multiply_accumulates
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.data.samples import FaceSamples
from nasion.trainers.evaluation.references import PairedItem
from nasion.trainers.export.files import example, worst_difference, write_model
from nasion.trainers.networks.rht.network import Outcome, RHTConfig
from nasion.trainers.systems.rht.alignment import alignment_figures, coarse_cells
from nasion.trainers.systems.rht.learner import RHTLearner, _disagreement
from nasion.trainers.systems.rht.recipes import reference_figures
from nasion.trainers.targets import BOUNDARIES
from nasion.trainers.training.recipes import Options

from ...support.training.by_heart import eight_faces
from ...support.training.tiny_rht import NAMES, TINY, built, faces, pairs, taught

# --- targets


def test_targets_are_gaussians_and_boundaries_at_half_the_size() -> None:
    learner, item = built(), faces(1)
    item["points"][0, 7] = torch.tensor([20.5, 40.5])  # the centre of the cell in column 10, row 20
    maps = learner.targets(item["points"], item["known"])
    assert maps.shape == (1, 19 + 5, 32, 32)
    assert maps[0, 7, 20, 10] == 1
    assert maps[0, 7, 20, 11] == pytest.approx(np.exp(-1 / (2 * learner.sigma**2)), abs=1e-5)
    assert maps[0, 19 + 2, 20, 10] == pytest.approx(1, abs=1e-3)  # the boundary of the eye goes through its middle


def test_a_gaussian_is_as_wide_on_larger_faces_and_never_under_two_cells() -> None:
    widths = {size: built("rht-r", replace(TINY, size=size)).sigma for size in (128, 256, 512)}
    assert widths == {128: 2, 256: 2, 512: 4}


def test_what_is_not_annotated_has_no_map_and_no_boundary() -> None:
    learner, item = built(), faces(1)
    item["known"][0, 1] = 0
    maps = learner.targets(item["points"], item["known"])[0].flatten(1).amax(dim=1)
    assert maps[1] == 0
    assert maps[19] == 0  # the left brow goes through it
    assert (maps[[0, 2, *range(3, 19), *range(20, 24)]] > 0.5).all()


# --- losses

GAUSSIAN = 4 * np.pi / 64**2  # mean of a squared Gaussian of sigma 2 over 64 x 64 cells


class Blank(torch.nn.Module):
    """A network that sees nothing: empty maps."""

    def __init__(self, config: RHTConfig) -> None:
        super().__init__()
        self.config = config

    def remember(self, image: Tensor, maps: Tensor) -> None:
        assert image.shape[-1] == maps.shape[-1] == self.config.size // 2

    def forward(self, images: Tensor, reference: None) -> Outcome:
        side = self.config.size // 2
        return Outcome(torch.zeros(len(images), self.config.maps, side, side), None, None, None)


def blank() -> RHTLearner:
    learner = built("rht-r", replace(TINY, size=128))
    learner.network = Blank(learner.network.config)  # type: ignore[assignment]
    return learner


def test_an_empty_map_misses_all_of_a_gaussian() -> None:
    batch: PairedItem = {**faces(size=128), "reference": faces(size=128)}
    losses = blank().losses(batch, "all")
    # the squared Gaussian of sigma 2 adds up to pi sigma^2; the loss is a mean over the cells
    assert float(losses["landmarks"]) == pytest.approx(GAUSSIAN, rel=1e-3)
    assert float(losses["boundaries"]) > GAUSSIAN


def test_hidden_landmarks_do_not_count_but_divide() -> None:
    batch: PairedItem = {**faces(size=128), "reference": faces(size=128)}
    batch["visible"][:, :10] = 0
    assert float(blank().losses(batch, "all")["landmarks"]) == pytest.approx(GAUSSIAN * 9 / 19, rel=1e-3)


def test_boundaries_that_cannot_be_drawn_do_not_count() -> None:
    batch: PairedItem = {**faces(size=128), "reference": faces(size=128)}
    for curve in BOUNDARIES[19]:
        batch["known"][:, curve[0]] = 0
    losses = blank().losses(batch, "all")
    assert float(losses["boundaries"]) == 0
    assert float(losses["landmarks"]) == pytest.approx(GAUSSIAN * 14 / 19, rel=1e-3)


def test_the_second_loss_teaches_the_affine_map_and_leaves_the_soft_side_alone() -> None:
    values = [torch.rand(1, 2, 4, 4, requires_grad=True) for _ in range(3)]
    hard, soft, attention = ((value, value, value) for value in values)
    _disagreement(hard, soft, attention).backward()
    assert values[0].grad is not None
    assert values[1].grad is values[2].grad is None


def test_every_loss_is_there_and_every_weight_learns() -> None:
    learner = built()
    torch.nn.init.normal_(learner.network.decoder.maps.weight)
    losses = learner.losses(pairs(), "all")
    assert list(losses) == ["landmarks", "boundaries", "transfer"]
    torch.stack(list(losses.values())).sum().backward()
    assert all(weight.grad is not None for weight in learner.parameters())
    matrix = learner.network.hard
    assert matrix is not None
    assert matrix.matrix.weight.grad.abs().max() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("rht-trans-r", ["landmarks", "boundaries"]),
        ("rht-htm-msffm", ["landmarks", "boundaries"]),
        ("rht-r-no-boundary", ["landmarks", "transfer"]),
    ],
)
def test_parts_that_are_left_out_have_no_loss(name: str, parts: list[str]) -> None:
    assert list(built(name).losses(pairs(), "all")) == parts


# --- the reference


@torch.no_grad()
def test_forward_compares_with_the_reference_that_was_set() -> None:
    learner, item = taught(built()), faces(1)
    crops = torch.randn(2, 3, 64, 64)
    both = {name: value.expand(2, *value.shape[1:]) for name, value in item.items()}  # type: ignore[attr-defined]
    torch.testing.assert_close(learner(crops)["points"], learner.find(crops, both))  # type: ignore[arg-type]
    coarse = learner.find(crops, both, 4)  # type: ignore[arg-type]
    assert not torch.equal(coarse, learner(crops)["points"])


@torch.no_grad()
def test_points_are_those_of_the_maps_in_pixels_of_the_crop() -> None:
    learner, item = built("rht-trans-r"), faces(3)
    maps = learner.targets(item["points"], item["known"])
    points = learner.read(Outcome(maps, None, None, None))["points"]
    assert (points - item["points"]).norm(dim=2).max() < 0.6
    hard = learner.read(Outcome(maps, None, None, None), "arg_max")["points"]
    assert (points - item["points"]).norm(dim=2).mean() < (hard - item["points"]).norm(dim=2).mean()


def test_the_reference_is_kept_with_the_weights() -> None:
    learner, other = taught(built()), built()
    other.load_state_dict(learner.state_dict())
    crops = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(other.eval()(crops), learner(crops))


# --- export


def test_the_export_needs_images_only_and_agrees_with_torch(tmp_path: Path) -> None:
    learner = taught(RHTLearner(replace(built().network.config, layers=1), built().spec))
    path, crops = tmp_path / "rht.onnx", example(learner.spec, batch=3, seed=1)
    exported = learner.exported().eval()
    torch.testing.assert_close(exported(crops), learner(crops))
    write_model(exported, learner.spec, path)
    for batch in (crops, crops[:1]):
        difference = worst_difference(exported, learner.spec, path, batch)
        assert difference["points"] < 1e-2
        assert difference["confidence"] < 1e-4


def test_the_export_has_worked_out_all_that_is_known_of_the_reference() -> None:
    with torch.device("meta"):
        learner = NAMES["rht-r"].build(Options())
        counts = [multiply_accumulates(each, (1, 3, 256, 256)) / 1e9 for each in (learner, learner.exported())]
    assert counts == pytest.approx([23.3, 18.9], abs=0.05)


# --- alignment


def test_both_equations_are_means_of_the_same_order() -> None:
    """As sums, the first is larger by the number of cells, and the paper's weight of the second has no effect."""
    learner = built()
    torch.nn.init.normal_(learner.network.decoder.maps.weight, std=0.02)
    losses = {name: float(value.detach()) for name, value in learner.losses(pairs(), "all").items()}
    assert 1e-3 < losses["transfer"] / losses["landmarks"] < 1e3


def test_guided_matches_have_a_loss_that_trains_the_features_compared() -> None:
    learner = built("rht-r-guided")
    losses = learner.losses(pairs(), "all")
    assert list(losses) == ["landmarks", "boundaries", "transfer", "matches"]
    losses["matches"].backward()
    extractor = learner.network.image_extractor
    assert extractor is not None
    assert float(extractor.coarse[0][0].weight.grad.abs().sum()) > 0  # type: ignore[union-attr, index]
    optimiser = torch.optim.Adam(learner.parameters(), 1e-3)
    batch, first = pairs(), None
    for _ in range(12):
        optimiser.zero_grad()
        loss = learner.losses(batch, "all")["matches"]
        loss.backward()
        optimiser.step()
        first = float(loss.detach()) if first is None else first
    assert float(loss.detach()) < 0.9 * first  # type: ignore[operator]


def test_alignment_is_measured_beside_what_needs_no_network(tmp_path: Path) -> None:
    eight = eight_faces(tmp_path, landmarks=19)
    learner = built().eval()
    samples = FaceSamples(eight, learner.spec, Augmentation())
    learner.set_reference(samples.crop(0))
    figures = alignment_figures(learner.network, learner.own_reference(), learner.reference_points, samples)
    assert list(figures) == ["htm_distance", "htm_identity", "htm_affine", "stm_matched", "stm_same_place"]
    assert figures["htm_distance"] == pytest.approx(figures["htm_identity"], abs=1e-3), "it starts as the identity"
    assert figures["htm_affine"] < figures["htm_identity"]
    itself = FaceSamples(eight.pick([0]), learner.spec, Augmentation())
    alone = alignment_figures(learner.network, learner.own_reference(), learner.reference_points, itself)
    assert alone["htm_identity"] == pytest.approx(0, abs=1e-4)
    assert (alone["stm_matched"], alone["stm_same_place"]) == (1, 1), "a face matches itself"
    assert alignment_figures(learner.network, None, learner.reference_points, samples) == {}


def test_cells_are_counted_by_their_edges() -> None:
    places = coarse_cells(torch.tensor([[[-0.5, 0], [7.4, 7.6], [63.4, 64.0]]]), 64, 8)
    assert places.xy.tolist() == [[[0, 0], [0, 1], [7, 7]]]
    assert places.flat.tolist() == [[0, 8, 63]]
    assert places.inside.tolist() == [[1, 1, 0]]


def test_references_of_all_kinds_are_measured_on_a_test_set(tmp_path: Path) -> None:
    eight = eight_faces(tmp_path, landmarks=19)
    figures = reference_figures(taught(built()), eight, eight)
    assert figures.keys() == {"nme_best", "nme_best_half", "nme_best_quarter", "nme_neutral", "nme_random", "nme_least"}
