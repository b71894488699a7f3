"""One suite over all sinks, then what ``open_sinks`` opens and refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

from nasion.engines.errors import SinkError
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks import Sink, Sinks, open_sinks
from nasion.realtime.sources import SourceInfo, open_source

from ...conftest import ROOT
from ...support.media.sink_samples import (
    IMAGE_INFO,
    IMAGES,
    INFO,
    LANDMARKS,
    VIDEOS,
    a_frame,
    a_run,
    frames_in,
    open_for,
    write,
)

# ---- every sink --------------------------------------------------------------------------------------


@pytest.fixture(params=LANDMARKS + VIDEOS + IMAGES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"result{request.param}"


def length(path: Path, frames: int) -> int:
    return 1 if path.suffix in IMAGES else frames


def test_every_frame_is_written(path: Path) -> None:
    count = length(path, 6)
    write(path, a_run([0, 1, 3, 0, 0, 1][:count]))
    assert frames_in(path) == count


def test_nothing_is_created_before_the_first_frame(path: Path) -> None:
    with open_for(path):
        assert not path.exists()
    assert not path.exists()


def test_closing_twice_does_no_harm(path: Path) -> None:
    with open_for(path) as sinks:
        sinks.write(*a_run([1])[0])
        sinks.close()
        sinks.close()
    assert frames_in(path) == 1


def test_writing_after_closing_is_refused(path: Path) -> None:
    sinks = open_for(path)
    sinks.close()
    with pytest.raises(SinkError, match="is closed; open it again"):
        sinks.write(*a_run([1])[0])


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_what_was_written_before_a_failure_can_be_read(path: Path, fault: type[BaseException]) -> None:
    run = a_run([1] * length(path, 5))

    def interrupted() -> Iterator[tuple[Frame, list[Face]]]:
        yield from run
        raise fault

    with pytest.raises(fault):
        write(path, interrupted())
    assert frames_in(path) == len(run)


def test_a_file_that_exists_is_kept_without_force(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(SinkError, match="already exists; give another name, or replace it with --force"):
        open_for(path)
    assert path.read_text() == "mine"


def test_force_replaces_a_file_when_the_first_frame_arrives(path: Path) -> None:
    path.write_text("mine" * 10_000)
    with open_for(path, force=True) as sinks:
        assert path.read_text() == "mine" * 10_000
        sinks.write(*a_run([1])[0])
    assert frames_in(path) == 1


def test_a_missing_folder_is_created_with_the_first_frame(path: Path) -> None:
    within = path.parent / "missing" / "too" / path.name
    with open_for(within) as sinks:
        assert not within.parent.parent.exists()
        sinks.write(*a_run([1])[0])
    assert frames_in(within) == 1


def test_a_folder_is_not_a_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(SinkError, match="is a folder; give the name of a file"):
        open_for(path, force=True)


def test_a_folder_without_write_rights_is_found_out_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: place != path.parent)
    with pytest.raises(SinkError, match="is not writable for this user"):
        open_for(path)


def test_a_full_disk_is_said_to_be_full(path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system to play the full disk")
    path.symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"cannot write '.*result.*': (.* )?No space left on device; free some space"):
        write(path, a_run([1] * length(path, 30)), force=True)


def test_the_source_is_never_overwritten(path: Path) -> None:
    path.write_text("the source")
    target = {"landmarks" if path.suffix in LANDMARKS else "out": path}
    others = tuple(path.with_name(f"{i}.png") for i in range(3))  # of a folder; one of them is gone since
    others[0].touch()
    for files in ((path,), (*others, path)):
        info = SourceInfo("x", 64, 48, frames=1, files=files)
        with pytest.raises(SinkError, match="is an input of this command; give another name"):
            open_sinks(**target, info=info, force=True)  # type: ignore[arg-type]
    assert path.read_text() == "the source"


def test_the_source_is_known_by_any_of_its_names(path: Path) -> None:
    original = path.with_name("source")
    original.write_text("the source")
    path.symlink_to(original)
    target = {"landmarks" if path.suffix in LANDMARKS else "out": path}
    with pytest.raises(SinkError, match="is an input of this command"):
        open_sinks(**target, info=SourceInfo("x", 64, 48, frames=1, files=(original,)), force=True)  # type: ignore[arg-type]


def test_the_only_image_of_a_folder_is_not_replaced_by_its_result(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), a_frame(0).image)
    before = (tmp_path / "a.png").read_bytes()
    with (
        open_source(tmp_path) as source,
        pytest.raises(SinkError, match="is an input of this command; give another name"),
    ):
        open_sinks(out=tmp_path / "a.png", info=source.info, force=True)
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_name_that_looks_like_a_protocol_is_a_file_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for name in (f"12:30{path.suffix}", f"file:out{path.suffix}"):
        write(Path(name), a_run([1]))
        assert frames_in(path.parent / name) == 1


def test_a_capital_suffix_is_the_same_suffix(path: Path) -> None:
    capital = path.with_suffix(path.suffix.upper())
    write_to = {"landmarks" if path.suffix in LANDMARKS else "out": capital}
    with open_sinks(**write_to, info=IMAGE_INFO) as sinks:  # type: ignore[arg-type]
        sinks.write(*a_run([1])[0])
    assert capital.stat().st_size > 0


_KILLED = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks import open_sinks
from nasion.realtime.sources import SourceInfo

folder = Path(sys.argv[1])
info = SourceInfo("clip", 64, 48, Fraction(25))
sinks = [open_sinks(out=folder / name, info=info) for name in ("a.mp4", "a.mkv")]
sinks += [open_sinks(landmarks=folder / name, info=info) for name in ("a.jsonl", "a.csv")]
face = Face(1, np.zeros(4, np.float32), 1, np.zeros((68, 2), np.float32), np.zeros(68, np.float32))
for i in range(150):
    for sink in sinks:
        sink.write(Frame(np.full((48, 64, 3), i % 255, np.uint8), i / 25, i), [face])
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_files_that_can_be_read(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.kill()
    assert frames_in(tmp_path / "a.jsonl") == frames_in(tmp_path / "a.csv") == 150
    for suffix in (".mp4", ".mkv"):  # 6 s, of which the last fragment or cluster is lost
        assert frames_in(tmp_path / f"a{suffix}") >= 120


# ---- open_sinks --------------------------------------------------------------------------------------


def test_all_outputs_get_all_frames(tmp_path: Path) -> None:
    video, landmarks = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    with open_sinks(out=str(video), landmarks=str(landmarks), info=INFO) as sinks:
        for frame, faces in a_run([1, 0, 2]):
            sinks.write(frame, faces)
        assert not sinks.stopped
    assert frames_in(video) == frames_in(landmarks) == 3


def test_no_output_is_fine() -> None:
    with open_sinks(info=INFO) as sinks:
        sinks.write(*a_run([1])[0])


@pytest.mark.parametrize("name", ["out.avi", "out.webm", "out", "out.mp4.txt", ".mp4"])
def test_an_unknown_suffix_of_out_is_refused_with_the_list(tmp_path: Path, name: str) -> None:
    with pytest.raises(SinkError, match=r"allowed: \.mp4, \.mov, \.mkv, \.png, \.jpg, \.jpeg"):
        open_sinks(out=tmp_path / name, info=INFO)


@pytest.mark.parametrize("name", ["faces.json", "faces", "faces.mp4"])
def test_an_unknown_suffix_of_landmarks_is_refused_with_the_list(tmp_path: Path, name: str) -> None:
    with pytest.raises(SinkError, match=r"allowed: \.jsonl, \.csv, \.parquet"):
        open_sinks(landmarks=tmp_path / name, info=INFO)


@pytest.mark.parametrize("frames", [None, 2, 500])
def test_an_image_of_a_video_is_refused(tmp_path: Path, frames: int | None) -> None:
    info = SourceInfo("clip", 64, 48, Fraction(25), frames)
    with pytest.raises(SinkError, match=r"'clip' is not a single one; give a video: \.mp4, \.mov, \.mkv"):
        open_sinks(out=tmp_path / "out.png", info=info)


def test_an_image_takes_one_frame_only(tmp_path: Path) -> None:
    with open_sinks(out=tmp_path / "out.png", info=IMAGE_INFO) as sinks:
        sinks.write(a_frame(0), [])
        with pytest.raises(SinkError, match="holds one image and the source has more; give a video"):
            sinks.write(a_frame(1), [])
    assert (cv2.imread(str(tmp_path / "out.png")) == 40).all()


def test_a_video_of_one_image_is_fine(tmp_path: Path) -> None:
    with open_sinks(out=tmp_path / "out.mp4", info=IMAGE_INFO) as sinks:
        sinks.write(a_frame(0), [])
    assert frames_in(tmp_path / "out.mp4") == 1


def test_two_outputs_are_never_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").touch()
    (tmp_path / "faces.jsonl").symlink_to(tmp_path / "out.mp4")
    with pytest.raises(SinkError, match=r"--out and --landmarks are both .*; give them different names"):
        open_sinks(out=tmp_path / "out.mp4", landmarks=tmp_path / "faces.jsonl", info=INFO, force=True)


def test_a_bad_second_output_leaves_no_trace_of_the_first(tmp_path: Path) -> None:
    for landmarks in ("faces.txt", f"{__file__}/faces.csv"):
        with pytest.raises(SinkError):
            open_sinks(out=tmp_path / "out.mp4", landmarks=tmp_path / landmarks, info=INFO)
    assert list(tmp_path.iterdir()) == []


def test_all_sinks_are_closed_though_one_fails() -> None:
    closed: list[str] = []

    class Fake(Sink):
        def __init__(self, name: str, then: Callable[[], None]) -> None:
            self._name, self._then = name, then

        def write(self, frame: Frame, faces: Sequence[Face]) -> None:
            raise AssertionError("nothing is written here")

        def close(self) -> None:
            closed.append(self._name)
            self._then()

    def fail() -> None:
        raise SinkError("the disk is full")

    with pytest.raises(SinkError, match="the disk is full"):
        Sinks([Fake("a", lambda: None), Fake("b", fail), Fake("c", lambda: None)]).close()
    assert sorted(closed) == ["a", "b", "c"]
