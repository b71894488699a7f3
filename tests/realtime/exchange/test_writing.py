"""``nasion.write`` and ``nasion.read``, for runs of real trackers and for frames of unknown origin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import nasion
from nasion import Face, Frame, NasionError
from nasion.engines.errors import SinkError
from nasion.realtime.sources import SourceInfo
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.realtime.values.published_schemes import IBUG_68
from nasion.realtime.values.schemes import SCHEMES
from nasion.realtime.values.versions import versions

from ...support.media.media_samples import write_video
from ...support.media.plain_videos import times_in
from ...support.media.sink_samples import IMAGES, LANDMARKS, VIDEOS, a_frame, a_run, some_faces


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, CameraMotion(seconds=0.5))
    return path


@pytest.mark.parametrize("suffix", LANDMARKS)
def test_what_is_written_is_read_and_can_be_written_again(clip: Path, tmp_path: Path, suffix: str) -> None:
    tracked = list(nasion.track(clip))
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    assert nasion.write(first, nasion.track(clip)) == len(tracked)
    with nasion.read(first) as reading:
        header, read = reading.header, list(reading)
    assert (header.source, header.scheme, header.landmarks) == (str(clip), "ibug-68", 68)
    with nasion.Tracker() as tracker:
        assert header.models == {part: network.spec.name for part, network in tracker.runtimes.items()}
    assert [record.index for record, _ in read] == [frame.index for frame, _ in tracked]
    for (_, faces), (_, again) in zip(tracked, read, strict=True):
        assert [face.to_dict() for face in faces] == [face.to_dict() for face in again]
    assert nasion.write(second, nasion.read(first)) == len(tracked)
    with nasion.read(second) as reading:
        assert reading.header == header
        assert list(reading) == read


@pytest.mark.parametrize("suffix", LANDMARKS)
def test_headers_name_networks_and_versions(clip: Path, tmp_path: Path, suffix: str) -> None:
    video = nasion.track(clip, end=0.1)
    nasion.write(tmp_path / f"a{suffix}", ((frame, faces[:1]) for frame, faces in video), header=video.header)
    nasion.write(tmp_path / f"b{suffix}", list(nasion.track(clip, end=0.1)))
    first, second = (nasion.read(tmp_path / f"{name}{suffix}").header for name in "ab")
    assert first.models == video.header.models
    assert set(first.models) == {"detector", "landmarks"}
    assert first.versions == second.versions == versions()
    assert {"nasion", "python", "numpy", "av"} <= set(first.versions)


def test_faces_of_two_schemes_keep_them_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "mine-68", replace(IBUG_68, name="mine-68"))
    usual, other = some_faces(2)
    mine, fewer = replace(other, scheme="mine-68"), replace(some_faces(1, points=29)[0], id=3)
    nasion.write(tmp_path / "a.jsonl", [(a_frame(0), [usual, mine, fewer])])
    ((_, faces),) = nasion.read(tmp_path / "a.jsonl")
    assert [face.scheme_name for face in faces] == ["ibug-68", "mine-68", "cofw-29"]
    assert faces[1].landmarks.scheme is SCHEMES["mine-68"]
    for suffix in (".csv", ".parquet"):
        with pytest.raises(SinkError, match=r"columns for 68 landmarks of the scheme ibug-68, not 68 .* mine-68"):
            nasion.write(tmp_path / f"a{suffix}", [(a_frame(0), [usual, mine])])


@pytest.mark.parametrize("suffix", VIDEOS)
def test_a_video_has_every_frame_at_its_time_with_its_faces_drawn(clip: Path, tmp_path: Path, suffix: str) -> None:
    tracked = list(nasion.track(clip))
    assert nasion.write(tmp_path / f"out{suffix}", iter(tracked)) == len(tracked)
    assert times_in(tmp_path / f"out{suffix}") == pytest.approx([frame.time for frame, _ in tracked], abs=0.002)
    with av.open(str(tmp_path / f"out{suffix}")) as video:
        image = next(video.decode(video=0)).to_ndarray(format="bgr24").astype(int)
    frame, faces = tracked[0]
    near, far = (np.abs(image - each).mean() for each in (nasion.draw(frame.image, faces), frame.image))
    assert near < far


def test_only_the_chosen_parts_are_drawn(tmp_path: Path) -> None:
    frame, faces = a_frame(0), some_faces(2)
    nasion.write(tmp_path / "out.png", [(frame, faces)], parts=["box"])
    drawn = cv2.imread(str(tmp_path / "out.png"))
    np.testing.assert_array_equal(drawn, nasion.draw(frame.image, faces, landmarks=False, lines=False, label=False))
    with pytest.raises(NasionError, match="'boxes' cannot be drawn; allowed: box, label, landmarks, lines"):
        nasion.write(tmp_path / "other.png", [], parts=["boxes"])


def test_several_files_get_the_same_frames(clip: Path, tmp_path: Path) -> None:
    count = nasion.write([tmp_path / "out.mp4", str(tmp_path / "out.csv")], nasion.track(clip, end=0.2))
    assert len(times_in(tmp_path / "out.mp4")) == len(list(nasion.read(tmp_path / "out.csv"))) == count > 1


def test_the_sound_of_the_source_is_kept_also_through_a_generator(tmp_path: Path) -> None:
    write_video(tmp_path / "in.mp4", frames=12, sound=0.5)
    video = nasion.track(tmp_path / "in.mp4")
    nasion.write(tmp_path / "out.mp4", video)
    with nasion.track(tmp_path / "in.mp4") as video:
        nasion.write(tmp_path / "own.mp4", ((frame, faces[:1]) for frame, faces in video), info=video.info)
    for name in ("out.mp4", "own.mp4"):
        with av.open(str(tmp_path / name)) as written:
            assert len(written.streams.audio) == 1


@pytest.mark.parametrize(("points", "scheme"), [(98, "wflw-98"), (5, "")])
def test_frames_of_unknown_origin_have_the_scheme_of_their_faces(tmp_path: Path, points: int, scheme: str) -> None:
    run = a_run([2, 0, 1], points)
    nasion.write(tmp_path / "faces.csv", run)
    with nasion.read(tmp_path / "faces.csv") as reading:
        header = reading.header
        assert [len(faces) for _, faces in reading] == [2, 0, 1]
    assert (header.scheme, header.landmarks, header.width, header.height) == (scheme, points, 64, 48)


def test_without_frames_there_is_not_a_file(tmp_path: Path) -> None:
    assert nasion.write([tmp_path / "out.mp4", tmp_path / "out.jsonl"], []) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_before_an_error_can_be_read(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[Frame, list[Face]]]:
        yield from a_run([1, 1, 1])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        nasion.write([tmp_path / "out.mp4", tmp_path / "out.jsonl"], failing())
    assert len(times_in(tmp_path / "out.mp4")) == len(list(nasion.read(tmp_path / "out.jsonl"))) == 3


@pytest.mark.parametrize("suffix", [*LANDMARKS, *VIDEOS, *IMAGES])
def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    nasion.write(path, a_run([1]))
    before = path.read_bytes()
    with pytest.raises(SinkError, match="already exists; give another name, or replace it with force=True"):
        nasion.write(path, a_run([2]))
    assert path.read_bytes() == before
    nasion.write(path, a_run([2]), force=True)
    assert path.read_bytes() != before


def test_a_file_that_is_read_is_never_replaced(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="is an input of this command; give another name"):
        nasion.write(clip, nasion.track(clip), force=True)
    nasion.write(tmp_path / "faces.jsonl", a_run([1]))
    with pytest.raises(SinkError, match="is an input of this command"):
        nasion.write(tmp_path / "faces.jsonl", nasion.read(tmp_path / "faces.jsonl"), force=True)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([a_frame(0)], r"write was given Frame\(64x48, .*give pairs \(frame, faces\)"),
        ([(a_frame(0), some_faces(1)[0])], "write was given .* give pairs"),
        ([(np.zeros((4, 4, 3), np.uint8), some_faces(1))], "write was given .* give pairs"),
        ([(a_frame(0), ["face"])], "write was given .* give pairs"),
    ],
)
def test_what_is_not_a_frame_with_faces_is_refused(tmp_path: Path, frames: list[Any], message: str) -> None:
    with pytest.raises(NasionError, match=message):
        nasion.write(tmp_path / "out.jsonl", frames)


def test_faces_of_a_landmark_file_cannot_be_drawn_without_an_image(tmp_path: Path) -> None:
    nasion.write(tmp_path / "faces.jsonl", a_run([1]))
    with pytest.raises(NasionError, match="frames of a landmark file have no image to draw on; give those of"):
        nasion.write(tmp_path / "out.mp4", nasion.read(tmp_path / "faces.jsonl"))


def test_an_unknown_suffix_is_refused_with_those_allowed(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"has suffix '\.avi'; allowed: \.mp4, \.mov, \.mkv, .*\.parquet"):
        nasion.write(tmp_path / "out.avi", [])


def test_a_second_frame_does_not_fit_into_an_image(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"is an image, but .* is not a single one"):
        nasion.write(tmp_path / "out.png", nasion.track(clip))
    with pytest.raises(SinkError, match="holds one image and the source has more"):
        nasion.write(tmp_path / "out.png", a_run([1, 1]))


def test_the_description_of_a_source_names_it_in_the_header(tmp_path: Path) -> None:
    info = SourceInfo("film.mp4", 64, 48)
    nasion.write(tmp_path / "a.jsonl", a_run([1]), info=info)
    run = [(replace(frame, source="camera 0"), faces) for frame, faces in a_run([1])]
    nasion.write(tmp_path / "b.jsonl", run)
    with nasion.read(tmp_path / "a.jsonl") as first, nasion.read(tmp_path / "b.jsonl") as second:
        assert (first.header.source, second.header.source) == ("film.mp4", "camera 0")
