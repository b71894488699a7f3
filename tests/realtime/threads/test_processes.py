"""Objects that go to other processes, and those that refuse to."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import nasion
from nasion import NasionError, Tracker, TrackerOptions
from nasion.engines.errors import MissingExtra, ModelError, SinkError, SourceError
from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.realtime.faces.frame import Frame
from nasion.realtime.values.published_schemes import IBUG_68


@pytest.fixture
def frame() -> Frame:
    return Frame(np.asarray(cv2.imread(str(PHOTOGRAPH)), np.uint8), 0.0, 0)


def test_images_can_be_detected_in_other_processes() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(nasion.detect, [PHOTOGRAPH, str(PHOTOGRAPH)]))
        with pytest.raises(SourceError, match=r"none\.png"):
            pool.submit(nasion.detect, "none.png").result()
    assert found == [nasion.detect(PHOTOGRAPH)] * 2
    assert found[0][0].landmarks.scheme is IBUG_68


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork processes")
def test_detect_works_in_a_forked_process_and_a_tracker_says_that_it_does_not(frame: Frame) -> None:
    faces = nasion.detect(frame)
    with Tracker() as tracker, nasion.track("pattern:") as video:
        assert tracker.update(frame) == faces
        receiving, sending = multiprocessing.Pipe(duplex=False)
        child = os.fork()
        if child == 0:
            told: list[Any] = []
            try:
                told.append(nasion.detect(frame))
                for work in (lambda: tracker.update(frame), lambda: next(video)):
                    try:
                        work()
                    except NasionError as error:
                        told.append(str(error))
            finally:
                sending.send(told)
                os._exit(0)
        os.waitpid(child, 0)
        assert receiving.recv() == [
            faces,
            "this tracker was created in another process; create one in the process that uses it",
            "this pipeline was created in another process; call nasion.track in the one that uses it",
        ]


def test_options_and_records_can_be_sent(tmp_path: Path) -> None:
    nasion.write(tmp_path / "faces.jsonl", nasion.track("pattern:?seconds=0.1"))
    with nasion.read(tmp_path / "faces.jsonl") as reading:
        values = [TrackerOptions(max_faces=1), reading.header, *reading]
    assert pickle.loads(pickle.dumps(values)) == values


@pytest.fixture(params=["tracker", "network", "pipeline", "source", "file"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    nasion.write(tmp_path / "faces.jsonl", nasion.track("pattern:?seconds=0.1"))
    makers: dict[str, Callable[[], Any]] = {
        "tracker": Tracker,
        "network": lambda: Tracker().runtimes["detector"],
        "pipeline": lambda: nasion.track("pattern:"),
        "source": lambda: nasion.open_source("pattern:"),
        "file": lambda: nasion.read(tmp_path / "faces.jsonl"),
    }
    with makers[request.param]() as resource:
        yield resource


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_holds_resources_says_that_it_cannot_be_sent(opened: Any, send: Callable[[Any], Any]) -> None:
    message = f"a {type(opened).__name__} cannot be pickled, copied or sent .* send the path or the options"
    with pytest.raises(NasionError, match=message):
        send(opened)


@pytest.mark.parametrize(
    "error", [MissingExtra("pyarrow", "parquet", "a file"), ModelError("a"), SinkError("b"), SourceError("c")]
)
def test_errors_come_back_from_other_processes(error: NasionError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_a_scheme_of_the_user_is_sent_with_its_faces(frame: Frame) -> None:
    (face,) = nasion.detect(frame)
    own = replace(IBUG_68, name="own-68")
    face = replace(face, landmarks=nasion.Landmarks(face.landmarks, own), scheme="own-68")
    again = pickle.loads(pickle.dumps(face))
    assert again == face
    np.testing.assert_array_equal(again.landmarks["left_eye"], face.landmarks["left_eye"])
