"""Pieces of inputs, tracked in any order, give the journal of one process."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import which

import av
import pytest

import nasion
from nasion.engines.errors import SourceError
from nasion.realtime.annotate.annotate import prepared
from nasion.realtime.annotate.first_pass import open_frames
from nasion.realtime.annotate.inputs import find_inputs
from nasion.realtime.annotate.job import Job, header_of
from nasion.realtime.annotate.journal import Whole, whole_part
from nasion.realtime.annotate.workers.assembly import Assembly, Survey
from nasion.realtime.annotate.workers.pieces import Piece, Place, SeenPiece, pieces_of, see
from nasion.realtime.sources.packets.key_frames import find_key_frames
from nasion.realtime.tracking.options import TrackerOptions
from nasion.realtime.tracking.tracker import Tracker

from .conftest import CHUNK, FRAMES


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    with Tracker() as tracker:
        yield tracker


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """The clip with a key frame every 10 frames, and frames that refer to later ones."""
    path = tmp_path_factory.mktemp("keyed") / "clip.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=30, options={"g": "10", "bf": "2", "sc_threshold": "0"})
        video.width, video.height, video.pix_fmt = (
            source.streams.video[0].width,
            source.streams.video[0].height,
            "yuv420p",
        )
        for frame in source.decode(video=0):
            frame.pict_type = av.video.frame.PictureType.NONE
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


def job_of(path: Path, out: Path, **options: object) -> Job:
    (found,) = find_inputs([path])
    return Job(found, out, ("jsonl",), TrackerOptions(), **options)  # type: ignore[arg-type]


def assembled(job: Job, tracker: Tracker, pieces: tuple[Piece, ...], done: Whole | None = None) -> Assembly:
    """Track pieces in another order and put them together."""
    done = done or whole_part(job.journal)
    content = job.input.content()
    with open_frames(job, Whole()) as opened:
        header = header_of(job, tracker, opened.info, content.figures)
    last = None if done.last is None else Place(done.last.index, done.pixels)
    with Assembly(job, Survey(header, pieces, done.bytes, done.frames, last)) as assembly:
        while assembly.end is None:
            under_way = []
            while (piece := assembly.next_piece()) is not None:
                under_way.append(piece)
            assert under_way
            random.Random(1).shuffle(under_way)
            for piece in under_way:
                seen, lines = see(job, piece, tracker, content.digests)
                assembly.add(piece, seen, lambda lines=lines: lines)  # type: ignore[misc]
    return assembly


@pytest.mark.parametrize("every", [1, 2])
def test_pieces_of_a_video_give_the_journal_of_one_process(
    keyed: Path, tracker: Tracker, tmp_path: Path, every: int
) -> None:
    nasion.annotate(keyed, tmp_path / "one", every=every)
    job = job_of(keyed, tmp_path / "many", every=every)
    pieces = tuple(pieces_of(job, Whole(), chunks_each=1))
    assert len(pieces) == (3 if every == 1 else 1)  # half a chunk is left at the end of 23 frames
    assembly = assembled(job, tracker, pieces)
    assert not assembly.is_repeated
    assert job.journal.read_bytes() == (tmp_path / "one" / "clip.journal").read_bytes()


@pytest.mark.parametrize("independent", [False, True])
def test_pieces_of_images_give_the_journal_of_one_process(
    images: Path, tracker: Tracker, tmp_path: Path, independent: bool
) -> None:
    job = replace(job_of(images, tmp_path / "many", independent=independent), chunk=2)
    alone = replace(job, out=tmp_path / "one")
    for each in (job, alone):
        each.out.mkdir()
    pieces = tuple(pieces_of(job, Whole(), chunks_each=1))
    assert [piece.after for piece in pieces] == [None, 1, 3]
    assembled(job, tracker, pieces)
    assembled(alone, tracker, (Piece(0),))
    assert job.journal.read_bytes() == alone.journal.read_bytes()


def test_pieces_go_on_behind_what_a_journal_has(keyed: Path, tracker: Tracker, tmp_path: Path) -> None:
    nasion.annotate(keyed, tmp_path)
    job = job_of(keyed, tmp_path)
    whole = job.journal.read_bytes()
    job.journal.write_bytes(whole[: whole.rindex(b'{"chunk":1') + 100])  # chunk 0 is whole
    done = whole_part(job.journal)
    assert done.chunks == 1
    pieces = tuple(pieces_of(job, done, chunks_each=1))
    assert [(piece.first, piece.after) for piece in pieces] == [(1, CHUNK - 1), (2, 2 * CHUNK - 1)]
    assembled(job, tracker, pieces, done)
    assert job.journal.read_bytes() == whole


def test_what_lies_behind_a_seam_that_does_not_fit_is_read_again(
    keyed: Path, tracker: Tracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nasion.annotate(keyed, tmp_path / "one")
    job = job_of(keyed, tmp_path / "many")
    wrong = (Piece(0, 1), Piece(1, None, CHUNK + 4, 0.3))  # five frames too late, as if the packets lied
    assembly = assembled(job, tracker, wrong)
    assert assembly.is_repeated
    assert "do not fit those before; reading it from the beginning" in caplog.text
    assert job.journal.read_bytes() == (tmp_path / "one" / "clip.journal").read_bytes()


def test_an_input_that_differs_each_time_is_an_error(keyed: Path, tracker: Tracker, tmp_path: Path) -> None:
    job = job_of(keyed, tmp_path)
    with open_frames(job, Whole()) as opened:
        header = header_of(job, tracker, opened.info, {})
    with Assembly(job, Survey(header, (Piece(0, 1), Piece(1, None, 15)))) as assembly:
        pieces = [assembly.next_piece(), assembly.next_piece()]
        begin = SeenPiece(1, 16, None, Place(15, 1), False, "", 1.0, 0.1)
        assembly.add(pieces[0], begin, lambda: b"")  # type: ignore[arg-type]
        other = SeenPiece(2, 29, Place(15, 2), Place(44, 3), True, "", 1.0, 0.1)
        assembly.add(pieces[1], other, lambda: b"")  # type: ignore[arg-type]
        again = assembly.next_piece()
        assert again == Piece(1, None, 15, None)
        with pytest.raises(SourceError, match="it has other frames each time it is read"):
            assembly.add(again, other, lambda: b"")


def test_a_video_is_split_only_where_a_key_frame_is_near(clip: Path, keyed: Path, tmp_path: Path) -> None:
    # the clip has its only key frame at the beginning: pieces of 8 frames are split while that is near
    far = list(pieces_of(replace(job_of(clip, tmp_path), chunk=8), Whole(), chunks_each=1))
    assert [piece.first for piece in far] == [0, 1]
    near = list(pieces_of(replace(job_of(keyed, tmp_path), chunk=8), Whole(), chunks_each=1))
    assert [piece.first for piece in near] == list(range(5))
    assert [piece.time and round(piece.time * 30) for piece in near] == [None, None, 10, 20, 30]


@pytest.mark.skipif(which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_key_frames_are_found_without_decoding(keyed: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    options = ["-bsf:v", "h264_mp4toannexb"] if suffix in ("ts", "avi") else []
    subprocess.run(["ffmpeg", "-v", "error", "-i", keyed, "-c", "copy", *options, path], check=True)
    keys = find_key_frames(str(path), path.name)
    assert keys.count == FRAMES
    assert keys.numbers == (0, 10, 20, 30, 40)
    # AVI has decoding times only
    assert keys.times == pytest.approx([number / 30 for number in keys.numbers], abs=0.11)
    assert keys.before(19) == (10, keys.times[1])


def test_a_file_without_a_video_has_no_key_frames(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(SourceError, match=r"a\.mp4: .*give a whole video"):
        find_key_frames(str(tmp_path / "a.mp4"), "a.mp4")


def test_a_plan_is_for_this_machine_or_for_a_cluster(clip: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(nasion.NasionError, match="workers=2 is for this machine alone"),
        prepared(
            [clip],
            tmp_path,
            workers=2,
            cluster=object(),  # type: ignore[arg-type]
        ),
    ):
        pass
