"""Cost of the host per frame with a GPU that costs nothing: CPU time of the tracker around launches that do no work.

    python -m tests.support.host_cost --json docs/bench/host-cost.json

Frames, crops and networks are "on the GPU": the stand-in for NVIDIA's driver takes every call, the crop kernel and the
networks do nothing, and the outputs stay what they were filled with once. What is left is the code of nasion, and the
calls of the stand-in, which count as well. Two cases: one face of one source, and 64 faces of 16 sources in one batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from nasion.engines.gpu import driver
from nasion.engines.gpu.device import Device
from nasion.engines.gpu.graphs import ArrayType, Batches, Fill, Shape
from nasion.engines.operators.bindings import DeviceImage, Kernels
from nasion.engines.operators.cropper import Cropper
from nasion.engines.spec import Outputs, Spec
from nasion.realtime.faces.frame import DeviceFrame, Frame
from nasion.realtime.images.gpu import GpuPixels
from nasion.realtime.tracking.options import TrackerOptions
from nasion.realtime.tracking.tracker import Tracker
from nasion.tools.machine import provenance

from .fakes.cuda import FakeCuda, build
from .fakes.networks import MARGIN, TEMPLATE

SIZE = (1280, 720)
BARS = {"one face": 0.20, "64 faces of 16 sources": 1.0}  # ms of CPU time per frame or tick


class NoKernels(Kernels):
    """The crop kernel as a launch that does nothing."""

    def __init__(self) -> None:
        """Load nothing."""

    def crop(self, *arguments: Any, **options: Any) -> None:
        """Launch nothing."""


class NoWork:
    """A prepared network whose outputs on the GPU never change; implements ``PreparedNetwork``."""

    def __init__(self, device: Device, shape: Shape, outputs: Mapping[str, np.ndarray]) -> None:
        self.input = ArrayType(shape, np.dtype(np.float32))
        self.outputs = {name: ArrayType((shape[0], *value.shape), value.dtype) for name, value in outputs.items()}
        self._device, self._values = device, outputs

    def bind(self, images: int, outputs: Mapping[str, int]) -> None:
        with self._device.current() as context:
            stream = self._device.stream()
            for name, address in outputs.items():
                shape, dtype = self.outputs[name]
                host = self._device.pinned(shape, dtype)
                host.array[...] = self._values[name]
                context.upload(address, host.array, stream.handle)
                stream.wait()
                host.close()
            stream.close()

    def enqueue(self, stream: int) -> None:
        """Enqueue nothing."""

    def close(self) -> None:
        """Free nothing."""


class NoNetwork:
    """A network on the stand-in GPU; implements ``engines.runtime.GpuRuntime``."""

    def __init__(self, device: Device, spec: Spec, **outputs: Any) -> None:
        self.spec, self.provider, self.device, self.reason, self.threads = spec, "stand-in", "cuda:0", "stand-in", 1
        self.most_on_gpu = 64
        values = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
        self._batches = Batches(device, lambda shape: NoWork(device, shape, values), most=64)

    def __call__(self, images: np.ndarray) -> Outputs:
        return self.spec.check_outputs(self._batches(images), len(images))

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        return self.spec.check_outputs(self._batches.run(shape, fill), shape[0])

    def close(self) -> None:
        self._batches.close()


@contextmanager
def stand_in() -> Iterator[tuple[Device, Cropper]]:
    """Replace the driver's library by the stand-in, and yield a GPU and its crop kernel."""
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        before, driver.LIBRARY = driver.LIBRARY, str(library)
        FakeCuda(library).reset(room=1 << 32)
        try:
            with Device() as device:
                cropper = Cropper.__new__(Cropper)
                cropper.__dict__.update(_kernels=NoKernels(), device=device, name="cuda:0")
                from collections import deque

                cropper._idle = deque()
                yield device, cropper
        finally:
            driver.LIBRARY = before


def networks(device: Device, faces: int) -> tuple[NoNetwork, NoNetwork]:
    """A detector that sees ``faces`` faces in a row, and a landmark network that finds each in the same place."""
    side = 320 / max(faces, 2)
    boxes = [(side * i + side * 0.2, 60, side * i + side * 0.8, 60 + side * 0.6) for i in range(faces)]
    detector = Spec("detector", "none", (320, 320), stride=32)
    landmarks = Spec("landmarks", "none", (112, 112), landmarks=68, crop_margin=MARGIN)
    found = NoNetwork(device, detector, boxes=boxes, scores=[0.9] * faces)
    points = TEMPLATE * 56 / MARGIN + 55.5
    return found, NoNetwork(device, landmarks, points=points, confidence=np.ones(68), presence=1.0)


def frame(cropper: Cropper, index: int) -> Frame:
    """A frame in memory of the stand-in."""
    width, height = SIZE
    stored = DeviceImage((1 << 20, 1 << 21), (width, width), width, height, "nv12", (1.0,) * 12)
    pixels = GpuPixels(cropper, stored, lambda: np.zeros((height, width, 3), np.uint8))
    return DeviceFrame(pixels, time=index / 30, index=index)


def measured(sources: int, faces: int, ticks: int) -> dict[str, Any]:
    """Track ``faces`` faces in each of ``sources`` sources together; return ms of CPU time a tick."""
    with stand_in() as (device, cropper):
        detector, landmarks = networks(device, faces)
        trackers = [Tracker.from_networks(detector, landmarks, TrackerOptions(detect_size=320)) for _ in range(sources)]
        shared, times, seen = trackers[0].networks, [], 0
        for index in range(ticks + 30):
            frames = [frame(cropper, index) for _ in trackers]
            begin = process_time()
            if sources == 1:
                results = [trackers[0].update(frames[0])]
            else:
                results = shared.run_together([each.steps(one) for each, one in zip(trackers, frames, strict=True)])
            if index >= 30:
                times.append(1000 * (process_time() - begin))
                seen = sum(map(len, results))
        detector.close()
        landmarks.close()
    return {
        "loop_ms": round(loop_ms(), 2),
        "sources": sources,
        "faces": seen,
        "ticks": ticks,
        "mean_ms": round(statistics.fmean(times), 4),
        "median_ms": round(statistics.median(times), 4),
    }


def loop_ms() -> float:
    """Return the CPU time of a plain Python loop, the least of several: how fast the machine is at the moment."""
    times = []
    for _ in range(20):
        begin, total = process_time(), 0
        for number in range(60_000):
            total += number * number
        times.append(1000 * (process_time() - begin))
    return min(times)


def main() -> None:
    """Measure both cases and write the JSON."""
    parser = argparse.ArgumentParser(description="CPU time of the host with a GPU that costs nothing.")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--ticks", type=int, default=1000, help="frames of each source (1000)")
    given = parser.parse_args()
    cases = {"one face": measured(1, 1, given.ticks), "64 faces of 16 sources": measured(16, 4, given.ticks)}
    for name, found in cases.items():
        print(f"{name}: {found['mean_ms']:.3f} ms of CPU time (bar {BARS[name]:.2f} ms), {found['faces']} faces")
    if given.json:
        report = {"gpu": "stand-in that costs nothing: not a GPU", "bars_ms": BARS, "cases": cases}
        command = f"python -m tests.support.host_cost --ticks {given.ticks}"
        given.json.write_text(json.dumps({**report, **provenance(command)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
