"""RDFN: counts as published, suppression, labels, samples, learning, starting from phases, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasion.engines.errors import NasionError
from nasion.engines.select import open_runtime
from nasion.trainers.checkpoint import TrainingError, kept, save
from nasion.trainers.data import read_set
from nasion.trainers.export.files import example, write_model
from nasion.trainers.networks.backbones import resnet
from nasion.trainers.networks.rdfn.network import (
    RDFN,
    HeadAlone,
    RegionDetector,
    RegionLandmarks,
    anchor_boxes,
    decode_boxes,
    encode_boxes,
    suppress,
)
from nasion.trainers.networks.rdfn.region_head import MAP, PRESETS, LandmarkHead, RDFNConfig, logits_at
from nasion.trainers.systems.rdfn.learners import (
    DetectorLearner,
    HeadLearner,
    RDFNLearner,
    anchor_weight,
    label_anchors,
    landmark_loss,
)
from nasion.trainers.systems.rdfn.recipes import RECIPES, begin_from
from nasion.trainers.systems.whole_images import Framing, ImageSamples, validate_faces
from nasion.trainers.training.recipes import Options

from ...support.data_sets.labelled import write_data
from ...support.training.by_heart import assert_learned

NAMES = {recipe.name: recipe for recipe in RECIPES}
PAPER, FUSED = PRESETS["counts"], PRESETS["fused"]
TINY = Options(size=64, width=1 / 16)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bottleneck a group instead of 3, 4 and 6: quicker to train and to export."""
    monkeypatch.setattr(resnet, "BLOCKS", (1, 1, 1, 1))


def small(**changes: Any) -> RDFNConfig:
    defaults = {"landmarks": 5, "size": 64, "width": 1 / 16, "up": "resize", "faces": 2}
    return replace(PAPER, **(defaults | changes))


# --- counts


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (PAPER, 10_663_228),
        (replace(PAPER, up="resize"), 10_663_228),
        (FUSED, 10_660_668),
        (replace(FUSED, attn_groups=2), 11_472_700),
        (replace(PAPER, attn_groups=2), 11_523_900),
        (replace(FUSED, wff_units=2), 11_542_524),
        (PRESETS["two_units"], 10_664_636),
    ],
)
def test_readings_of_the_paper_have_the_weights_worked_out_for_them(config: RDFNConfig, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in RDFN(config).parameters()) == count


def test_the_default_fuses_all_outputs_of_its_unit() -> None:
    """Contribution 2 of the paper: the score maps see each output of the encoding, not only the last."""
    with torch.device("meta"):
        heads = {name: NAMES[name].build(Options()).network.head for name in ("rdfn", "rdfn-counts", "rdfn-two-units")}  # type: ignore[union-attr]
    into = {name: head.enlarge.convolve[0].in_channels for name, head in heads.items()}
    assert into == {"rdfn": 192 + 128 + 64, "rdfn-counts": 64, "rdfn-two-units": 64}
    assert {name: len(head.encoding.units) for name, head in heads.items()} == {
        "rdfn": 1,
        "rdfn-counts": 1,
        "rdfn-two-units": 2,
    }


def test_the_first_version_is_built_as_it_was() -> None:
    with torch.device("meta"):
        old, counts = (
            NAMES[name].build(replace(TINY, version=version)).network.config
            for name, version in (("rdfn", 1), ("rdfn-counts", None))
        )
    assert old == counts


def test_the_published_deconvolution_says_the_same_in_six_of_nine_rows() -> None:
    torch.manual_seed(0)
    head, other = (LandmarkHead(16, small(up=up)).eval() for up in ("deconv", "resize"))
    with torch.no_grad():
        gaps, none = (each(torch.randn(1, 16, 14, 14))[0] for each in (head, other))
    empty = torch.arange(MAP) % 9 >= 3
    assert torch.equal(gaps[:, empty].amax(dim=(1, 2)), gaps[:, empty].amin(dim=(1, 2)))
    assert bool((none[:, empty].amax(dim=(1, 2)) > none[:, empty].amin(dim=(1, 2))).all())


def test_single_cells_hold_what_the_whole_map_holds() -> None:
    torch.manual_seed(0)
    head, features = LandmarkHead(16, small()).eval(), torch.randn(2, 16, 14, 14)
    places = torch.tensor([[0, 119, 5000, 14399], [7, 120, 121, 9000]])
    with torch.no_grad():
        whole = head(features).flatten(2).gather(2, places[:, None].expand(-1, 6, -1))
        torch.testing.assert_close(logits_at(head.coarse(features), places), whole)


# --- boxes


def test_anchors_are_centred_on_cells_and_follow_the_size() -> None:
    anchors = anchor_boxes(2, 3, 256, torch.device("cpu"))
    assert anchors.shape == (2 * 3 * 9, 4)
    torch.testing.assert_close((anchors[9, :2] + anchors[9, 2:]) / 2, torch.tensor([23.5, 7.5]))
    torch.testing.assert_close(anchors[1, 2:] - anchors[1, :2], torch.tensor([160.0, 160.0]))
    halved = anchor_boxes(2, 3, 128, torch.device("cpu"))
    torch.testing.assert_close((halved[1, 2:] - halved[1, :2])[0], torch.tensor(80.0))


def test_boxes_come_back_from_their_encoding() -> None:
    anchors = anchor_boxes(2, 2, 256, torch.device("cpu"))
    boxes = torch.tensor([30.0, 20.0, 200.0, 190.0]).expand_as(anchors)
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, rtol=1e-4, atol=1e-3)


def greedy(boxes: Tensor, scores: Tensor, overlap: float) -> list[int]:
    left, chosen = scores.argsort(descending=True).tolist(), []
    while left:
        best = left.pop(0)
        chosen.append(best)
        a = boxes[best]

        def iou(i: int, a: Tensor = a) -> float:
            b = boxes[i]
            common = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp_min(0).prod()
            return float(common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common))

        left = [i for i in left if iou(i) <= overlap]
    return chosen


def test_suppression_is_the_greedy_one() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3, 40, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 20 + torch.rand(3, 40, 2, generator=generator) * 20], dim=2)
    scores = torch.rand(3, 40, generator=generator)
    found, values = suppress(boxes, scores, count=5, overlap=0.4)
    for image in range(3):
        expected = greedy(boxes[image], scores[image], 0.4)[:5]
        torch.testing.assert_close(found[image, : len(expected)], boxes[image, expected])
        torch.testing.assert_close(values[image, : len(expected)], scores[image, expected])


def test_slots_that_nothing_fills_score_zero_even_if_boxes_have_no_area() -> None:
    boxes = torch.tensor([[[5.0, 5, 5, 5], [0, 0, 10, 10], [1, 0, 10, 10]]])
    _, scores = suppress(boxes, torch.tensor([[0.9, 0.8, 0.7]]), count=4, overlap=0.5)
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.8, 0.0, 0.0]]))


# --- losses


def test_anchors_stand_for_a_face_for_none_or_for_neither() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [20, 20, 30, 30]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 0, 0], [0, 0, 10, 3.5]])
    labels = label_anchors(anchors, boxes, torch.tensor([1.0, 0.0, 1.0]))
    assert labels.tolist() == [[1, 1, -1, 0], [0, 0, 0, 0], [-1, -1, 1, 0]]
    weight = anchor_weight(labels)
    torch.testing.assert_close(weight.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(weight[0], torch.tensor([0.125, 0.125, 0.0, 0.75]))


def test_coinciding_landmarks_share_their_cells() -> None:
    """Lips of a closed mouth: the later landmark does not take the cells of the earlier one."""
    torch.manual_seed(0)
    network = RegionLandmarks(small()).eval()
    boxes = torch.tensor([[[8.0, 8, 56, 56]]])
    points = torch.tensor([[[20.0, 20], [40, 20], [30, 30], [30, 44], [30, 44]]])
    with torch.no_grad():
        taps = network.features(torch.randn(1, 3, 64, 64))
        losses = [
            float(landmark_loss(network, taps, boxes, points[:, order], torch.ones(1, 5)))
            for order in ([0, 1, 2, 3, 4], [0, 1, 2, 4, 3])
        ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)  # the background is a sample


def test_a_step_has_enough_boxes_to_normalise_over(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    for batch, boxes in ((2, 8), (16, 1)):
        options = replace(TINY, batch=batch)
        samples = NAMES["rdfn"].prepare(NAMES["rdfn"].build(options), root, options).samples
        assert samples[0]["rois"].shape == (boxes, 4)


def test_the_papers_augmentation_scales_by_three_factors_and_turns_by_three_angles(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    samples = NAMES["rdfn-paper"].prepare(NAMES["rdfn-paper"].build(TINY), root, TINY).samples
    assert isinstance(samples, ImageSamples)
    framing = samples.framing
    assert (framing.scales, framing.angles, framing.spread) == ((0.5, 1.0, 2.0), (-30.0, 0.0, 30.0), 0.0)
    assert (framing.flip, framing.variation, framing.faceless) == (0.0, 0.0, 0.0)
    sides = sorted(float((item["box"][2:] - item["box"][:2]).max()) for item in (samples[i] for i in range(24)))
    assert sides[-1] > 2.5 * sides[0]


# --- samples and learning


def test_an_image_is_the_same_for_one_seed_and_its_points_lie_in_its_box(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    learner = NAMES["rdfn"].build(TINY)
    samples = NAMES["rdfn"].prepare(learner, root, TINY).samples
    items = [samples[i] for i in range(24)]
    torch.testing.assert_close(samples[3]["image"], items[3]["image"])
    assert {float(item["present"]) for item in items} == {0.0, 1.0}
    for item in items:
        assert item["image"].shape == (3, 64, 64)
        if item["present"]:
            extent = (item["box"][2:] - item["box"][:2]).max() / 64
            assert 0.55 < float(extent) < 1.05
            torch.testing.assert_close(item["points"].amax(dim=0), item["box"][2:])
            assert (item["rois"][0] - item["box"]).abs().max() < 0.25 * 64
        else:
            assert item["known"].sum() == 0


def dotted(count: int) -> dict[str, Tensor]:
    """Images of a bright square with five dots in it, and where they are."""
    rng = np.random.default_rng(0)
    image, points = rng.normal(0, 0.3, (count, 3, 64, 64)), np.zeros((count, 5, 2))
    shape = np.array([[0, 0], [1, 0], [0.5, 0.5], [0, 1], [1, 1]])
    for i in range(count):
        side = rng.uniform(38, 50)
        points[i] = np.round(shape * side + rng.uniform(2, 61 - side, 2))
        (x0, y0), (x1, y1) = points[i, 0].astype(int), points[i, 4].astype(int)
        image[i, :, y0 : y1 + 1, x0 : x1 + 1] += 1.5
        for k, (x, y) in enumerate(points[i].astype(int)):
            image[i, k % 3, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = -3.0 if k < 3 else 4.0
    boxes = np.concatenate([points[:, 0], points[:, 4]], axis=1)
    arrays = {"image": image, "points": points, "box": boxes, "rois": boxes[:, None], "known": np.ones((count, 5))}
    return {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()} | {"present": torch.ones(count)}


@pytest.mark.usefixtures("shallow")
def test_a_tiny_one_learns_eight_images_by_heart() -> None:
    """Tiny in depth too: one bottleneck a group (``shallow``); faces are squares with dots, as large as anchors are."""
    torch.manual_seed(0)
    config = small(width=1 / 8, roi_margin=1.2)
    learner = RDFNLearner(RDFN(config), NAMES["rdfn"].build(TINY).spec, frozen=False).train()
    batch: Any = dotted(8)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=6e-3)
    history, steps = [], 100
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 6e-3 * min(1, (step + 1) / 10) * (1 - step / steps)
        parts = learner.losses(batch, "all")
        assert set(parts) == {"class", "box", "landmarks"}
        optimiser.zero_grad()
        total = torch.stack(list(parts.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        history.append(float(total.detach()))
    assert history[-1] < history[0] / 3
    with torch.no_grad():
        found = learner.eval()(batch["image"])
    assert bool((found["valid"][:, 0] == 1).all())
    for part, truth in (("boxes", batch["box"]), ("points", batch["points"])):
        assert_learned(found[part][:, 0].reshape(8, -1, 2), truth.reshape(8, -1, 2), within=1)


@pytest.mark.usefixtures("shallow")
def test_what_is_frozen_does_not_move_and_keeps_its_statistics() -> None:
    learner = RDFNLearner(RDFN(small()), NAMES["rdfn"].build(TINY).spec, frozen=True).train()
    before = {name: value.clone() for name, value in learner.network.backbone.state_dict().items()}
    parts = learner.losses(dotted(2), "all")  # type: ignore[arg-type]
    parts["landmarks"].backward()  # type: ignore[no-untyped-call]
    assert set(parts) == {"landmarks"}
    assert all(p.grad is None for p in learner.network.backbone.parameters())
    after = learner.network.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.usefixtures("shallow")
def test_validation_measures_boxes_and_points_of_the_whole_network(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    network = RDFN(small(landmarks=68, threshold=0.0)).eval()
    learner = RDFNLearner(network, NAMES["rdfn"].build(TINY).spec, frozen=False)
    held = read_set("300w", root, part="test").pick(range(2))
    figures = validate_faces(learner, HeadAlone(network), ImageSamples(held, [], learner.spec, Framing()))
    assert set(figures) - {"nme_lips_closed", "nme_lips_open"} == {
        *("ap", "missed_precision", "recall", "nme", "fr", "nme_lost", "nme_gt")
    }
    assert {"nme_lips_closed", "nme_lips_open"} & set(figures)
    assert figures["nme_lost"] <= 0.3


# --- recipes


def test_recipes_by_name_differ_as_the_paper_s_figure_does() -> None:
    with torch.device("meta"):
        heads = {name: NAMES[name].build(TINY) for name in NAMES}
    config = {name: learner.network.config for name, learner in heads.items()}
    assert (config["rdfn-baseline"].taps, config["rdfn-baseline"].encoding) == ("top", "stacked")
    assert [config[f"rdfn-{part}"].spatial_attention for part in ("gca", "gsa")] == [False, True]
    assert (config["rdfn-wff"].encoding, config["rdfn-wff"].reweighting) == ("fused", False)
    assert config["rdfn"].reweighting
    assert [heads[name].spec.task for name in ("rdfn-detector", "rdfn", "rdfn-head")] == [
        "detector",
        "faces",
        "landmarks",
    ]


def test_a_size_that_the_strides_do_not_divide_is_refused() -> None:
    with pytest.raises(NasionError, match=r"--size 100 is not a multiple of 16.*try 96"):
        NAMES["rdfn"].build(replace(TINY, size=100))


def test_the_second_phase_asks_for_the_first(tmp_path: Path) -> None:
    with pytest.raises(NasionError, match=r"give --start RUN/best\.pt of rdfn-detector"):
        NAMES["rdfn-landmarks"].prepare(NAMES["rdfn-landmarks"].build(TINY), tmp_path, TINY)


@pytest.mark.usefixtures("shallow")
def test_a_start_gives_the_parts_that_it_has(tmp_path: Path) -> None:
    spec, file = NAMES["rdfn"].build(TINY).spec, tmp_path / "best.pt"
    first = DetectorLearner(RegionDetector(small()), spec)
    save({"average": kept(first), "description": {}, "step": 1, "figures": {}}, file)
    second = RDFNLearner(RDFN(small()), spec, frozen=True)
    head = second.network.head.score.weight.clone()
    begin_from(second, file)
    torch.testing.assert_close(second.network.detector.classes.weight, first.network.detector.classes.weight)
    torch.testing.assert_close(second.network.head.score.weight, head)
    with pytest.raises(TrainingError, match="do not fit"):
        begin_from(RDFNLearner(RDFN(small(width=1 / 8)), spec, frozen=True), file)


@pytest.mark.usefixtures("shallow")
def test_the_head_alone_finds_on_crops_what_it_finds_in_their_middle_box() -> None:
    network = RDFN(small()).eval()
    learner = HeadLearner(network, replace(NAMES["rdfn-head"].build(TINY).spec, size=(64, 64))).eval()
    crops = torch.randn(2, 3, 64, 64)
    box = torch.tensor([5.9, 5.9, 57.1, 57.1]).expand(2, 1, 4)
    with torch.no_grad():
        torch.testing.assert_close(learner(crops)["points"], HeadAlone(network)(crops, box)["points"][:, 0])


# --- export


@pytest.mark.usefixtures("shallow")
def test_the_whole_network_exported_says_the_same_at_other_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = RDFN(small()).eval()
    spec = replace(NAMES["rdfn"].build(TINY).spec, landmarks=5)
    write_model(network, spec, tmp_path / "whole.onnx")
    images = torch.cat([example(spec, batch=3), example(spec, batch=3)[:, :, :, :32]], dim=3)
    with open_runtime(tmp_path / "whole.onnx") as runtime, torch.no_grad():
        ours, theirs = network(images), runtime(images.numpy())
    off = {name: np.abs(ours[name].numpy() - theirs[name]) for name in ours}
    assert list(off) == ["boxes", "scores", "points", "confidence", "valid"]
    assert max(off[name].max() for name in ("boxes", "scores", "confidence", "valid")) < 1e-3
    # the maps of an untrained network are so flat that rounding moves the highest cell of one or the other by a cell
    assert off["points"].mean() < 0.1
    assert np.median(off["points"]) < 1e-3
