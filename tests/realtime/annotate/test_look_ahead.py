"""The look-ahead over journals of known content, without networks."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasion.realtime.annotate.inputs import Input
from nasion.realtime.annotate.job import Job
from nasion.realtime.annotate.journal import Chunk, End, Journal, JournalFace, JournalFrame, JournalHeader
from nasion.realtime.annotate.look_ahead.annotation import Annotated, Annotation
from nasion.realtime.annotate.rendering.obscuring import areas
from nasion.realtime.faces.face import Face
from nasion.realtime.tracking.options import TrackerOptions
from nasion.realtime.values.arrays import FloatArray
from nasion.realtime.values.geometry import box_of
from nasion.realtime.values.landmarks import Landmarks

RATE = 30.0
SHAPE = np.random.default_rng(0).uniform(-40, 40, (68, 2)).astype(np.float32)
HEADER = JournalHeader(
    "film.mp4",
    "video",
    {},
    640,
    360,
    "30",
    None,
    1,
    512,
    {"smooth": "light", "keep": 1.5},
    "",
    "ibug-68",
    68,
    False,
    {},
)


def look(seed: int) -> FloatArray:
    """A descriptor of a face, unlike those of other seeds."""
    values = np.random.default_rng(seed).normal(size=192).astype(np.float32)
    return values / np.float32(np.linalg.norm(values))


def frame(index: int, *faces: tuple[int, tuple[float, float]], **more: object) -> JournalFrame:
    seen = [JournalFace(track, SHAPE + np.float32(place), np.full(68, 0.9, np.float32), 0.95) for track, place in faces]
    return JournalFrame(index, index / RATE, (640, 360), seen, **more)  # type: ignore[arg-type]


def annotated(path: Path, *chunks: Chunk, header: JournalHeader = HEADER) -> list[Annotated]:
    with Journal(path) as journal:
        journal.begin(header)
        for chunk in chunks:
            journal.add(chunk)
        journal.finish(End(sum(len(chunk.frames) for chunk in chunks)))
    return list(Annotation(path))


def face_of(seen: JournalFace) -> Face:
    return Face(1, box_of(seen.points), seen.score, Landmarks(seen.points), seen.confidence)


def ids(frames: list[Annotated]) -> list[list[int]]:
    return [[face.id for face in each.faces] for each in frames]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "film.journal"


def test_a_gap_is_filled_on_the_way_of_the_face_and_marked(path: Path) -> None:
    way = [(100 + 4 * i, 150 + 0.05 * i * i) for i in range(40)]
    frames = [frame(i, *([] if 15 <= i < 22 else [(1, way[i])])) for i in range(40)]
    found = annotated(path, Chunk(0, frames, {1: look(1)}))
    assert ids(found) == [[1]] * 40
    assert [i for i, each in enumerate(found) if each.faces[0].interpolated] == list(range(15, 22))
    for i, each in enumerate(found):
        assert np.abs(np.asarray(each.faces[0].landmarks) - SHAPE - np.float32(way[i])).max() < 1.0
    assert found[18].faces[0].confidence.max() < found[10].faces[0].confidence.min()
    assert found[18].faces[0].pose is not None


@pytest.mark.parametrize("reason", ["too long", "elsewhere", "another shot"])
def test_a_gap_stays_open_where_the_sides_do_not_agree(path: Path, reason: str) -> None:
    end = 60 if reason == "too long" else 20
    there = (450.0, 200.0) if reason == "elsewhere" else (100.0, 150.0)
    frames = [
        *(frame(i, (1, (100.0, 150.0))) for i in range(15)),
        *(frame(i, shot=reason == "another shot" and i == 17) for i in range(15, end)),
        *(frame(i, (1, there)) for i in range(end, end + 20)),
    ]
    found = annotated(path, Chunk(0, frames, {1: look(1)}))
    assert not any(face.interpolated for each in found for face in each.faces)
    assert all(not each.faces for each in found[15:end])


def test_doubtful_observations_beside_a_gap_are_replaced(path: Path) -> None:
    way = [(100.0 + 4 * i, 150.0) for i in range(40)]
    frames = [frame(i, *([] if 18 <= i < 22 else [(1, way[i])])) for i in range(40)]
    for i in (16, 17, 22):  # as behind another face
        frames[i].faces[0] = replace(frames[i].faces[0], points=SHAPE + np.float32((60, 90)), score=0.2)
    found = annotated(path, Chunk(0, frames, {1: look(1)}))
    assert [i for i, each in enumerate(found) if each.faces[0].interpolated] == list(range(16, 23))
    for i, each in enumerate(found):
        assert np.abs(np.asarray(each.faces[0].landmarks) - SHAPE - np.float32(way[i])).max() < 2.0


@pytest.mark.parametrize("obscure", ["", "blur"])
def test_an_identity_that_is_never_certain_is_dropped_but_covered(path: Path, obscure: str) -> None:
    frames = [frame(i, (1, (450.0, 200.0)), (2, (100.0, 150.0))) for i in range(20)]
    for each in frames:
        each.faces[0] = replace(each.faces[0], score=0.4)
    chunk = Chunk(0, frames, {1: look(1), 2: look(2)})
    found = annotated(path, chunk, header=replace(HEADER, obscure=obscure))
    assert ids(found) == [[1]] * 20
    assert found[0].faces[0].box[0] < 100
    (*_, (_, where)) = areas(found)
    assert any(abs(area.x - 450) < 40 and area.radius > 60 for area in where)
    asked = replace(HEADER, options={**HEADER.options, "min_score": 0.1})
    assert ids(annotated(path, chunk, header=asked)) == [[1, 2]] * 20


def test_an_identity_goes_on_over_the_border_of_chunks_and_over_gaps_if_the_face_is_alike(path: Path) -> None:
    first = [frame(i, (1, (100 + i, 150))) for i in range(30)]
    second = [frame(i, (1, (100 + i, 150))) for i in range(30, 50)]
    later = [frame(i) for i in range(50, 80)]
    back = [frame(i, (2, (130 + i, 150)), (3, (400, 200))) for i in range(80, 100)]
    same, other = look(1), look(2)
    chunks = Chunk(0, first, {1: same}), Chunk(1, [*second, *later, *back], {1: same, 2: same, 3: other})
    found = ids(annotated(path, *chunks))
    assert found[0] == found[29] == found[30] == [1]
    assert found[-1] == [1, 2]
    unlike = chunks[0], Chunk(1, chunks[1].frames, {1: same, 2: other, 3: look(3)})
    assert ids(annotated(path, *unlike))[-1] == [2, 3]


def test_a_flash_changes_no_shot(path: Path) -> None:
    frames = [frame(i, (1, (100, 150))) for i in range(20)]
    frames.append(frame(20, shot=True))
    frames.append(frame(21, (1, (100, 150)), shot=True, resumes=20))
    frames += [frame(i, (1, (100, 150))) for i in range(22, 40)]
    found = annotated(path, Chunk(0, frames, {1: look(1)}))
    assert {each.shot for each in found} == {0}
    assert found[20].faces[0].interpolated
    frames[21] = frame(21, (1, (100, 150)))
    cut = annotated(path, Chunk(0, frames, {1: look(1)}))
    assert [each.shot for each in cut] == [0] * 20 + [1] * 20
    assert not cut[20].faces


def noisy(way: np.ndarray, seed: int) -> list[JournalFrame]:
    """Frames of a face that moves along x, with noise of its own in each landmark."""
    random = np.random.default_rng(seed)
    frames = [frame(i, (1, (float(x), 150.0))) for i, x in enumerate(way)]
    for each in frames:
        each.faces[0].points[...] += random.normal(0, 0.4, SHAPE.shape)
    return frames


def points_of(found: list[Annotated]) -> np.ndarray:
    return np.array([np.asarray(each.faces[0].landmarks) - SHAPE for each in found])


def test_smoothing_has_no_lag(path: Path) -> None:
    time = np.arange(120) / RATE
    found = annotated(path, Chunk(0, noisy(300 + 60 * np.sin(np.pi * time), 1), {1: look(1)}))
    phase = np.pi * time
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], axis=1)
    a, b, _ = np.linalg.lstsq(basis, points_of(found)[:, :, 0].mean(axis=1), rcond=None)[0]
    assert abs(np.arctan2(b, a) / np.pi * RATE) < 0.01  # frames


def test_smoothing_takes_the_jitter_of_a_face_at_rest_also_at_the_border_of_chunks(path: Path) -> None:
    frames = noisy(np.full(120, 300.0), 2)
    before = points_of([Annotated(each, [face_of(each.faces[0])]) for each in frames])
    chunks = [Chunk(n, frames[40 * n : 40 * n + 40], {1: look(1)}) for n in range(3)]
    after = points_of(annotated(path, *chunks))
    jitter = [np.abs(np.diff(each, axis=0)).mean() for each in (before, after)]
    assert jitter[1] < 0.35 * jitter[0]
    whole = points_of(annotated(path.with_name("whole.journal"), Chunk(0, frames, {1: look(1)})))
    assert np.abs(whole - after).max() < 0.1


def test_independent_images_are_left_as_they_are(path: Path) -> None:
    header = replace(HEADER, kind="images")
    frames = [frame(i, (1, (100 + 50 * (i % 2), 150)), file=f"{i}.jpg") for i in range(4)]
    found = annotated(path, Chunk(0, frames, {}), header=header)
    assert ids(found) == [[1]] * 4
    assert [each.faces[0].interpolated for each in found] == [False] * 4


def test_jobs_and_chunks_can_be_pickled_for_other_machines(path: Path) -> None:
    job = Job(Input("film", "film.mp4", (Path("a.png"),)), path.parent, ("jsonl",), TrackerOptions(max_faces=2))
    assert pickle.loads(pickle.dumps(job)) == job
    chunk = Chunk(3, noisy(np.full(4, 300.0), 0), {1: look(1)}, pixels=5)
    assert pickle.loads(pickle.dumps(chunk)).to_bytes() == chunk.to_bytes()
