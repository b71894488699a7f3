"""``nasion track`` of a live source: an end with a message, or with --reconnect another connection."""

from random import Random

import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.live.connection import BackOff
from nasion.realtime.live.reconnecting import ReconnectingSource
from tests.support.live.simulation import ScriptedSource, SimulatedClock


def quick():
    return BackOff(0.002, 0.004, Random(0))


def test_times_and_numbers_go_on_after_a_loss(caplog):
    clock, opened = SimulatedClock(), []

    def opener():
        opened.append(1)
        if len(opened) in (2, 3):
            raise SourceError("camera: refused")
        return ScriptedSource(clock, 4, error="" if len(opened) == 5 else "camera: reset")

    with ReconnectingSource(opener, quick()) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(12))
    assert len(opened) == 5
    assert [record.getMessage() for record in caplog.records] == [
        "camera: reset; trying again until it answers", "scripted: connected again",
    ] * 2  # fmt: skip


def test_closing_ends_the_wait_for_a_source():
    clock, opened = SimulatedClock(), []

    def opener():
        opened.append(1)
        if len(opened) > 1:
            source.close()
            raise SourceError("camera: refused")
        return ScriptedSource(clock, 2, error="camera: reset")

    source = ReconnectingSource(opener, quick())
    assert len(list(source)) == 2


def test_a_file_has_no_connection_to_restore():
    with pytest.raises(SourceError, match="is not live"):
        ReconnectingSource(lambda: ScriptedSource(SimulatedClock(), 3, live=False))
