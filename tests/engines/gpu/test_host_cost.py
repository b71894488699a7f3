"""The benchmark of the host with a stand-in GPU tracks the faces that it says it tracks."""

from __future__ import annotations

from nasion.engines.gpu import driver

from ...support.host_cost import measured


def test_the_faces_of_all_sources_are_tracked_and_the_driver_is_put_back() -> None:
    before = driver.LIBRARY
    found = measured(sources=2, faces=2, ticks=3)
    assert (found["sources"], found["faces"]) == (2, 4)
    assert found["mean_ms"] > 0
    assert before == driver.LIBRARY
