"""Measures and visibility of a tracker: asked for by options, in faces, in files and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasion.engines.errors import NasionError
from nasion.engines.select import open_runtime
from nasion.engines.spec import Spec
from nasion.realtime.exchange.reading import read
from nasion.realtime.faces.drawing import draw
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.faces.measured import EyeOpening, Pose
from nasion.realtime.measures.openings import Openings
from nasion.realtime.sinks import Header, open_sinks
from nasion.realtime.tracking.aligner import Aligner
from nasion.realtime.tracking.tracker import Tracker, TrackerOptions
from nasion.realtime.values.published_schemes import IBUG_68

from ...support.fakes.networks import RED, TEMPLATE, Constant, Disc, DiscAligner, DiscDetector, frame
from ...support.media.sink_samples import INFO, LANDMARKS

ALL = ("pose", "eyes", "mouth")


def tracked(**options: Any) -> list[Face]:
    with Tracker.from_networks(DiscDetector(), DiscAligner(), **options) as tracker:
        for index in range(5):
            faces = tracker.update(frame(index, Disc(RED, 100 + 3 * index, 120)))
    return faces


def test_a_tracker_measures_nothing_that_it_is_not_asked_for() -> None:
    (face,) = tracked()
    assert (face.pose, face.eye_opening, face.mouth_opening, face.visibility) == (None, None, None, None)
    (face,) = tracked(measures=["mouth"])
    assert (face.pose, face.eye_opening) == (None, None)
    assert face.mouth_opening is not None


@pytest.mark.parametrize("smooth", ["none", "light", "strong"])
def test_measures_are_those_of_the_landmarks_that_are_returned(smooth: str) -> None:
    (face,) = tracked(measures=ALL, smooth=smooth)
    assert face.pose is not None
    assert face.pose.focal_length == 320  # the longer side of the image
    assert face.eye_opening is not None
    assert [*face.eye_opening, face.mouth_opening] == Openings(IBUG_68)(face.landmarks)
    assert face.eye_opening.left == face.eye_opening[0]


def test_the_focal_length_is_an_option() -> None:
    (near,), (far,) = tracked(measures=ALL), tracked(measures=ALL, focal_length=640)
    assert near.pose is not None
    assert far.pose is not None
    assert far.pose.focal_length == 640
    assert far.pose.translation[2] == pytest.approx(2 * near.pose.translation[2], rel=0.2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"measures": ("pose", "gaze")}, r"measures='gaze' is not allowed; choose from pose, eyes, mouth"),
        ({"measures": 3}, r"measures=3 is not allowed; give names"),
        ({"measures": [1]}, r"measures=\[1\] is not allowed; give names"),
        ({"focal_length": 0}, r"focal_length=0 is not allowed; give pixels above 0"),
        ({"focal_length": "far"}, r"focal_length='far' is not allowed"),
    ],
)
def test_options_that_are_not_allowed(options: dict[str, Any], text: str) -> None:
    with pytest.raises(NasionError, match=text):
        TrackerOptions(**options)


def test_measures_are_kept_once_in_one_order() -> None:
    assert TrackerOptions(measures=["mouth", "pose", "mouth"]).measures == ("pose", "mouth")
    assert TrackerOptions(measures="eyes").measures == ("eyes",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "scheme", "measures", "text"),
    [
        (19, "aflw-19", ("eyes",), r"how far the left eye is open"),
        (5, "", ("pose",), r"measures pose need a known landmark scheme"),
    ],
)
def test_a_network_without_the_landmarks_of_a_measure_is_refused(
    count: int, scheme: str, measures: tuple[str, ...], text: str
) -> None:
    network = Constant(Spec("landmarks", "few", (64, 64), landmarks=count, scheme=scheme))
    with pytest.raises(NasionError, match=text):
        Tracker.from_networks(DiscDetector(), network, measures=measures)  # type: ignore[arg-type]
    Tracker.from_networks(DiscDetector(), network).close()


# --- visibility

SEEN = np.arange(68) % 3


class Seer(DiscAligner):
    """Also predicts that landmarks are self-occluded, occluded and visible in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = Spec("landmarks", "seer", (128, 128), landmarks=68, crop_margin=1.35, visibility=True)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        probable = np.where(np.arange(3) == SEEN[:, None], 0.5, 0.25).astype(np.float32)
        return {**super().__call__(images), "visibility": np.stack([probable] * len(images))}


def test_visibility_comes_from_the_network() -> None:
    with Tracker.from_networks(DiscDetector(), Seer()) as tracker:
        (face,) = tracker.update(frame(0, Disc(RED, 100, 120)))
    assert face.visibility is not None
    assert face.visibility.dtype == np.uint8
    np.testing.assert_array_equal(face.visibility, SEEN)


def test_a_file_whose_spec_names_visibility_must_have_it() -> None:
    spec = Spec("landmarks", "blind", (64, 64), landmarks=68, visibility=True)
    outputs = {"points": np.zeros((1, 68, 2), np.float32), "confidence": np.zeros((1, 68), np.float32)}
    with pytest.raises(NasionError, match="returns no 'visibility'"):
        spec.check_outputs(outputs, 1)
    with pytest.raises(NasionError, match="visibility"):
        spec.check_outputs(outputs | {"visibility": np.zeros((1, 68), np.float32)}, 1)
    assert Spec.from_json(spec.to_json()) == spec
    with pytest.raises(NasionError, match="visibility of its spec is 2; allowed: true or false"):
        Spec.from_json(spec.to_json().replace('"visibility": true', '"visibility": 2'))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_an_exported_network_predicts_visibility_in_every_runtime(tmp_path: Path, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    from nasion.trainers.export.files import write_model
    from nasion.trainers.networks.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, LandmarkExport
    from nasion.trainers.systems.shipped.recipes import landmark_spec

    torch.manual_seed(0)
    config = EncoderDecoderConfig(widths=(8, 8, 8, 8, 8), visibility=True)
    network = LandmarkExport(EncoderDecoder(config), 5.0).eval()
    write_model(network, landmark_spec("tiny", 112, visibility=True), tmp_path / f"tiny{suffix}")
    image = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    with open_runtime(tmp_path / f"tiny{suffix}", device="cpu") as runtime:
        assert runtime.spec.visibility
        values = runtime(np.zeros((2, 3, 112, 112), np.float32))["visibility"]
        found = Aligner(runtime).align(image, [])
        assert found.visibility is None
    assert values.shape == (2, 68, 3)
    np.testing.assert_allclose(values.sum(axis=2), 1, atol=1e-5)


def test_the_accurate_recipe_predicts_visibility() -> None:
    pytest.importorskip("torch")
    from nasion.trainers.systems import recipe_named
    from nasion.trainers.training.recipes import Options

    learner = recipe_named("landmarks-68-accurate").build(Options())
    assert learner.spec.visibility
    assert not recipe_named("landmarks-68").build(Options()).spec.visibility


# --- files


def a_face(number: int = 1, **values: Any) -> Face:
    return Face(
        number, np.array([8, 8, 40, 40], np.float32), 0.9, TEMPLATE * 16 + 24, np.ones(68, np.float32), **values
    )


POSE = Pose(12.34, -5.67, 8.9, (10.1, -20.2, 640.3), 64.0)


@pytest.mark.parametrize("suffix", LANDMARKS)
def test_measures_and_visibility_are_read_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    eyes, seen = EyeOpening(0.3121, 0.2876), SEEN.astype(np.uint8)
    whole = a_face(pose=POSE, eye_opening=eyes, mouth_opening=0.1234, visibility=seen)
    flat = a_face(2, eye_opening=eyes, mouth_opening=0.5)  # a pose that could not be determined
    header = Header.of(INFO, measures=ALL, visibility=True)
    path = tmp_path / f"faces{suffix}"
    with open_sinks(landmarks=path, info=INFO, header=header) as sinks:
        for index, faces in enumerate(([], [whole, flat])):
            sinks.write(Frame(np.zeros((48, 64, 3), np.uint8), index / 25, index), faces)
    with read(path) as reading:
        assert (reading.header.measures, reading.header.visibility) == (ALL, True)
        (_, nobody), (_, (first, second)) = reading
    assert nobody == []
    assert first.pose is not None
    assert (first.pose.yaw, first.pose.pitch, first.pose.roll) == pytest.approx((12.34, -5.67, 8.9), abs=1e-5)
    assert first.pose.translation == pytest.approx(POSE.translation, abs=1e-4)
    assert first.pose.focal_length == 64  # the longer side of the image
    assert first.eye_opening == pytest.approx(eyes, abs=1e-6)
    assert first.mouth_opening == pytest.approx(0.1234, abs=1e-6)
    np.testing.assert_array_equal(first.visibility, seen)
    assert second.pose is None
    assert second.visibility is None
    assert second.mouth_opening == 0.5


def test_tables_have_the_columns_of_what_was_asked_for(tmp_path: Path) -> None:
    header = Header.of(INFO, measures=("pose", "eyes"), focal_length=700.0)
    with open_sinks(landmarks=tmp_path / "faces.csv", info=INFO, header=header) as sinks:
        sinks.write(Frame(np.zeros((48, 64, 3), np.uint8), 0, 0), [a_face(pose=POSE, eye_opening=EyeOpening(0.3, 0.2))])
    lines = (tmp_path / "faces.csv").read_text().splitlines()
    names, values = (line.split(",") for line in lines if not line.startswith("#"))
    assert names[-9:] == ["confidence67", "yaw", "pitch", "roll", "head_x", "head_y", "head_z", "eye_left", "eye_right"]
    assert values[-8:] == ["12.34", "-5.67", "8.9", "10.1", "-20.2", "640.3", "0.3", "0.2"]
    assert '# measures: ["pose", "eyes"]' in lines
    with read(tmp_path / "faces.csv") as reading:
        (face,) = next(reading)[1]
    assert face.pose is not None
    assert face.pose.focal_length == 700


def test_a_dict_of_a_face_has_what_was_measured() -> None:
    assert a_face().to_dict().keys() == {"id", "box", "score", "landmarks", "confidence"}
    values = a_face(pose=POSE, mouth_opening=0.12345, visibility=SEEN.astype(np.uint8)).to_dict()
    assert (values["yaw"], values["head_z"], values["mouth"]) == (12.34, 640.3, 0.1235)
    assert values["visibility"][:4] == [0, 1, 2, 0]


# --- overlay


def difference(face: Face, bare: Face, **parts: bool) -> np.ndarray:
    """Return where (h, w) drawing a face differs from drawing it without what was measured."""
    plain = np.full((120, 160, 3), 128, np.uint8)
    chosen = dict.fromkeys(("box", "label", "landmarks", "lines", "axes", "bars"), False) | parts
    return (draw(plain, [face], **chosen) != draw(plain, [bare], **chosen)).any(axis=2)


def test_axes_begin_at_the_nasion_and_point_where_the_face_looks() -> None:
    straight = Pose(0, 0, 0, (0.0, 0.0, 200.0), 160.0)
    y, x = np.nonzero(difference(a_face(pose=straight), a_face(), axes=True))
    assert (x.min(), y.min()) == pytest.approx((79, 59), abs=3)  # the middle of the image, to the right and down
    assert (x.max(), y.max()) == pytest.approx((79.5 + 48, 59.5 + 48), abs=3)  # 60 mm at 200 mm are 48 pixels
    left = Pose(60, 0, 0, (0.0, 0.0, 200.0), 160.0)
    _, x = np.nonzero(difference(a_face(pose=left), a_face(), axes=True))
    assert x.min() < 40
    behind = Pose(0, 0, 0, (0.0, 0.0, -200.0), 160.0)
    assert not difference(a_face(pose=behind), a_face(), axes=True).any()
    assert not difference(a_face(pose=straight), a_face(), bars=True).any()


def test_bars_grow_with_the_openings() -> None:
    def green(opening: float) -> int:
        plain = np.zeros((120, 160, 3), np.uint8)
        face = a_face(eye_opening=EyeOpening(opening, opening), mouth_opening=opening)
        drawn = draw(plain, [face], box=False, label=False, landmarks=False, lines=False)
        return int((drawn.max(axis=2) > 200).sum())

    assert green(0.05) < green(0.2) < green(0.4)


def test_hidden_landmarks_are_drawn_hollow() -> None:
    seen = np.full(68, 2, np.uint8)
    colourful = []
    for value in (2, 1, 0):
        seen[:] = value
        plain = np.zeros((600, 600, 3), np.uint8)
        face = Face(1, np.array([0, 0, 600, 600], np.float32), 1.0, TEMPLATE * 280 + 300, np.ones(68), seen.copy())
        drawn = draw(plain, [face], box=False, label=False, lines=False)
        colourful.append(int((drawn.max(axis=2) > 120).sum()))
    assert colourful[0] > colourful[1] > colourful[2] == 0
