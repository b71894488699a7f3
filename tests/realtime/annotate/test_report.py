"""The report: one file without outside links, and without faces where they are obscured."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import copy

import av
import numpy as np

import nasion
from nasion.realtime.annotate.annotate import prepared
from nasion.realtime.annotate.annotating import look
from nasion.realtime.annotate.journal import JournalFrame
from nasion.realtime.annotate.look_ahead.annotation import Annotated, Annotation
from nasion.realtime.annotate.rendering.obscuring import ALONE, Area, FramesToCheck, areas, obscured
from nasion.realtime.annotate.report.collecting import Collector
from nasion.realtime.annotate.report.page import write_report

from .conftest import FRAMES

OUTSIDE = re.compile(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""")


def face(number: int, x: float, *, interpolated: bool = False) -> nasion.Face:
    points = np.full((68, 2), [x, 100], np.float32) + np.linspace(-30, 30, 68, dtype=np.float32)[:, None]
    box = np.array([x - 30, 70, x + 30, 130], np.float32)
    return nasion.Face(number, box, 0.9, points, np.ones(68, np.float32), interpolated=interpolated)


def frames(*found: list[nasion.Face], detections: dict[int, list[float]] | None = None) -> list[Annotated]:
    return [
        Annotated(
            JournalFrame(i, i / 10, (640, 360), detections=[detections[i]] if detections and i in detections else None),
            faces,
        )
        for i, faces in enumerate(found)
    ]


def test_a_report_is_one_file_with_plots_and_thumbnails(clip: Path, tmp_path: Path) -> None:
    (result,) = nasion.annotate(clip, tmp_path, report=True)
    assert tmp_path / "clip.html" in result.files
    page = (tmp_path / "clip.html").read_text(encoding="utf-8")
    assert not OUTSIDE.findall(page)
    assert page.count("data:image/jpeg;base64,") >= 2  # the face, and the least certain ones
    for title in ("Faces", "Confidence", "Jitter", "Identities", "Pose", "Openings", "Least certain faces"):
        assert f"{title}" in page
    assert f"<b>{FRAMES}</b><span>frames</span>" in page


def test_a_report_of_a_source_that_is_gone_has_no_thumbnails(clip: Path, tmp_path: Path) -> None:
    copy(clip, tmp_path / "clip.mp4")
    with prepared([tmp_path / "clip.mp4"], tmp_path / "out", every=15) as ready:
        look(ready.jobs[0], ready.tracker, lambda *_: None)
    annotation, collected = Annotation(ready.jobs[0].journal), Collector(3)
    for annotated in annotation:
        collected(annotated)
    (tmp_path / "clip.mp4").unlink()
    write_report(tmp_path / "clip.html", ready.jobs[0], annotation, collected, {}, ())
    page = (tmp_path / "clip.html").read_text(encoding="utf-8")
    assert "Confidence" in page
    assert "data:image" not in page


def test_names_cannot_put_anything_into_the_page(clip: Path, tmp_path: Path) -> None:
    name = "<script>alert(1)<&.mp4"
    copy(clip, tmp_path / name)
    nasion.annotate(tmp_path / name, tmp_path / "out", report=True, every=15)
    (page,) = (tmp_path / "out").glob("*.html")
    assert "<script>alert" not in page.read_text()


def test_a_run_that_obscures_faces_writes_a_video_and_a_report_without_them(clip: Path, tmp_path: Path) -> None:
    (result,) = nasion.annotate(clip, tmp_path, obscure="pixelate", report=True, overlay=True)
    assert {path.name for path in result.files} >= {"clip.obscured.mp4", "clip.overlay.mp4", "clip.html"}
    assert "data:image" not in (tmp_path / "clip.html").read_text()
    with av.open(str(tmp_path / "clip.obscured.mp4")) as video:
        assert len(video.streams.audio) == 1
        images = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
    assert len(images) == FRAMES
    assert not any(nasion.detect(images[i]) for i in range(0, FRAMES, 9))
    assert all(nasion.detect(frame.image) for frame, _ in [next(nasion.track(clip))])


def test_independent_images_are_obscured_one_by_one(images: Path, tmp_path: Path) -> None:
    nasion.annotate(images, tmp_path, obscure="box", independent=True)
    found = sorted((tmp_path / f"{images.name}.obscured").iterdir())
    assert [path.name for path in found] == [f"photo{number}.jpg" for number in range(5)]
    assert nasion.detect([str(path) for path in found]) == [[]] * 5


def test_a_face_is_covered_before_after_and_between() -> None:
    there = [face(1, 100)]
    gone: list[nasion.Face] = []
    found = list(areas(frames(*[gone] * 12, *[there] * 3, *[gone] * 20, *[[face(1, 200)]] * 3, *[gone] * 12)))
    reasons = ["/".join(area.reason for area in where) for _, where in found]
    alone = int(ALONE * 10)
    assert reasons[12 - alone : 12] == ["lost"] * alone
    assert set(reasons[: 12 - alone]) == {""}
    assert reasons[15:35] == ["bridged"] * 20
    assert reasons[38 : 38 + alone] == ["lost"] * alone
    assert reasons[-1] == ""
    middle = found[25][1][0]
    assert 140 < middle.x < 160
    assert middle.radius > found[13][1][0].radius


def test_what_only_the_detector_saw_is_covered_too() -> None:
    found = list(areas(frames(*[[]] * 9, detections={4: [300.0, 80.0, 340.0, 120.0]})))
    assert [len(where) for _, where in found] == [0, 1, 1, 1, 1, 1, 1, 1, 0]
    inside = {4: [90.0, 80.0, 110.0, 120.0]}
    assert all(len(where) == 1 for _, where in areas(frames(*[[face(1, 100)]] * 9, detections=inside)))


def test_spans_that_a_person_should_check_are_listed() -> None:
    attention = FramesToCheck()
    for index, reason in enumerate(["seen", "lost", "lost", "seen", "interpolated", "seen"]):
        attention.add(index, [Area(0, 0, 1, 7, reason)])
    assert attention.spans() == ((1, 2, "face 7 was not found yet, or lost"), (4, 4, "face 7 was interpolated"))


def test_an_area_beyond_the_image_is_left_out_and_the_rest_is_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for way in ("blur", "pixelate", "box"):
        assert (obscured(image, [Area(-100, 20, 30)], way) == image).all()
        changed = (obscured(image, [Area(5, 20, 15)], way) != image).any(axis=2)
        assert changed[20, 5]
        assert not changed[:, 25:].any()
