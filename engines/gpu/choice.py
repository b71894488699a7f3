"""Choice between a GPU and the CPU for one network: measured once on a machine, then read from the user's cache.

A small network may take longer on a GPU than on the CPU, because every call costs copies and launches. Both run the
same float32 file, so the choice never changes the precision. It is one JSON file per network, GPU, CPU and set of
versions; removing the file measures again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..cpu import cpu_model
from ..errors import NasionError
from ..output_paths import user_cache, write_file
from ..spec import Outputs, Spec
from .driver import Gpu
from .packages import TENSORRT_NAMES, version

_log = logging.getLogger(__name__)

VARIABLE = "NASION_CHOICES"
"""Environment variable that names the folder of the choices."""
SECONDS, LEAST, MOST = 0.3, 5, 200  # of one measurement, and its number of calls


class Network(Protocol):
    """A loaded network: the part of ``engines.runtime.Runtime`` that a measurement needs."""

    spec: Spec

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run normalised images (B,3,H,W)."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Times of one image through a network on a GPU and on the CPU.

    Attributes:
        network: file name of the network, without suffix.
        runtime: runtime on the GPU.
        gpu: name of the GPU.
        gpu_ms: median milliseconds of a call with one image on the GPU, with its copies.
        cpu_ms: the same on the CPU.
        date: day of the measurement.
    """

    network: str
    runtime: str
    gpu: str
    gpu_ms: float
    cpu_ms: float
    date: str

    @property
    def prefers_gpu(self) -> bool:
        """True if the GPU is not slower."""
        return self.gpu_ms <= self.cpu_ms

    def __str__(self) -> str:
        """Return the times in words."""
        return (
            f"{self.runtime} on {self.gpu} takes {self.gpu_ms:.2f} ms an image, the CPU {self.cpu_ms:.2f} ms (measured "
            f"{self.date}; --device cuda or --device cpu overrides it)"
        )

    @classmethod
    def measured(cls, network: str, runtime: str, gpu: Gpu, on_gpu: Network, on_cpu: Network) -> Self:
        """Measure a network in two runtimes."""
        times = milliseconds(on_gpu), milliseconds(on_cpu)
        return cls(network, runtime, gpu.name, *times, time.strftime("%Y-%m-%d"))


def folder() -> Path:
    """Return the folder of choices: ``$NASION_CHOICES``, else a folder in the user's cache."""
    return user_cache("choices", VARIABLE)


def file_of(network: Path, runtime: str, gpu: Gpu, threads: int) -> Path:
    """Return the file of the choice for a network, a runtime, this machine and the installed versions."""
    with network.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    packages = [version(name) for name in ("onnxruntime", "onnxruntime-gpu", *TENSORRT_NAMES)]
    key = [sha256, runtime, gpu.make, gpu.capability, cpu_model(), os.cpu_count(), threads, *packages]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return folder() / f"{network.stem}-{digest[:16]}.json"


def read(file: Path) -> Choice | None:
    """Read a choice; None if there is none, or its file is damaged."""
    try:
        values: dict[str, Any] = json.loads(file.read_text())
        found = Choice(**values)
        return found if found.gpu_ms > 0 and found.cpu_ms > 0 else None
    except (OSError, ValueError, TypeError):
        return None


def store(file: Path, choice: Choice) -> None:
    """Write a choice. If the cache cannot be written, the next start measures again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps(asdict(choice)) + "\n")
    except (NasionError, OSError) as error:
        _log.warning("the choice of the runtime cannot be stored and is measured again at the next start: %s", error)


def stored() -> list[Choice]:
    """Return all choices in the cache."""
    return [found for file in sorted(folder().glob("*.json")) if (found := read(file))]


def milliseconds(runtime: Network) -> float:
    """Return the median milliseconds of a call with one image."""
    images = np.zeros((1, 3, *reversed(runtime.spec.size)), np.float32)
    for _ in range(3):
        runtime(images)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < LEAST or (len(times) < MOST and time.perf_counter() < end):
        begin = time.perf_counter()
        runtime(images)
        times.append(1000 * (time.perf_counter() - begin))
    return median(times)
