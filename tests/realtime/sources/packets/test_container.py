"""One code path for all supported versions of PyAV: tags in any encoding, rates and time bases as fractions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from nasion.realtime.sources import open_source
from nasion.realtime.sources.base import Media
from nasion.realtime.sources.packets.container import exact, open_container

from ....support.media.media_samples import write_video


class Unknown(SimpleNamespace):
    """An unknown rate as PyAV 19 gives it: a number with a zero in it."""

    def __bool__(self) -> bool:
        return False


def test_tags_that_are_not_utf_8_do_not_stop_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "latin.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Caf-Latin-1"
        stream = container.add_stream("mpeg4", rate=25, width=64, height=48)
        container.mux([*stream.encode(av.VideoFrame(64, 48, "yuv420p")), *stream.encode()])
    data = path.read_bytes()
    assert data.count(b"Caf-Latin-1") == 1
    path.write_bytes(data.replace(b"Caf-Latin-1", b"Caf\xe9Latin-1"))
    with open_source(path) as source:
        assert len(list(source)) == 1


def test_rates_and_time_bases_are_fractions_with_every_pyav(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", frames=3)
    with open_source(path) as source:
        assert type(source.info.rate) is Fraction
    with open_container(Media(str(path), None)) as container:
        assert exact(container.streams.video[0].time_base) == Fraction(1, 1000)
        assert exact(container.streams.video[0].average_rate) == 25


@pytest.mark.parametrize("unknown", [None, *(Unknown(numerator=n, denominator=d) for n, d in ((0, 1), (0, 0), (1, 0)))])
def test_an_unknown_rate_is_none(unknown: Unknown | None) -> None:
    assert exact(unknown) is None
