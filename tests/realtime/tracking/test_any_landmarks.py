"""Landmark networks of every scheme, with a mean and no presence, from the crop to the file and the image."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as parquet
import pytest

from nasion.engines.spec import Spec
from nasion.realtime.faces.drawing import draw as overlay
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks import Header, open_sinks
from nasion.realtime.sources import open_source
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.tracking.tracker import Tracker
from nasion.realtime.values.schemes import USUAL

from ...support.fakes.networks import RED, Disc, DiscAligner, DiscDetector, FakeRuntime, draw, frame

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def template(count):
    """Points of a face that is 2 wide and 2 high: eyes and mouth where they belong, the rest on the rim."""
    scheme = USUAL[count]
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    rim = [i for i in range(count) if i not in {*scheme.left_eye, *scheme.right_eye, *scheme.mouth}]
    points[rim[:4]] = [[-1, 0], [1, 0], [0, -1], [0, 1]]
    for part, place in ((scheme.left_eye, (-0.4, -0.3)), (scheme.right_eye, (0.4, -0.3)), (scheme.mouth, (0, 0.5))):
        points[list(part)] = place
    return points.astype(np.float32)


class AsInPapers(FakeRuntime):
    """Places the points of any scheme on a disc; confidence for each point and nothing about presence."""

    def __init__(self, count, margin):
        super().__init__(Spec("landmarks", "paper", (64, 64), "rgb", MEAN, STD, landmarks=count, crop_margin=margin))
        self._template, self._eye = template(count), DiscAligner()

    def __call__(self, images):
        self.batches.append(images.shape)
        mean, std = (np.float32(values).reshape(3, 1, 1) for values in (MEAN, STD))
        levels = (images * std + mean) / 255
        large = levels.repeat(2, axis=2).repeat(2, axis=3)  # what a disc needs to look large enough
        found = self._eye(large.astype(np.float32))
        low, high = found["points"].min(axis=1) / 2, found["points"].max(axis=1) / 2
        points = (low + high)[:, None] / 2 - 0.25 + self._template * (high - low)[:, None] / 2
        confidence = np.repeat(found["presence"][:, None], len(self._template), axis=1)
        return {"points": points.astype(np.float32), "confidence": confidence}


def tracker(count, margin=1.25, **options):
    return Tracker.from_networks(DiscDetector(), AsInPapers(count, margin), smooth="none", **options)


@pytest.mark.parametrize("count", USUAL)
def test_faces_of_every_scheme_are_followed_drawn_and_written(count, tmp_path):
    write_clip(tmp_path / "clip.mp4", CameraMotion((320, 240), seconds=0.2))
    table, lines, columns = (tmp_path / name for name in ("faces.csv", "faces.jsonl", "faces.parquet"))
    with open_source(tmp_path / "clip.mp4") as source:
        info = source.info
    followed = tracker(count)
    for path in (table, lines, columns):
        followed.reset()
        header = Header.of(info, scheme=USUAL[count].name, landmarks=count)
        with open_sinks(info=info, landmarks=path, header=header) as sinks:
            for i in range(4):
                shown = frame(i, Disc(RED, 120 + 3 * i, 120, 80))
                (face,) = followed.update(shown)
                assert face.landmarks.shape == (count, 2)
                assert face.confidence.shape == (count,)
                np.testing.assert_allclose(face.box, [80 + 3 * i, 80, 160 + 3 * i, 160], atol=2)
                sinks.write(shown, [face])
    assert (overlay(shown.image, [face]) != shown.image).any()
    faces = [line for line in map(json.loads, lines.read_text().splitlines()) if line.get("faces")]
    assert [len(line["faces"][0]["landmarks"]) for line in faces] == [count] * 4
    assert len(list(csv.reader(table.open()))) >= 5
    assert parquet.read_table(columns).num_rows >= 4


@pytest.mark.parametrize("margin", [1.2, 1.3, 2.0])
def test_a_face_is_found_and_followed_at_the_margin_that_a_network_asks_for(margin):
    network = AsInPapers(29, margin)
    followed = Tracker.from_networks(DiscDetector(), network, smooth="none")
    for i in range(10):
        (face,) = followed.update(frame(i, Disc(RED, 100 + 4 * i, 120, 100)))
        np.testing.assert_allclose(face.box, [50 + 4 * i, 70, 150 + 4 * i, 170], atol=2.5)


def test_without_presence_the_mean_confidence_says_whether_a_face_is_there():
    followed = tracker(98, detect_interval=1000 / 30)
    assert len(followed.update(frame(0, Disc(RED, 160, 120, 80)))) == 1
    assert followed.update(Frame(draw(), 1 / 30, 1)) == []
