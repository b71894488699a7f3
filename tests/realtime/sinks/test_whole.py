"""A disk that fills up: what was written stays readable, and what has no room leaves no trace."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet
import pytest

from nasion.engines.errors import SinkError
from nasion.realtime.sinks import landmarks, open_sinks
from nasion.realtime.sinks.whole import WholeFile

from ...support.media.sink_samples import INFO, a_run, open_for, records_in, write

resource = pytest.importorskip("resource", reason="needs a limit to the size of a file, which this system lacks")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: as on a full disk, a write takes what fits and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ---- the file ----------------------------------------------------------------------------------------


def test_a_piece_that_does_not_fit_is_taken_back_and_a_smaller_one_may_follow(tmp_path: Path) -> None:
    with room_for(10), WholeFile(tmp_path / "file") as file:
        assert file.write(b"1234") == 4
        with pytest.raises(OSError, match="too large"):
            file.write(b"567890!")
        assert (tmp_path / "file").read_bytes() == b"1234"
        file.write(b"abcdef")
    assert (tmp_path / "file").read_bytes() == b"1234abcdef"


def test_a_piece_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "file") as file:
        file.write(b"1234")
        assert (tmp_path / "file").read_bytes() == b"1234"


def test_reserved_room_is_there_when_the_disk_is_full(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "file") as file:
        file.write(b"12")
        file.reserve(6)
        file.reserve(3)  # there is more already
        assert (tmp_path / "file").stat().st_size == 8
        with room_for(8):
            file.write(b"3456")
            with pytest.raises(OSError, match="too large"):
                file.write(b"789")
            file.write(b"78")
    assert (tmp_path / "file").read_bytes() == b"12345678"


def test_room_that_is_not_there_is_refused_and_that_reserved_before_is_kept(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "file") as file:
        file.reserve(4)
        with room_for(8):
            with pytest.raises(OSError, match="too large"):
                file.reserve(9)
            assert (tmp_path / "file").stat().st_size == 4
    assert not (tmp_path / "file").exists()  # nothing was written


def test_a_file_that_was_there_before_stays_though_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    WholeFile(tmp_path / "file").close()
    assert (tmp_path / "file").read_bytes() == b""


def test_room_that_was_not_used_is_given_back(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "file") as file:
        file.reserve(1000)
        file.write(b"12")
        assert not file.closed
    file.close()
    assert file.closed
    assert (tmp_path / "file").read_bytes() == b"12"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_takes_pieces_too(tmp_path: Path) -> None:
    got: list[bytes] = []
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with WholeFile(tmp_path / "pipe") as file:
        file.reserve(100)
        file.write(b"12")
        file.write(b"34")
    reader.join()
    assert got == [b"1234"]


# ---- the sinks -----------------------------------------------------------------------------------------


RUN = a_run([0, 2, 1, 0, 3, 1, 1, 2], points=5)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_full_disk_leaves_whole_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"faces{suffix}"
    write(path, RUN)
    whole, size = records_in(path), path.stat().st_size
    kept = []
    for room in range(0, size, 29):
        with pytest.raises(SinkError, match="ulimit -f"), room_for(room):
            write(path, RUN, force=True)
        text = path.read_text()
        assert not text or text.endswith("\n")
        assert records_in(path) == whole[: len(records_in(path))]
        kept.append(len(records_in(path)))
    assert kept[0] == 0
    assert kept[-1] == len(RUN) - 1
    assert kept == sorted(kept)


def test_a_full_disk_leaves_the_groups_of_a_parquet_file_that_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landmarks, "_ROWS", 10)
    run = a_run([1] * 60, points=5)
    path = tmp_path / "faces.parquet"
    kept = []
    for room in range(20_000, 80_000, 6_000):
        failed = False
        with room_for(room):
            try:
                write(path, run, force=True)
            except SinkError as error:
                failed = True
                assert "ulimit -f" in str(error)  # noqa: PT017
        rows = pyarrow.parquet.read_table(path).column("frame").to_pylist()
        assert rows == list(range(len(rows)))
        assert len(rows) % 10 == 0
        assert failed == (len(rows) < 60)
        kept.append(len(rows))
    assert kept == sorted(kept)
    assert kept[0] < 20 < 50 < kept[-1]
    assert len(set(kept)) > 3


def test_a_parquet_file_whose_index_has_no_room_is_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    monkeypatch.setattr(WholeFile, "reserve", lambda file, size: None)  # room that the disk promised and has not
    with pytest.raises(SinkError, match="its index is missing, so the file cannot be read"), room_for(1000):
        write(tmp_path / "faces.parquet", RUN)
    gc.collect()
    assert not ignored  # pyarrow does not try to close the file again


def test_closing_after_a_full_disk_does_not_fail_again(tmp_path: Path) -> None:
    for suffix in (".jsonl", ".csv", ".parquet"):
        sinks = open_for(tmp_path / f"faces{suffix}", landmarks=5)
        with room_for(100):
            with pytest.raises(SinkError, match="ulimit -f"):
                sinks.write(*RUN[1])
            sinks.close()


def test_an_image_without_room_leaves_no_part_of_it(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="ulimit -f"), room_for(50):
        write(tmp_path / "out.png", RUN[:1])
    assert not (tmp_path / "out.png").exists()


def test_a_disk_that_was_full_for_a_while_costs_only_the_frames_meanwhile(tmp_path: Path) -> None:
    with open_sinks(landmarks=tmp_path / "faces.jsonl", info=INFO) as sinks:
        for place, (frame, faces) in enumerate(RUN):
            with room_for(1) if place == 4 else room_for(10**9), suppress(SinkError):
                sinks.write(frame, faces)
    assert [record["frame"] for record in records_in(tmp_path / "faces.jsonl")] == [0, 1, 2, 3, 5, 6, 7]
