from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nasion
from nasion import NasionError

from ...support.media.sink_samples import a_run, some_faces


def test_faces_become_detections() -> None:
    supervision = pytest.importorskip("supervision")
    faces = some_faces(3)
    found = nasion.to_detections(faces)
    assert isinstance(found, supervision.Detections)
    np.testing.assert_array_equal(found.xyxy, [face.box for face in faces])
    np.testing.assert_allclose(found.confidence, [face.score for face in faces], rtol=1e-6)
    assert found.tracker_id.tolist() == [1, 2, 3]
    assert found["class_name"].tolist() == ["face"] * 3
    assert supervision.BoxAnnotator().annotate(np.zeros((100, 100, 3), np.uint8), found).any()


def test_faces_become_key_points() -> None:
    supervision = pytest.importorskip("supervision")
    faces = some_faces(2, points=98)
    found = nasion.to_key_points(faces)
    assert isinstance(found, supervision.KeyPoints)
    np.testing.assert_array_equal(found.xy, [face.landmarks for face in faces])
    np.testing.assert_array_equal(found.keypoint_confidence, [face.confidence for face in faces])
    np.testing.assert_allclose(found.detection_confidence, [face.score for face in faces], rtol=1e-6)
    assert found["tracker_id"].tolist() == [1, 2]
    assert found.visible is None
    assert supervision.VertexAnnotator(radius=1).annotate(np.zeros((100, 100, 3), np.uint8), found).any()


def test_visibility_is_kept() -> None:
    pytest.importorskip("supervision")
    seen = np.arange(68, dtype=np.uint8) % 3
    found = nasion.to_key_points([replace(face, visibility=seen) for face in some_faces(2)])
    np.testing.assert_array_equal(found.visible, np.stack([seen == 2] * 2))


def test_no_faces_become_empty_objects() -> None:
    pytest.importorskip("supervision")
    assert len(nasion.to_detections([])) == len(nasion.to_key_points([])) == 0


def test_faces_of_several_networks_do_not_become_key_points() -> None:
    pytest.importorskip("supervision")
    with pytest.raises(NasionError, match="have 68 and 98 landmarks; convert those of one network at a time"):
        nasion.to_key_points([*some_faces(1), *some_faces(1, points=98)])


def test_without_supervision_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    for convert in (nasion.to_detections, nasion.to_key_points):
        with pytest.raises(NasionError, match=r"needs the package supervision .*pip install 'supervision>="):
            convert(some_faces(1))


# --- tables


def test_pandas_and_polars_read_the_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    run = a_run([1, 0, 2])
    nasion.write(tmp_path / "faces.parquet", run)
    table, frame = pandas.read_parquet(tmp_path / "faces.parquet"), polars.read_parquet(tmp_path / "faces.parquet")
    assert list(table.columns) == frame.columns
    assert table["frame"].tolist() == frame["frame"].to_list() == [0, 1, 2, 2]
    assert table["id"].isna().tolist() == frame["id"].is_null().to_list() == [False, True, False, False]
    x, y = table.filter(regex=r"^x\d+$").to_numpy()[0], frame.select(r"^y\d+$").row(0)
    np.testing.assert_allclose(np.stack([x, y], 1), run[0][1][0].landmarks, atol=0.006)
