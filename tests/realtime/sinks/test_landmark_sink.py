"""Landmark files: what JSON Lines, CSV and Parquet hold, and when it is on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from nasion.engines.errors import MissingExtra, SinkError, SourceError
from nasion.realtime.exchange.reading import read
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sinks import Header, open_sinks
from nasion.realtime.sinks.landmarks import columns

from ...support.media.sink_samples import (
    INFO,
    LANDMARKS,
    a_frame,
    a_run,
    frames_in,
    open_for,
    records_in,
    some_faces,
    write,
)


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
            assert np.abs(np.array(said["landmarks"]) - face.landmarks).max() < 0.006
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
    header = Header.of(INFO, scheme="mine", landmarks=2, models={"landmarks": "two"}, versions={"nasion": "0.2.0"})
    with open_sinks(landmarks=tmp_path / "faces.jsonl", info=INFO, header=header) as sinks:
        sinks.write(Frame(a_frame(0).image, 1 / 3, 12), [face])
    assert (tmp_path / "faces.jsonl").read_text() == (
        '{"format":2,"source":"clip","width":64,"height":48,"rate":"25","scheme":"mine","landmarks":2,'
        '"models":{"landmarks":"two"},"versions":{"nasion":"0.2.0"}}\n'
        '{"frame":12,"time":0.333333,"faces":[{"id":7,"box":[1.0,2.0,3.0,4.0],"score":0.9877,'
        '"landmarks":[[1.23,2.35],[3.0,4.0]],"confidence":[0.1,1.0]}]}\n'
    )


def test_csv_and_parquet_have_the_documented_columns(tmp_path: Path) -> None:
    columns = ["frame", "time", "id", "box_x0", "box_y0", "box_x1", "box_y1", "score"]
    columns += ["x0", "x1", "y0", "y1", "confidence0", "confidence1"]
    for suffix in (".csv", ".parquet"):
        write(tmp_path / f"faces{suffix}", a_run([0, 1], points=2))
    lines = (tmp_path / "faces.csv").read_text().splitlines()
    assert lines[:3] == ["# format: 2", '# source: "clip"', "# width: 64"]
    assert next(line for line in lines if not line.startswith("#")).split(",") == columns
    assert pyarrow.parquet.read_schema(tmp_path / "faces.parquet").names == columns


def test_a_csv_row_without_a_face_has_frame_and_time_only(tmp_path: Path) -> None:
    write(tmp_path / "faces.csv", a_run([0, 1], points=2))
    assert (tmp_path / "faces.csv").read_text().splitlines()[10] == "0,0.0" + 12 * ","


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
        with pytest.raises(SinkError, match=r"68 landmarks of the scheme ibug-68, not 98 .* to a \.jsonl file"):
            sinks.write(a_frame(1), some_faces(1, 98))
    assert frames_in(tmp_path / f"faces{suffix}") == 1


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    video = tmp_path / "out.mp4"
    with pytest.raises(MissingExtra, match=r"a \.parquet file needs pyarrow.* pip install 'nasion\[parquet\]'"):
        open_sinks(out=video, landmarks=tmp_path / "faces.parquet", info=INFO)
    assert list(tmp_path.iterdir()) == []


# --- read back


@pytest.mark.parametrize("suffix", LANDMARKS)
@pytest.mark.parametrize("points", [1, 68, 98])
def test_every_frame_is_read_back_with_its_faces_and_the_header(tmp_path: Path, suffix: str, points: int) -> None:
    run = a_run([0, 2, 0, 1, 0], points)
    path = tmp_path / f"faces{suffix}"
    write(path, run)
    with read(path) as reading:
        assert (reading.header.source, reading.header.width, reading.header.rate) == ("clip", 64, "25")
        assert (reading.header.format, reading.header.landmarks) == (2, points)
        found = list(reading)
    assert [(frame.index, frame.time, len(faces)) for frame, faces in found] == [
        (frame.index, frame.time, len(faces)) for frame, faces in run
    ]
    for (_, faces), (_, again) in zip(run, found, strict=True):
        for face, same in zip(faces, again, strict=True):
            assert (same.id, same.scheme) == (face.id, reading.header.scheme)
            np.testing.assert_allclose(same.landmarks, face.landmarks, atol=0.006)
            np.testing.assert_allclose(same.box, face.box, atol=0.006)
            np.testing.assert_allclose(same.confidence, face.confidence, atol=0.00006)
            assert same.score == pytest.approx(face.score, abs=0.00006)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_film_without_a_face_has_the_columns_of_one_with_faces(tmp_path: Path, suffix: str) -> None:
    for name, counts in (("none", [0, 0]), ("some", [0, 1])):
        write(tmp_path / f"{name}{suffix}", a_run(counts))
    if suffix == ".csv":
        names = [
            next(line for line in (tmp_path / f"{name}.csv").read_text().splitlines() if not line.startswith("#"))
            for name in ("none", "some")
        ]
    else:
        names = [pyarrow.parquet.read_schema(tmp_path / f"{name}.parquet") for name in ("none", "some")]
        assert names[0].field("x0").type == "float"
        assert b"nasion" in names[0].metadata
    assert names[0] == names[1]
    assert [len(faces) for _, faces in read(tmp_path / f"none{suffix}")] == [0, 0]


def test_files_of_the_first_format_are_read(tmp_path: Path) -> None:
    lines = '{"frame":0,"time":0.0,"faces":[]}\n{"frame":3,"time":0.1,"faces":[{"id":2,"box":[0,0,1,1],"score":0.5,'
    (tmp_path / "old.jsonl").write_text(lines + '"points":[[1,2],[3,4]],"confidence":[1,0.5]}]}\n')
    table = "frame,time,id,box_x0,box_y0,box_x1,box_y1,score,x0,x1,y0,y1,confidence0,confidence1\n"
    (tmp_path / "old.csv").write_text(table + "0,0.0,,,,,,,,,,,,\n3,0.1,2,0,0,1,1,0.5,1,3,2,4,1,0.5\n")
    for name in ("old.jsonl", "old.csv"):
        with read(tmp_path / name) as reading:
            assert reading.header.format == 1
            found = list(reading)
        assert [(frame.index, len(faces)) for frame, faces in found] == [(0, 0), (3, 1)]
        (face,) = found[1][1]
        np.testing.assert_array_equal(face.landmarks, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", "x", r"has suffix '\.txt'; allowed: \.jsonl, \.csv, \.parquet"),
        ("a.jsonl", "no json", "cannot be read"),
        ("a.csv", "a,b\n1,2\n", "cannot be read"),
        ("a.jsonl", '{"format":9}\n', "has format 9; this version reads up to 2"),
        ("a.parquet", "no parquet", "cannot be read"),
    ],
)
def test_what_is_not_a_landmark_file_is_named(tmp_path: Path, name: str, content: str, text: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=text):
        list(read(tmp_path / name))
    with pytest.raises(SourceError, match=r"is not a file|has suffix"):
        read(tmp_path / f"missing{name}")


def test_a_damaged_line_is_raised_after_the_good_frames(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    write(path, a_run([1, 1, 1]))
    path.write_text(path.read_text()[:-40])
    reading = read(path)
    assert [next(reading)[0].index, next(reading)[0].index] == [0, 1]
    with pytest.raises(SourceError, match=r"faces\.jsonl', line 4 cannot be read: it is not JSON \(.* at column \d+\)"):
        next(reading)


FACE = {"id": 1, "box": [0, 0, 1, 1], "score": 0.5, "landmarks": [[1, 2], [3, 4]], "confidence": [1, 0.5]}


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        ({"box": [1, 2, 3]}, r"box of face 1 is \[1, 2, 3\], expected 4 numbers x0, y0, x1, y1"),
        ({"box": None}, "box of face 1 is None, expected 4 numbers x0, y0, x1, y1"),
        ({"id": "one"}, "id of a face is 'one', expected a number"),
        ({"id": 1.5}, "id of a face is 1.5, expected a whole number from 0"),
        ({"score": float("nan")}, "score of face 1 is nan, expected a number"),
        ({"landmarks": [[1, 2], [3]]}, r"landmarks of face 1 is .*, expected pairs x, y"),
        ({"landmarks": [1, 2]}, r"landmarks of face 1 is \[1, 2\], expected pairs x, y"),
        (
            {"landmarks": [[1, 2], [3, float("inf")]]},
            r"landmarks of face 1: number 1 is \[3\.0, inf\], expected pairs x, y",
        ),
        ({"confidence": [1]}, r"confidence of face 1 is \[1\], expected 2 numbers, one for each landmark"),
    ],
)
def test_a_damaged_face_is_named_with_its_line(tmp_path: Path, change: dict[str, object], damage: str) -> None:
    lines = [{"format": 2, "landmarks": 2, "scheme": ""}, {"frame": 0, "time": 0, "faces": [FACE]}]
    lines.append({"frame": 1, "time": 0.1, "faces": [FACE | change]})
    path = tmp_path / "faces.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    reading = read(path)
    assert next(reading)[0].index == 0
    with pytest.raises(SourceError, match=rf"faces\.jsonl', line 3 cannot be read: {damage}; give a file that"):
        next(reading)


@pytest.mark.parametrize(
    ("line", "damage"),
    [
        ("[1]", r"the line is \[1\], expected a JSON object"),
        ('{"frame":1,"time":0}', "faces is None, expected a list"),
        ('{"frame":1,"time":0,"faces":[3]}', "a face is 3, expected a JSON object"),
        ('{"frame":-1,"time":0,"faces":[]}', "frame is -1, expected a whole number from 0"),
        ('{"frame":1,"faces":[]}', "time is None, expected a number"),
    ],
)
def test_a_damaged_frame_is_named_with_its_line(tmp_path: Path, line: str, damage: str) -> None:
    path = tmp_path / "faces.jsonl"
    path.write_text(f'{{"format":2}}\n{line}\n')
    with pytest.raises(SourceError, match=f"line 2 cannot be read: {damage}"):
        list(read(path))


@pytest.mark.parametrize(
    ("row", "damage"),
    [
        ("1,0.04,1,0,0,x,1,0.5,1,2,3,4,1,1", r"box of face 1 is \['0', '0', 'x', '1'\], expected 4 numbers"),
        ("1,0.04,1,0,0,,1,0.5,1,2,3,4,1,1", "box of face 1 is .*, expected 4 numbers"),
        ("1,0.04,1,0,0", "it has 5 cells, expected 14"),
        ("one,0.04,1,0,0,1,1,0.5,1,2,3,4,1,1", "frame is 'one', expected a number"),
        ("1,0.04,1,0,0,1,1,0.5,1,2,3,,1,1", "landmarks of face 1 is .*, expected pairs x, y"),
    ],
)
def test_a_damaged_row_is_raised_after_the_good_frames(tmp_path: Path, row: str, damage: str) -> None:
    path = tmp_path / "faces.csv"
    good = "0,0,1,0,0,1,1,0.5,1,2,3,4,1,1\n"
    path.write_text(f"# format: 2\n# landmarks: 2\n{','.join(columns(2))}\n{good}{row}\n{good}")
    reading = read(path)
    assert [face.id for face in next(reading)[1]] == [1]
    with pytest.raises(SourceError, match=rf"faces\.csv', line 5 cannot be read: {damage}"):
        next(reading)


def test_a_damaged_row_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    rows = [dict.fromkeys(columns(1), 0.0) | {"frame": i, "id": 1} for i in range(3)]
    rows[2]["box_x1"] = None
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    reading = read(path)
    assert [next(reading)[0].index, next(reading)[0].index] == [0, 1]
    with pytest.raises(
        SourceError, match=r"faces\.parquet', row 3 cannot be read: box of face 1: number 2 is nan, expected 4 numbers"
    ):
        next(reading)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", "# format: x\n", "line 1 cannot be read: it is not JSON"),
        ("a.csv", "frame,time\n", "line 1 cannot be read: it has no column 'id'"),
        ("a.jsonl", '{"format":"x"}\n', "line 1 cannot be read: format of the header is 'x', expected a number"),
    ],
)
def test_a_damaged_header_is_named_with_its_line(tmp_path: Path, name: str, content: str, text: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=text):
        read(tmp_path / name)
