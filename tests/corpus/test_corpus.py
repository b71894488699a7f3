"""A sample of the corpus; python -m tests.corpus.run checks all of it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from . import check as module
from .check import check
from .run import run
from .samples import SAMPLES, make
from .worker import Failed, Worker

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: apt-get install ffmpeg"
)
NAMES = (
    "h264-rotated-90.mp4", "h264-vfr.mp4", "h264-open.ts", "hevc-422-10.mp4", "prores-4444.mov", "mpeg2-interlaced.mpg",
    "vp9-alpha.webm", "h264-b.avi", "wmv2.wmv", "theora.ogv",
)  # fmt: skip
CHOSEN = {sample.name: sample for sample in SAMPLES if sample.name in NAMES}


@needs_ffmpeg
@pytest.mark.parametrize("name", NAMES)
def test_a_video_is_read_and_written_as_ffprobe_sees_it(name: str, tmp_path: Path) -> None:
    (result,) = run(tmp_path, [CHOSEN[name]])
    assert result["faults"] == []
    assert result["frames"] > 20
    assert bool(result["sound"]) == CHOSEN[name].sound


@needs_ffmpeg
def test_a_video_that_is_read_wrongly_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(CHOSEN["h264-vfr.mp4"], tmp_path)
    right = module.by_nasion

    def wrong(path: Path, out: Path, truth: module.Seen) -> module.Seen:
        seen = right(path, out, truth)
        return module.Seen(seen.times[:-1] * 1.01, np.flipud(seen.first)[:-1], seen.last, 0.0, 2 * seen.aspect)

    monkeypatch.setattr(module, "by_nasion", wrong)
    faults = check(path, tmp_path / "out.mp4").faults
    for text in ("frames, not", "times differ by", "160x95, not 160x96", "of the first image differ", "of sound, not"):
        assert [each for each in faults if each.startswith("read: ") and text in each], faults
    assert [each for each in faults if each.startswith("written: shown 1.67 times as wide as high, not 3.33")]


def test_every_sample_has_a_name_of_its_own() -> None:
    assert len({sample.name for sample in SAMPLES}) == len(SAMPLES) >= 60


def fail(how: str) -> str:
    if how == "abort":
        import os

        os.abort()
    if how == "hang":
        time.sleep(1000)
    return how


def test_a_process_that_aborts_or_hangs_is_started_again() -> None:
    with Worker(fail, seconds=120.0) as worker:
        assert worker("answer") == "answer"
        with pytest.raises(Failed, match="aborted with status -6"):
            worker("abort")
        assert worker("answer") == "answer"
    with Worker(fail, seconds=0.5) as worker, pytest.raises(Failed, match=r"hung for 0\.5 s"):
        worker("hang")
