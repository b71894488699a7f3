"""The tracker's networks: shared, loaded by name, closed, and refused in each other's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasion.engines.errors import ModelError, NasionError, RuntimeUnavailable
from nasion.realtime.tracking.tracker import Tracker

from ....support.fakes.disc_stories import ids
from ....support.fakes.networks import GREEN, RED, Disc, DiscAligner, DiscDetector, frame


def test_trackers_share_networks_but_no_state_and_leave_them_open():
    detector, aligner = DiscDetector(), DiscAligner()
    with Tracker.from_networks(detector, aligner) as one, Tracker.from_networks(detector, aligner) as two:
        assert ids(one.update(frame(0, Disc(RED, 60, 60)))) == [1]
        assert ids(two.update(frame(0, Disc(GREEN, 200, 150)))) == [1]
    assert not detector.closed
    assert not aligner.closed


@pytest.fixture
def loaded(monkeypatch):
    """Stands in for files: what was opened, and how."""
    opened = []

    def open_fake(path, *, longest, int8, **options):
        options |= ({"longest": longest} if longest else {}) | ({"int8": str(int8)} if int8 else {})
        opened.append((path, options, DiscDetector() if "detector" in str(path) else DiscAligner()))
        return opened[-1][2]

    monkeypatch.setattr("nasion.realtime.tracking.tracker.open_runtime", open_fake)
    monkeypatch.setattr("nasion.realtime.tracking.tracker.model_path", Path)
    return opened


def test_a_tracker_closes_the_networks_that_it_loaded(loaded):
    with Tracker() as tracker:
        assert ids(tracker.update(frame(0, Disc(RED, 160, 120)))) == [1]
        assert set(tracker.runtimes) == {"detector", "landmarks"}
        assert [network.closed for _, _, network in loaded] == [False, False]
    assert [network.closed for _, _, network in loaded] == [True, True]
    with pytest.raises(NasionError, match="closed; make a new one"):
        tracker.update(frame(1))
    tracker.close()


def test_networks_are_closed_where_one_of_them_is_of_the_wrong_kind(loaded):
    with pytest.raises(ModelError, match="give a landmark model"):
        Tracker(model="detector-2")
    assert [network.closed for _, _, network in loaded] == [True, True]


def test_torch_runs_the_network_that_was_named_and_what_ships_beside_it_runs_as_ever(loaded):
    Tracker(model="mine.pt2", runtime="torch", threads=2)
    Tracker(model="mine.pt2", detector="face-detector", runtime="torch", device="cpu")
    assert [(str(path), options) for path, options, _ in loaded] == [
        ("mine.pt2", {"runtime": "torch", "threads": 2, "device": "auto"}),
        ("face-detector", {"runtime": "auto", "threads": 2, "device": "auto", "int8": "face-detector-int8"}),
        ("mine.pt2", {"runtime": "torch", "threads": 1, "device": "cpu"}),
        ("face-detector", {"runtime": "auto", "threads": 1, "device": "cpu"}),
    ]


def test_a_runtime_and_a_device_asked_for_by_name_are_asked_of_all_networks(loaded):
    Tracker(runtime="tensorrt", device="cuda:1")
    wanted = {"runtime": "tensorrt", "threads": 1, "device": "cuda:1"}
    names = ("landmarks-68-int8", "face-detector-int8")
    assert [options for _, options, _ in loaded] == [wanted | {"int8": name} for name in names]


def test_networks_are_made_ready_for_the_images_that_they_are_shown(loaded):
    Tracker(detect_size=1280)
    assert [options["longest"] for _, options, _ in loaded] == [1280, 1280]


def test_what_ships_is_not_a_file_for_torch_and_that_is_said():
    with pytest.raises(RuntimeUnavailable, match=r"runtime 'torch' runs \.pt2 files, not 'landmarks-68\.onnx'"):
        Tracker(runtime="torch")


def test_networks_in_each_others_place_are_refused():
    with pytest.raises(ModelError, match="give a detector"):
        Tracker.from_networks(DiscAligner(), DiscAligner())
    with pytest.raises(ModelError, match="give a landmark model"):
        Tracker.from_networks(DiscDetector(), DiscDetector())


def test_a_wrong_model_name_says_which_there_are():
    with pytest.raises(ModelError, match="neither a file nor the name of a network"):
        Tracker(model="landmarks-9000", detector="landmarks-9000")
