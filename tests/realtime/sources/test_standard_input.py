"""Video from standard input: read as it arrives, or copied first where it cannot be read in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from nasion.realtime.sources.standard_input import index_is_last

from ...support.commands import ENVIRONMENT
from ...support.media.media_samples import write_video

TRACK = [sys.executable, "-m", "nasion", "track", "-", "--quiet"]


@pytest.fixture(scope="module", params=["clip.mp4", "front.mp4", "clip.mkv", "clip.ts"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second with sound; in ``front.mp4`` the index comes first."""
    path = tmp_path_factory.mktemp("piped") / request.param
    return write_video(
        path, frames=25, sound=1.0, options={"movflags": "faststart"} if path.name == "front.mp4" else None
    )


def track(piped: bytes, *options: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [*TRACK, *map(str, options)]
    return subprocess.run(command, input=piped, capture_output=True, env=ENVIRONMENT, timeout=120, check=False)


def times(lines: bytes) -> list[float]:
    return [json.loads(line)["time"] for line in lines.splitlines()[1:]]


def test_a_piped_video_has_the_frames_and_times_of_the_file(clip: Path) -> None:
    done = track(clip.read_bytes(), "--landmarks", "-")
    assert done.returncode == 0, done.stderr
    assert times(done.stdout) == pytest.approx([k / 25 for k in range(25)], abs=1e-3)


def test_a_start_is_found_in_a_piped_video(clip: Path) -> None:
    done = track(clip.read_bytes(), "--start", "0.5", "--landmarks", "-")
    assert times(done.stdout) == pytest.approx([k / 25 for k in range(13, 25)], abs=1e-3)


def test_the_sound_is_kept_where_the_video_was_copied_and_said_to_be_lost_elsewhere(clip: Path, tmp_path: Path) -> None:
    done = track(clip.read_bytes(), "--out", tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out.mp4")) as container:
        kept = bool(container.streams.audio)
    assert kept == (clip.name == "clip.mp4")
    assert kept != (b"an annotated video will have no sound" in done.stderr)


def test_no_copy_is_left(clip: Path, tmp_path: Path) -> None:
    command = [*TRACK, "--json", "-"]
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, input=clip.read_bytes(), capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout)["frames"] == 25
    assert list(tmp_path.glob("nasion-*")) == []


def test_frames_are_tracked_while_more_are_to_come(tmp_path: Path) -> None:
    clip, landmarks = write_video(tmp_path / "clip.ts", frames=200), tmp_path / "faces.jsonl"
    with subprocess.Popen(
        [*TRACK, "--landmarks", str(landmarks)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdin is not None
        process.stdin.write(clip.read_bytes())
        process.stdin.flush()
        deadline = time.monotonic() + 100
        while not (landmarks.is_file() and landmarks.read_text().count("\n") > 50):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)  # the pipe is still open
        assert process.wait(100) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("piped", "message"),
    [
        (b"", "standard input is empty (0 bytes); pipe a video into it"),
        (b"words " * 100, "standard input: cannot be read as a video"),
    ],
)
def test_what_is_not_a_video_is_refused_in_a_line(piped: bytes, message: str) -> None:
    done = track(piped)
    assert (done.returncode, done.stderr.decode().count("\n")) == (1, 1)
    assert done.stderr.decode().startswith(f"nasion: {message}")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals")
def test_a_terminal_is_not_a_video() -> None:
    _, terminal = os.openpty()
    done = subprocess.run(TRACK, stdin=terminal, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.stderr.startswith("nasion: no video comes from standard input; pipe a video into it")


def box(kind: bytes, size: int) -> bytes:
    return size.to_bytes(4, "big") + kind + bytes(size - 8)


@pytest.mark.parametrize(
    ("head", "last"),
    [
        (box(b"ftyp", 24) + box(b"mdat", 100), True),
        (box(b"ftyp", 24) + box(b"free", 8) + box(b"moov", 100), False),
        (box(b"ftyp", 24) + box(b"free", 5000)[:2000], None),
        (b"\0\0\0", None),
        (b"\x1a\x45\xdf\xa3 Matroska", False),
        (box(b"ftyp", 24)[:3] + b"\0" + b"ftyp" + bytes(40), False),
    ],
)
def test_an_index_is_last_where_the_frames_come_before_it(head: bytes, last: bool | None) -> None:
    assert index_is_last(head) is last
