"""The tracker's options: what some of them do, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, get_args, get_type_hints

import numpy as np
import pytest

import nasion
from nasion.engines.errors import NasionError
from nasion.realtime.pipeline import TrackKeywords
from nasion.realtime.sources import open_source
from nasion.realtime.tracking.options import TrackerKeywords
from nasion.realtime.tracking.tracker import Tracker, TrackerOptions
from nasion.realtime.values.source_options import SourceKeywords, SourceOptions
from nasion.tools.options import Reading

from ....support.fakes.disc_stories import ids, make, place, play
from ....support.fakes.networks import BLUE, GREEN, RED, SIZE, Disc, DiscAligner, DiscDetector, backdrop, frame


def test_max_faces_takes_the_largest_and_then_keeps_whom_it_has():
    small, large, larger = Disc(RED, 60, 60, 40), Disc(GREEN, 160, 150, 70), Disc(BLUE, 260, 90, 90)
    tracker = make(max_faces=1, detect_interval=3 / 30)
    seen = play(tracker, *[[small, large]] * 4, *[[small, large, larger]] * 8, *[[small]] * 8)
    assert [ids(faces) for faces in seen[:12]] == [[1]] * 12
    np.testing.assert_allclose(place(seen[11][0]), [160, 150], atol=1.5)
    assert ids(seen[-1]) == [2]
    np.testing.assert_allclose(place(seen[-1][0]), [60, 60], atol=1.5)


def test_a_false_alarm_larger_than_all_faces_does_not_take_their_place():
    wall = backdrop()
    wall[20:100, 10:310] = BLUE
    tracker = make(max_faces=1)
    faces = tracker.update(frame(0, Disc(RED, 160, 170, 50), on=wall))
    assert ids(faces) == [1]
    np.testing.assert_allclose(place(faces[0]), [160, 170], atol=1.5)


def test_detect_size_is_the_longer_side_that_the_detector_sees():
    detector = DiscDetector()
    Tracker.from_networks(detector, DiscAligner(), detect_size=160).update(frame(0))
    assert {shape[2:] for shape in detector.batches} == {(128, 160), (160, 128)}, "upright and rotated"
    assert max(SIZE) == 320


def test_overrides_change_the_options_given():
    tracker = Tracker.from_networks(DiscDetector(), DiscAligner(), TrackerOptions(keep=3.0), max_faces=2)
    assert tracker.options == TrackerOptions(keep=3.0, max_faces=2)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"detect_interval": -1}, "detect_interval=-1 is not allowed; give seconds from 0"),
        ({"detect_interval": float("inf")}, "detect_interval=inf is not allowed"),
        ({"detect_interval": True}, "detect_interval=True is not allowed"),
        ({"detect_size": 8}, "detect_size=8 is not allowed; give a whole number from 32"),
        ({"max_faces": 0}, "max_faces=0 is not allowed; give a whole number from 1"),
        ({"smooth": "lots"}, "smooth='lots' is not allowed; choose from none, light, strong"),
        ({"runtime": "cuda"}, "runtime='cuda' is not allowed; choose from auto, onnx, torch"),
        ({"device": "gpu"}, r"device 'gpu' is unknown; allowed: auto, cpu, cuda \(the same as cuda:0\) or cuda:N"),
        ({"device": 0}, "device 0 is unknown"),
        ({"device": None}, "device None is unknown"),
        ({"runtime": np.zeros(2)}, r"runtime=array\(\[0\., 0\.\]\) is not allowed; choose from auto"),
        ({"threads": -1}, "threads=-1 is not allowed; give a whole number from 0 to 1024"),
        ({"threads": 1025}, "threads=1025 is not allowed"),
        ({"keep": True}, "keep=True is not allowed; give seconds from 0"),
        ({"keep": "1"}, "keep='1' is not allowed"),
        ({"keep": None}, "keep=None is not allowed"),
        ({"keep": np.timedelta64(1, "s")}, "keep=.*timedelta64.* is not allowed"),
        ({"keep": 10**400}, "keep=10000.* is not allowed"),
        ({"detect_interval": np.timedelta64(5, "s")}, "detect_interval=.*timedelta64.* is not allowed"),
        ({"max_faces": np.bool_(True)}, "max_faces=.*True.* is not allowed"),
        ({"keep": -1.0}, r"keep=-1\.0 is not allowed; give seconds from 0"),
        ({"keep": float("nan")}, "keep=nan is not allowed"),
        ({"model": ""}, "model='' is not allowed; give a model's name or the path of a file"),
        ({"detector": 3}, "detector=3 is not allowed"),
    ],
)
def test_an_option_that_is_not_allowed_is_named_with_what_is(option, message):
    with pytest.raises(NasionError, match=message):
        TrackerOptions(**option)
    with pytest.raises(NasionError, match=message):
        make(**option)


def test_an_unknown_option_is_named_with_those_that_are_known():
    with pytest.raises(NasionError, match=r"option 'max_face' is unknown; did you mean 'max_faces'\? allowed: model, "):
        make(max_face=1)


def test_the_old_name_of_an_option_is_refused_with_the_new_one():
    for refused in (
        lambda: make(detect_every=45),
        lambda: nasion.track("pattern:", detect_every=45),
        lambda: nasion.TrackerOptions(detect_every=45),
        lambda: nasion.TrackerOptions().but(detect_every=45),
        lambda: replace(nasion.TrackerOptions(), detect_every=45),
        lambda: nasion.detect(np.zeros((64, 64, 3), np.uint8), detect_every=45),
    ):
        with pytest.raises(
            NasionError, match=r"'detect_every' \(frames\) is detect_interval \(seconds\) since nasion 0\.2"
        ):
            refused()


def test_cuda_is_the_first_gpu():
    assert TrackerOptions(device="cuda") == TrackerOptions(device="cuda:0")


def test_numbers_of_numpy_are_taken_and_kept_as_those_of_python():
    options = TrackerOptions(
        keep=np.float32(0.5),
        detect_interval=np.int64(4),
        detect_size=np.int32(64),
        max_faces=np.uint8(2),
        threads=np.int8(1),
    )
    assert options == TrackerOptions(keep=0.5, detect_interval=4.0, detect_size=64, max_faces=2, threads=1)
    values = (options.keep, options.detect_interval, options.detect_size, options.max_faces, options.threads)
    assert [type(value) for value in values] == [float, float, int, int, int]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x.onnx", r"given 'x\.onnx' in place of its options; name the network: Tracker\(model='x\.onnx'\); .*track\("),
        (Path("x.onnx"), r"Tracker\(model='x\.onnx'\)"),
        (
            {"max_faces": 1},
            r"given \{'max_faces': 1\} \(dict\) in place of its options; give a TrackerOptions, or single",
        ),
        ((), r"given \(\) \(tuple\) in place of its options"),
    ],
)
def test_what_are_no_options_is_refused_with_what_to_write(given, message):
    with pytest.raises(NasionError, match=message):
        Tracker(given)
    with pytest.raises(NasionError, match=message):
        Tracker.from_networks(DiscDetector(), DiscAligner(), given)


def test_paths_in_place_of_loaded_networks_are_refused_with_what_to_write():
    with pytest.raises(NasionError, match=r"given 'a\.onnx' as a network; .* Tracker\(detector='detector\.onnx'"):
        Tracker.from_networks(DiscDetector(), "a.onnx")


# --- one list


def test_the_keywords_for_editors_and_type_checkers_are_the_fields_of_the_options():
    assert get_type_hints(TrackerKeywords) == get_type_hints(TrackerOptions)
    assert not TrackerKeywords.__required_keys__


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Tracker.__init__, "overrides"),
        (Tracker.from_networks, "overrides"),
        (TrackerOptions.but, "changes"),
    ],
)
def test_every_function_that_takes_options_by_name_says_which(function: Callable[..., Any], name: str):
    assert get_type_hints(function)[name] == Unpack[TrackerKeywords]


def test_the_options_of_a_source_are_one_list_in_python_and_on_the_command_line():
    named = get_type_hints(SourceKeywords)
    assert named == get_type_hints(SourceOptions)
    assert get_type_hints(open_source)["options"] == Unpack[SourceKeywords]
    assert get_type_hints(nasion.track)["overrides"] == Unpack[TrackKeywords]
    assert get_type_hints(TrackKeywords) == named | get_type_hints(TrackerKeywords)
    assert set(get_type_hints(get_args(Reading)[0])) == set(named)


def test_track_takes_a_set_of_options_and_single_ones_in_its_place():
    options = TrackerOptions(max_faces=2, smooth="none")
    with nasion.track("pattern:", options, smooth="strong", end=1.0) as video:
        assert video.tracker.options == options.but(smooth="strong")  # type: ignore[attr-defined]
        assert video.info.duration == 1.0
    with nasion.track("pattern:", options=options) as video:
        assert video.tracker.options == options  # type: ignore[attr-defined]
    with pytest.raises(NasionError, match=r"given 'x\.onnx' in place of its options; name the network"):
        nasion.track("pattern:", "x.onnx")  # type: ignore[arg-type]


def test_an_unknown_option_of_track_is_named_with_what_may_be_meant():
    for wrong, near in (("max_face", "max_faces"), ("strat", "start")):
        with pytest.raises(NasionError, match=rf"option '{wrong}' is unknown; did you mean '{near}'\? allowed for the"):
            nasion.track("pattern:", **{wrong: 1})
