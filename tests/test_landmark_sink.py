"""Landmark files: what JSON Lines, CSV and Parquet hold, and when it is on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from nasion.engines.errors import MissingExtra, SinkError
from nasion.realtime.faces import Face, Frame
from nasion.realtime.sinks import open_sinks

from .sink_samples import INFO, LANDMARKS, a_frame, a_run, frames_in, open_for, records_in, some_faces, write


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
