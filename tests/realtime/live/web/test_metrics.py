"""The metrics, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import nasion
from nasion.realtime.live.status import RecordingStatus

from ....support.fakes.hub import FakeHub, result


def read(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_the_counters_of_each_source_have_its_name(client: TestClient, hub: FakeHub) -> None:
    hub.put(result("door", 0))
    hub.change(
        "door", reconnects=3, losses=4, dropped=5, received=9, skipped=2, damaged=8, faces=1, identities=7, fps=14.5
    )
    found = read(client)
    expected = {
        "nasion_frames_total": 1, "nasion_reconnects_total": 3, "nasion_losses_total": 4,
        "nasion_frames_dropped_total": 5, "nasion_frames_received_total": 9, "nasion_frames_skipped_total": 2,
        "nasion_packets_damaged_total": 8,
        "nasion_faces": 1, "nasion_identities_total": 7, "nasion_fps": 14.5,
    }  # fmt: skip
    assert {name: found[of(name, source="door")] for name in expected} == expected
    assert found[of("nasion_reconnects_total", source="yard")] == 0
    assert found[of("nasion_latency_seconds", source="door", quantile="0.99")] == 0.009
    assert of("nasion_latency_seconds", source="yard", quantile="0.99") not in found


def test_exactly_one_state_of_a_source_is_1_and_an_ended_one_stays(client: TestClient, hub: FakeHub) -> None:
    hub.change("yard", state="ended", reason="the end of the file")
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in read(client).items()
        if name == "nasion_source_state" and ("source", "yard") in labels
    }
    assert states == {
        "connecting": 0, "live": 0, "stalled": 0, "reconnecting": 0, "paused": 0, "ended": 1,
    }  # fmt: skip


def test_what_the_hub_the_process_and_the_recordings_do(client: TestClient, hub: FakeHub) -> None:
    hub.change("door", recording=RecordingStatus("door/1.mkv", 1234, "no space left"))
    found = read(client)
    assert found[of("nasion_build_info", version=nasion.__version__)] == 1
    assert found[of("nasion_ticks_total")] == 3
    assert found[of("nasion_aligned_total")] / found[of("nasion_aligner_calls_total")] == 2.5
    assert found[of("nasion_recording_bytes", source="door")] == 1234
    assert found[of("nasion_recording_suspended", source="door")] == 1
    assert of("nasion_recording_bytes", source="yard") not in found
    assert found[of("nasion_clients", kind="page")] == 0
    assert found[of("process_cpu_seconds_total")] > 0
    assert found[of("process_open_fds")] > 0


def test_a_removed_source_has_no_metrics(client: TestClient, hub: FakeHub) -> None:
    hub.remove("yard")
    assert not any(("source", "yard") in labels for _, labels in read(client))
