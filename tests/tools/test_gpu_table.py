"""The table of measurements on GPUs, from recorded data that is not a measurement; and the meter, with a fake NVML."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nasion.tools.gpu_meter import GpuMeter
from nasion.tools.gpu_table import ANCHORS, clock, markdown, rows

GPU = {"clock_mhz_min": 1980.0, "clock_mhz_max": 1980.0}
MACHINE = {"gpus": ["Made-up GPU, 1.0 GB"]}
NETWORK = {"model": "landmarks-68", "provider": "tensorrt 11.4", "precision": "fp16", "ms_per_call": 0.25}


def stage(mean: float) -> dict[str, Any]:
    return {"wall": {"mean": mean}}


ONE: dict[str, Any] = {
    "measurement": False,
    "machine": MACHINE,
    "gpu": GPU,
    "results": [
        {"networks": {"landmarks": NETWORK}, "costs": {"networks": stage(0.3), "end to end": stage(0.6)}},
    ],
}
MANY: dict[str, Any] = {
    "measurement": False,
    "machine": MACHINE,
    "rows": [
        {"streams": 16, "fps": 30.0, "fps_per_stream": 30.0, "gpu": GPU},
        {"streams": 64, "fps": 30.0, "fps_per_stream": 29.9, "gpu": {"clock_mhz_min": 900, "clock_mhz_max": 1980}},
        {"streams": 128, "fps": 30.0, "fps_per_stream": 20.0, "gpu": GPU},
    ],
}


def test_a_run_on_one_clip_gives_engine_end_to_end_share_and_clock() -> None:
    assert list(rows(ONE)) == [
        (
            "NOT A MEASUREMENT: landmarks-68, tensorrt 11.4, fp16", "Made-up GPU, 1.0 GB", "0.25", "0.60", "50%", "–",
            "1980, steady",
        )
    ]  # fmt: skip


def test_of_streams_the_most_in_real_time_count() -> None:
    assert [row[-2:] for row in rows(MANY)] == [("64 at 30 FPS", "900 to 1980")]


def test_the_published_figures_are_named_as_such() -> None:
    lines = markdown([ONE, MANY]).splitlines()
    assert len(lines) == 4 + len(ANCHORS)
    assert len({line.count("|") for line in lines}) == 1
    assert "| NVIDIA Maxine landmarks (closed), published | L40 | 0.44 |" in lines[-2]
    assert all("NOT A MEASUREMENT" in line for line in lines[2:4])


def test_without_a_meter_the_clock_is_not_reported() -> None:
    assert clock(None) == "not reported"


def test_the_meter_reports_the_range_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = iter([1000, 1500, *[1200] * 1000])
    nvml = SimpleNamespace(
        NVMLError=RuntimeError, NVML_CLOCK_SM=0, NVML_CLOCK_MEM=1,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetName=lambda device: "Made-up GPU",
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=50),
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=1, total=4),
        nvmlDeviceGetClockInfo=lambda device, kind: 800 if kind else next(clocks),
        nvmlDeviceGetDecoderUtilization=lambda device: (10, 0),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr("nasion.tools.gpu_meter._EVERY", 0.001)
    with GpuMeter() as meter:
        while len(meter._samples) < 3:
            pass
    found = meter.figures()
    assert found is not None
    assert (found["clock_mhz_min"], found["clock_mhz_max"], found["driver"]) == (1000, 1500, "580.1")
