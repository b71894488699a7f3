"""Networks that find faces and landmarks at once, through tracker, overlay, sinks and bench."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import nn

from nasion.engines.errors import ModelError, NasionError
from nasion.engines.spec import Spec
from nasion.realtime.tracking.aligner import Aligner
from nasion.realtime.tracking.detector import Detector
from nasion.realtime.tracking.face_finder import MARGIN, MiddleFace, region_of_tight_box
from nasion.realtime.tracking.tracker import Tracker
from nasion.realtime.values.geometry import Region
from nasion.tools.main import main as nasion
from nasion.trainers.export.files import write_model

from ...support.fakes.disc_stories import ids, place, play
from ...support.fakes.networks import GREEN, RED, Constant, Disc, DiscAligner, DiscDetector, DiscFaces, draw, frame

SIZE = 128
SPEC = Spec("faces", "constant", (SIZE, SIZE), stride=16, landmarks=2)
MIDDLE = [14, 14, 113, 113]


def answers(*boxes, scores, valid=None):
    """The same faces for every image; the points of a face are the corners of its box."""
    corners = np.float32(boxes).reshape(-1, 2, 2)
    return Constant(
        SPEC,
        boxes=boxes,
        scores=scores,
        points=corners,
        confidence=np.full(corners.shape[:2], 0.8),
        valid=np.ones(len(boxes)) if valid is None else valid,
    )


def crops(count):
    return np.zeros((count, 3, SIZE, SIZE), np.float32)


def whole(network=None, **options):
    network = network or DiscFaces()
    return Tracker.from_networks(network, network, **{"detect_interval": 15 / 30, **options})


def test_of_the_faces_in_a_crop_the_one_in_its_middle_is_meant():
    network = answers([0, 0, 40, 40], MIDDLE, [90, 90, 127, 127], scores=[0.95, 0.7, 0.9])
    found = MiddleFace(network)(crops(3))
    assert found["presence"].tolist() == pytest.approx([0.7] * 3)
    assert found["points"].shape == (3, 2, 2)
    np.testing.assert_allclose(found["points"][0], [[14, 14], [113, 113]])
    np.testing.assert_allclose(found["confidence"], 0.8)


def test_a_face_beside_the_middle_is_another_one():
    found = MiddleFace(answers([-60, -60, 10, 10], scores=[0.9]))(crops(1))
    assert found["presence"].tolist() == [0]


def test_empty_slots_are_no_faces_whatever_they_hold():
    nothing = [np.nan] * 4
    found = MiddleFace(answers(nothing, MIDDLE, MIDDLE, scores=[0, 0.9, 0.8], valid=[0, 0, 1]))(crops(1))
    assert found["presence"].tolist() == pytest.approx([0.8])
    assert MiddleFace(answers(nothing, MIDDLE, scores=[0.9, 0.9], valid=[0, 0]))(crops(1))["presence"].tolist() == [0]


def test_only_a_network_that_finds_faces_with_landmarks_has_a_middle_face():
    with pytest.raises(ModelError, match="'disc-68' is a landmarks; give one that finds faces with their landmarks"):
        MiddleFace(DiscAligner())
    with pytest.raises(ModelError, match="give a landmark model"):
        Aligner(DiscFaces())


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((640, 360), (128, 240)),
        ((360, 640), (240, 128)),
        ((64, 48), (128, 176)),  # enlarged
        ((3000, 30), (16, 512)),  # a strip is shown smaller
    ],
)
def test_a_whole_image_is_shown_with_its_shorter_side_as_the_network_knows_it(size, seen):
    network = answers(MIDDLE, scores=[0.9])
    Detector(network).detect(np.zeros((size[1], size[0], 3), np.uint8))
    assert network.batches == [(1, 3, *seen)]


def test_a_chosen_size_is_the_longer_side_of_the_image_and_enlarges_a_small_one():
    network = answers(MIDDLE, scores=[0.9])
    Detector(network, size=320).detect(np.zeros((48, 64, 3), np.uint8))
    assert network.batches[0][2:] == (240, 320)


def test_a_tight_box_fills_the_crop_as_in_training():
    region = region_of_tight_box(np.float32([10, 20, 50, 80]))
    assert region == Region(30, 50, MARGIN * 60)
    network = answers([0, 0, 60, 60], scores=[0.9])
    detector = Detector(network)
    (again,) = detector.detect(np.zeros((128, 128, 3), np.uint8)).regions
    assert again == Region(30, 30, MARGIN * 60)


def test_one_network_finds_and_follows_and_faces_keep_their_identities():
    scenes = [[Disc(RED, 40 + 2 * i, 80), Disc(GREEN, 280 - 2 * i, 170)] for i in range(40)]
    for discs, faces in zip(scenes, play(whole(smooth="none"), *scenes), strict=True):
        assert ids(faces) == [1, 2]
        centres = sorted((place(face) for face in faces), key=lambda centre: float(centre[1]))
        np.testing.assert_allclose(centres, [[disc.x, disc.y] for disc in discs], atol=1.5)


def test_the_whole_image_is_seen_on_schedule_and_each_face_in_its_crop_in_every_frame():
    network = DiscFaces()
    play(whole(network, detect_interval=10 / 30), *[[Disc(RED, 80, 80), Disc(GREEN, 220, 160)]] * 20)
    shapes = [batch for batch in network.batches if batch[2:] != (128, 128)]
    followed = [batch for batch in network.batches if batch[2:] == (128, 128)]
    assert shapes == [(1, 3, 128, 176)] * 2  # frames 0 and 10
    assert followed == [(8, 3, 128, 128)] + [(2, 3, 128, 128)] * (1 + 19)  # turned in four ways, confirmed, followed


def test_a_face_that_is_lost_is_looked_for_at_once_and_gets_its_identity_back():
    there, gone = [Disc(RED, 160, 120)], []
    seen = [ids(faces) for faces in play(whole(detect_interval=1000 / 30), *[there] * 3, *[gone] * 2, *[there] * 6)]
    assert seen[:5] == [[1]] * 3 + [[]] * 2
    assert seen[-1] == [1]


def test_a_new_shot_ends_all_identities():
    first, second = [Disc(RED, 90, 120)], [Disc(GREEN, 200, 120)]
    tracker = whole()
    assert ids(tracker.update(frame(0, *first))) == [1]
    other = np.full_like(draw(), 15)
    assert ids(tracker.update(frame(1, *second, on=other))) == [2]


def test_with_a_detector_beside_it_only_its_crops_are_asked_for():
    detector, network = DiscDetector(), DiscFaces()
    tracker = Tracker.from_networks(detector, network, detect_interval=5 / 30)
    assert [ids(faces) for faces in play(tracker, *[[Disc(RED, 160, 120)]] * 6)] == [[1]] * 6
    assert set(tracker.runtimes) == {"detector", "landmarks"}
    assert len(detector.batches) == 3 + 1  # at three sizes in the first frame
    assert {batch[2:] for batch in network.batches} == {(128, 128)}


def test_it_may_find_faces_for_another_aligner():
    tracker = Tracker.from_networks(DiscFaces(), DiscAligner())
    assert [ids(faces) for faces in play(tracker, *[[Disc(RED, 160, 120)]] * 3)] == [[1]] * 3


@pytest.fixture
def files(monkeypatch):
    """Names of the files opened; any but a detector finds faces with landmarks."""
    opened = []

    def open_fake(path, **options):
        opened.append(str(path))
        return DiscDetector() if "detector" in str(path) else DiscFaces()

    monkeypatch.setattr("nasion.realtime.tracking.tracker.open_runtime", open_fake)
    monkeypatch.setattr("nasion.realtime.tracking.tracker.model_path", Path)
    return opened


def test_a_model_that_finds_faces_gets_regions_of_the_shipped_detector_unless_its_own_is_named(files):
    with Tracker(model="whole.onnx") as tracker:
        assert list(tracker.runtimes) == ["detector", "landmarks"]
    with Tracker(model="whole.onnx", detector="a-detector.onnx") as tracker:
        assert list(tracker.runtimes) == ["detector", "landmarks"]
    with Tracker(model="whole.onnx", detector="own") as tracker:
        assert list(tracker.runtimes) == ["faces"]
    assert files == ["whole.onnx", "face-detector", "whole.onnx", "a-detector.onnx", "whole.onnx"]


def test_a_model_without_a_detector_cannot_be_its_own():
    with pytest.raises(
        NasionError, match=r"'landmarks-68(-int8)?' does not find faces itself, so detector 'own' is not"
    ):
        Tracker(detector="own")


class RedFace(nn.Module):
    """Finds the red disc by the moments of what is red; its second slot is always empty."""

    def __init__(self, template):
        super().__init__()
        self.register_buffer("template", torch.from_numpy(template))

    def forward(self, images):
        red = (images[:, 0] - images[:, 1:].amax(dim=1) - 0.5).clamp_min(0)
        mass = red.sum(dim=(1, 2)) + 1e-3
        columns, rows = (torch.arange(side, dtype=torch.float32) for side in (images.shape[3], images.shape[2]))
        x, y = (red.sum(dim=1) * columns).sum(dim=1) / mass, (red.sum(dim=2) * rows).sum(dim=1) / mass
        spread = (red.sum(dim=1) * (columns - x[:, None]) ** 2).sum(dim=1) / mass
        centre, half = torch.stack([x, y], dim=1), 2 * spread.clamp_min(0).sqrt()  # of a disc: its radius
        box = torch.cat([centre - half[:, None], centre + half[:, None]], dim=1)
        points = centre[:, None] + half[:, None, None] * self.template
        score = 0.9 * (mass > 20)
        return {
            "boxes": torch.stack([box, 0 * box], dim=1),
            "scores": torch.stack([score, 0 * score], dim=1),
            "points": torch.stack([points, 0 * points], dim=1),
            "confidence": 0.9 * torch.ones_like(points[..., 0])[:, None].expand(-1, 2, -1),
            "valid": torch.stack([score > 0.5, score > 1], dim=1).float(),
        }


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A red disc that walks: at frame i it is at (40 + 4 i, 60), 40 pixels across."""
    path = tmp_path_factory.mktemp("clip") / "walk.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, width=160, height=128, pix_fmt="yuv420p")
        for i in range(12):
            image = draw(Disc(RED, 40 + 4 * i, 60, 40), on=np.full((128, 160, 3), 120, np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory):
    """A network of 21 points, as ``nasion export`` writes it (.pt2, which takes an eighth of the time of .onnx)."""
    turns = np.linspace(0, 2 * np.pi, 21, endpoint=False, dtype=np.float32)
    template = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    path = tmp_path_factory.mktemp("model") / "red.pt2"
    write_model(RedFace(template), Spec("faces", "red-faces", (64, 64), stride=16, landmarks=21), path)
    return path


def test_an_exported_network_tracks_a_clip_into_a_video_and_a_file(clip, whole_file, tmp_path, capsys):
    lines, video = tmp_path / "faces.jsonl", tmp_path / "seen.mp4"
    outputs = ["--out", str(video), "--landmarks", str(lines)]
    options = ["--detector", "own", "--device", "cpu", "--smooth", "none"]
    with pytest.raises(SystemExit) as end:
        nasion(["track", str(clip), "--model", str(whole_file), *options, *outputs])
    assert end.value.code == 0
    frames = [line for line in map(json.loads, lines.read_text().splitlines()) if "faces" in line]
    assert [[face["id"] for face in line["faces"]] for line in frames] == [[1]] * 12
    middles = np.array([np.mean(line["faces"][0]["landmarks"], axis=0)[:2] for line in frames])
    np.testing.assert_allclose(middles, [[40 + 4 * i, 60] for i in range(12)], atol=1.5)
    assert video.stat().st_size > 1000


def test_bench_charges_one_network_that_does_both(clip, whole_file, capsys):
    options = ["--detector", "own", "--repeat", "1", "--threads", "1", "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        nasion(["bench", str(clip), "--model", str(whole_file), *options])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "a face in 100.0% of frames" in " ".join(printed.split())
    assert re.search(r"^faces: red-faces, \S.* on cpu, 1 threads, .* calls per frame\n  \S", printed, re.MULTILINE)
    assert "detector:" not in printed
