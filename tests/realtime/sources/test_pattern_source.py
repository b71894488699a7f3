"""The pattern as a source: its pace, its seed and its spelling."""

from __future__ import annotations

import time

import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source

from ...support.media.source_samples import ends_when_closed_elsewhere


def test_a_live_pattern_comes_no_faster_than_its_pace() -> None:
    begun = time.monotonic()
    with open_source("pattern:live?seconds=0.3", size=(64, 36), fps=20) as source:
        late = [time.monotonic() - begun - frame.time for frame in source]
    assert len(late) == 6
    assert min(late) >= 0


def test_closing_a_live_pattern_ends_the_wait_for_its_next_frame() -> None:
    frames = ends_when_closed_elsewhere(open_source("pattern:live?seconds=60", size=(64, 36), fps=0.05))
    assert len(frames) == 1


def test_a_pattern_depends_on_its_seed_alone() -> None:
    def first(spec: str) -> bytes:
        with open_source(spec, size=(64, 36)) as source:
            return next(source).image.tobytes()

    assert first("pattern:") == first("pattern:?seed=0") == first("pattern:live")
    assert first("pattern:") != first("pattern:?seed=1")


@pytest.mark.parametrize(
    "spec",
    ["pattern:fast", "pattern:?seconds=soon", "pattern:?seconds=0", "pattern:?colour=1", "pattern:?seed=-1"],
)
def test_a_malformed_pattern_says_what_is_allowed(spec: str) -> None:
    with pytest.raises(SourceError, match="is not a pattern; allowed: pattern: or pattern:live, optionally with"):
        open_source(spec)
