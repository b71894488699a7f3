"""One suite over all sinks, then what each landmark file holds and what ``open_sinks`` refuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet
import pytest

from nasion.engines.errors import MissingExtra, SinkError
from nasion.realtime.faces import Face, Frame
from nasion.realtime.sinks import Sink, Sinks, open_sinks
from nasion.realtime.sources import SourceInfo, open_source

ROOT = Path(__file__).parents[1]
INFO = SourceInfo("clip", 64, 48, Fraction(25), None, None)
IMAGE_INFO = SourceInfo("face", 64, 48, Fraction(25), 1, 0.04)

LANDMARKS = (".jsonl", ".csv", ".parquet")
VIDEOS = (".mp4", ".mov", ".mkv")
IMAGES = (".png", ".jpg", ".jpeg")


def a_frame(index: int) -> Frame:
    return Frame(np.full((48, 64, 3), 40 + index % 200, np.uint8), index / 25, index)


def some_faces(count: int, points: int = 68, seed: int = 0) -> list[Face]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(1, count + 1):
        xy = random.uniform(-10, 70, (points, 2)).astype(np.float32)
        box = np.concatenate([xy.min(0), xy.max(0)]).astype(np.float32)
        confidence = random.uniform(0, 1, points).astype(np.float32)
        found.append(Face(number, box, float(random.uniform()), xy, confidence))
    return found


Run = list[tuple[Frame, list[Face]]]


def a_run(counts: Sequence[int], points: int = 68) -> Run:
    return [(a_frame(i), some_faces(count, points, seed=i)) for i, count in enumerate(counts)]


def open_for(path: Path, *, force: bool = False) -> Sinks:
    """The sink that goes with the suffix of ``path``."""
    if path.suffix in LANDMARKS:
        return open_sinks(landmarks=path, info=INFO, force=force)
    return open_sinks(out=path, info=IMAGE_INFO if path.suffix in IMAGES else INFO, force=force)


def write(path: Path, run: Iterable[tuple[Frame, list[Face]]], *, force: bool = False) -> None:
    with open_for(path, force=force) as sinks:
        for frame, faces in run:
            sinks.write(frame, faces)


def frames_in(path: Path) -> int:
    """How many frames a reader finds."""
    if path.suffix in LANDMARKS:
        return len(records_in(path))
    if path.suffix in IMAGES:
        assert cv2.imread(str(path)) is not None
        return 1
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def records_in(path: Path) -> list[dict[str, Any]]:
    """What a landmark file of any kind says, in the form of JSON Lines."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows: list[dict[str, Any]] = [
                {name: json.loads(text) if text else None for name, text in row.items()} for row in csv.DictReader(file)
            ]
    else:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    records: list[dict[str, Any]] = []
    for row in rows:
        if not records or records[-1]["frame"] != row["frame"]:
            records.append({"frame": row["frame"], "time": row["time"], "faces": []})
        if row["id"] is not None:
            records[-1]["faces"].append(_face_of(row))
    return records


def _face_of(row: dict[str, Any]) -> dict[str, Any]:
    count = sum(name.startswith("confidence") for name in row)
    return {
        "id": row["id"],
        "box": [row[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")],
        "score": row["score"],
        "points": [[row[f"x{i}"], row[f"y{i}"]] for i in range(count)],
        "confidence": [row[f"confidence{i}"] for i in range(count)],
    }


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


def test_a_missing_folder_is_named(path: Path) -> None:
    with pytest.raises(SinkError, match=r"there is no folder .*missing'; create it first"):
        open_for(path.parent / "missing" / path.name)


def test_a_folder_is_no_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(SinkError, match="is a folder; give the name of a file"):
        open_for(path, force=True)


def test_a_folder_without_write_rights_is_found_out_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: place != path.parent)
    with pytest.raises(SinkError, match="may not be written by this user"):
        open_for(path)


def test_a_full_disk_is_said_to_be_full(path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system to play the full disk")
    path.symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"cannot write '.*result.*': (.* )?No space left on device; check the folder"):
        write(path, a_run([1] * length(path, 30)), force=True)


def test_the_source_is_never_overwritten(path: Path) -> None:
    path.write_text("the source")
    target = {"landmarks" if path.suffix in LANDMARKS else "out": path}
    others = tuple(path.with_name(f"{i}.png") for i in range(3))  # of a folder; one of them is gone since
    others[0].touch()
    for files, what in (((path,), "the source itself"), ((*others, path), "a picture of the source")):
        info = SourceInfo("x", 64, 48, frames=1, files=files)
        with pytest.raises(SinkError, match=f"is {what}; give another name"):
            open_sinks(**target, info=info, force=True)  # type: ignore[arg-type]
    assert path.read_text() == "the source"


def test_the_source_is_known_by_any_of_its_names(path: Path) -> None:
    original = path.with_name("source")
    original.write_text("the source")
    path.symlink_to(original)
    target = {"landmarks" if path.suffix in LANDMARKS else "out": path}
    with pytest.raises(SinkError, match="is the source itself"):
        open_sinks(**target, info=SourceInfo("x", 64, 48, frames=1, files=(original,)), force=True)  # type: ignore[arg-type]


def test_the_only_picture_of_a_folder_is_not_replaced_by_its_result(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), a_frame(0).image)
    before = (tmp_path / "a.png").read_bytes()
    with open_source(tmp_path) as source, pytest.raises(SinkError, match="is the source itself; give another name"):
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


# ---- landmark files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", LANDMARKS)
@pytest.mark.parametrize("points", [1, 19, 68, 98, 106])
def test_what_is_read_is_what_was_written(tmp_path: Path, suffix: str, points: int) -> None:
    run = a_run([0, 1, 3, 0], points)
    write(tmp_path / f"faces{suffix}", run)
    records = records_in(tmp_path / f"faces{suffix}")
    assert [(r["frame"], r["time"]) for r in records] == [(0, 0.0), (1, 0.04), (2, 0.08), (3, 0.12)]
    for (_, faces), got in zip(run, records, strict=True):
        assert [face["id"] for face in got["faces"]] == [face.id for face in faces]
        for face, said in zip(faces, got["faces"], strict=True):
            assert said["box"] == pytest.approx(face.box.tolist(), abs=0.006)
            assert said["score"] == pytest.approx(face.score, abs=0.00006)
            assert np.abs(np.array(said["points"]) - face.points).max() < 0.006
            assert np.abs(np.array(said["confidence"]) - face.confidence).max() < 0.00006


@pytest.mark.parametrize("counts", [[0, 1, 3, 0, 2], [0, 0, 0], [2]])
def test_csv_and_parquet_say_the_same_as_json_lines(tmp_path: Path, counts: list[int]) -> None:
    run = a_run(counts)
    said = []
    for suffix in LANDMARKS:
        write(tmp_path / f"faces{suffix}", run)
        said.append(records_in(tmp_path / f"faces{suffix}"))
    assert said[0] == said[1] == said[2]
    assert [len(record["faces"]) for record in said[0]] == counts


def test_a_line_of_json_has_the_documented_form(tmp_path: Path) -> None:
    points = np.array([[1.234, 2.346], [3, 4]], np.float32)
    face = Face(7, np.array([1, 2, 3, 4], np.float32), 0.98765, points, np.array([0.1, 1], np.float32))
    with open_sinks(landmarks=tmp_path / "faces.jsonl", info=INFO) as sinks:
        sinks.write(Frame(a_frame(0).image, 1 / 3, 12), [face])
    assert (tmp_path / "faces.jsonl").read_text() == (
        '{"frame":12,"time":0.333333,"faces":[{"id":7,"box":[1.0,2.0,3.0,4.0],"score":0.9877,'
        '"points":[[1.23,2.35],[3.0,4.0]],"confidence":[0.1,1.0]}]}\n'
    )


def test_csv_and_parquet_have_the_documented_columns(tmp_path: Path) -> None:
    columns = ["frame", "time", "id", "box_x0", "box_y0", "box_x1", "box_y1", "score"]
    columns += ["x0", "x1", "y0", "y1", "confidence0", "confidence1"]
    for suffix in (".csv", ".parquet"):
        write(tmp_path / f"faces{suffix}", a_run([0, 1], points=2))
    assert (tmp_path / "faces.csv").read_text().splitlines()[0].split(",") == columns
    assert pyarrow.parquet.read_schema(tmp_path / "faces.parquet").names == columns


def test_a_csv_row_without_a_face_has_frame_and_time_only(tmp_path: Path) -> None:
    write(tmp_path / "faces.csv", a_run([0, 1], points=2))
    assert (tmp_path / "faces.csv").read_text().splitlines()[1] == "0,0.0" + 12 * ","


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"faces{suffix}"
    with open_for(path) as sinks:
        for frame, faces in a_run([1, 2, 1]):
            sinks.write(frame, faces)
            assert records_in(path)[-1]["frame"] == frame.index


def test_parquet_is_written_in_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    write(path, a_run([1] * 2100, points=2))
    assert pyarrow.parquet.ParquetFile(path).num_row_groups == 3
    assert [record["frame"] for record in records_in(path)] == list(range(2100))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_faces_of_two_schemes_do_not_fit_into_one_table(tmp_path: Path, suffix: str) -> None:
    with open_for(tmp_path / f"faces{suffix}") as sinks:
        sinks.write(a_frame(0), some_faces(1, 68))
        with pytest.raises(SinkError, match=r"columns for 68 points, not 98; .* to a \.jsonl file"):
            sinks.write(a_frame(1), some_faces(1, 98))
    assert frames_in(tmp_path / f"faces{suffix}") == 1


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    video = tmp_path / "out.mp4"
    with pytest.raises(MissingExtra, match=r"a \.parquet file needs pyarrow.* pip install 'nasion\[parquet\]'"):
        open_sinks(out=video, landmarks=tmp_path / "faces.parquet", info=INFO)
    assert list(tmp_path.iterdir()) == []


_KILLED = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from nasion.realtime.faces import Face, Frame
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
    for suffix in (".mp4", ".mkv"):  # 6 s, of which the encoder and the last fragment hold back two
        assert frames_in(tmp_path / f"a{suffix}") >= 80


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
    for landmarks in ("faces.txt", "missing/faces.csv"):
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
