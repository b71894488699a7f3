"""A sample of the mutated files; python -m tests.corpus.fuzz tracks 2,000 of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ..support.media.media_samples import write_video
from .fuzz import BASES, mutated, run, unreadable

BYTES = [bytes(range(256)) * 20, b"\xff" * 3000, b"\0" * 10]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: apt-get install ffmpeg")
@pytest.mark.timeout(600)
def test_a_mutated_file_is_tracked_or_refused_and_its_outputs_can_be_read(tmp_path: Path) -> None:
    outcomes = list(run(tmp_path, range(3 * len(BASES))))
    assert [outcome for outcome in outcomes if outcome.fault] == []
    assert {outcome.status for outcome in outcomes} == {"done", "error"}


def test_a_mutation_is_determined_by_its_number_and_differs_from_its_base() -> None:
    kinds = set()
    for number in range(3 * len(BYTES)):
        kind, data = mutated(number, BYTES)
        kinds.add(kind)
        assert (kind, data) == mutated(number, BYTES)
        assert data
    assert kinds == {"flipped", "cut", "joined"}
    assert mutated(0, BYTES) != mutated(3 * len(BYTES), BYTES)


def test_outputs_that_cannot_be_read_or_do_not_agree_are_found(tmp_path: Path) -> None:
    out, landmarks = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    assert unreadable(out, landmarks) == ""
    write_video(out, frames=3)
    assert unreadable(out, landmarks) == "3 frames in the video, 0 in the landmark file"
    out.write_bytes(out.read_bytes()[:100])
    assert unreadable(out, landmarks).startswith("the video cannot be read")
    landmarks.write_text("{}}")
    assert "faces.jsonl" in unreadable(out, landmarks)
