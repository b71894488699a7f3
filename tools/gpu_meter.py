"""Meter of an NVIDIA GPU: driver, clocks and utilisation while something runs, from NVML (package nvidia-ml-py)."""

from __future__ import annotations

import importlib
import statistics
import threading
from types import TracebackType
from typing import Any, Self

_EVERY = 0.25  # seconds between two samples


class GpuMeter:
    """Samples the first GPU within a ``with`` block. Without a GPU or without nvidia-ml-py it measures nothing."""

    def __init__(self) -> None:
        """Measure nothing yet."""
        self._nvml: Any = None
        self._device: Any = None
        self._samples: list[dict[str, float]] = []
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start to sample."""
        try:
            self._nvml = importlib.import_module("pynvml")
        except ImportError:
            return self
        try:
            self._nvml.nvmlInit()
            self._device = self._nvml.nvmlDeviceGetHandleByIndex(0)
        except self._nvml.NVMLError:
            return self
        self._thread = threading.Thread(target=self._run, name="nasion-gpu-meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def figures(self) -> dict[str, Any] | None:
        """Return driver, means of clocks in MHz and of utilisations in percent, and the range of the clock.

        None if nothing was measured.
        """
        if not self._samples:
            return None
        means = {name: round(statistics.fmean(each[name] for each in self._samples), 1) for name in self._samples[0]}
        return {
            "name": self._nvml.nvmlDeviceGetName(self._device),
            "driver": self._nvml.nvmlSystemGetDriverVersion(),
            **means,
            "clock_mhz_min": min(each["clock_mhz"] for each in self._samples),
            "clock_mhz_max": max(each["clock_mhz"] for each in self._samples),
        }

    def _run(self) -> None:
        while True:
            self._samples.append(self._sample())
            if self._done.wait(_EVERY):
                return

    def _sample(self) -> dict[str, float]:
        nvml, device = self._nvml, self._device
        busy, memory = nvml.nvmlDeviceGetUtilizationRates(device), nvml.nvmlDeviceGetMemoryInfo(device)
        return {
            "clock_mhz": float(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM)),
            "memory_clock_mhz": float(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM)),
            "gpu_percent": float(busy.gpu),
            "decoder_percent": float(nvml.nvmlDeviceGetDecoderUtilization(device)[0]),
            "memory_percent": round(100 * memory.used / memory.total, 1),
        }
