"""Long run with random faults: ``python -m tests.support.live.soak [--frames N] [--json FILE]``.

Eight streams of 50 frames a second come over TCP from a server in another process, which cuts, holds and damages them
at random; sources are paused, removed and added; clients come, are slow, and leave. Networks that find nothing take the
place of the shipped ones, so that the run is about all else. Memory and handles are sampled on the way.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from nasion.engines.spec import Spec
from nasion.realtime.live.hub import Hub
from nasion.realtime.tracking.aligner import Aligner
from nasion.realtime.tracking.detector import Detector
from nasion.realtime.tracking.requests import Networks
from nasion.tools.live_measurement import SWITCH_INTERVAL
from nasion.tools.machine import provenance
from tests.support.fakes.networks import DiscAligner, FakeRuntime

SOURCES = 8
RATE = 50  # frames per second that the server sends to each: few enough to be tracked on a busy machine
FAULTS = ("cut", "hold", "damage", "change")
SETTLED = 0.1  # share of the frames after which memory and handles count as those of the start


class Nothing(FakeRuntime):
    """Detector that finds nothing."""

    def __init__(self) -> None:
        super().__init__(Spec("detector", "nothing", (128, 128), stride=32))

    def __call__(self, images: Any) -> dict[str, Any]:
        return {"boxes": np.zeros((len(images), 0, 4), np.float32), "scores": np.zeros((len(images), 0), np.float32)}


def clips(folder: Path) -> list[bytes]:
    """Return short transport streams of several sizes, codecs and rates."""
    found = []
    for number, (size, codec, rate) in enumerate(
        (((96, 64), "h264", 30), ((64, 48), "h264", 15), ((80, 64), "mpeg2video", 25))
    ):
        path = folder / f"{number}.ts"
        with av.open(str(path), "w") as file:
            stream = file.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for index in range(120):
                image = np.full((size[1], size[0], 3), index * 2, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                frame.pts, frame.time_base = index, Fraction(1, rate)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        found.append(path.read_bytes())
    return found


class Server:
    """TCP server that sends clips for ever, with random faults."""

    def __init__(self, data: list[bytes], seed: int) -> None:
        self._data, self._random = data, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def run(self, counts: Any) -> None:
        """Serve until the process is killed, and count the faults in the shared array ``counts``."""
        self._counts = counts
        self._accept()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        chance, data = self._random.random, self._random.choice(self._data)
        with suppress(OSError), client:
            client.settimeout(20)
            due = time.monotonic()
            while True:
                time.sleep(max(due - time.monotonic(), 0.0))
                due = max(due + 120 / RATE, time.monotonic() - 1)
                sent = data
                if chance() < 0.03:
                    self._counts[FAULTS.index("damage")] += 1
                    changed = bytearray(data)
                    for _ in range(20):
                        changed[self._random.randrange(len(changed))] ^= 0xFF
                    sent = bytes(changed)
                elif chance() < 0.02:
                    self._counts[FAULTS.index("change")] += 1
                    data = sent = self._random.choice(self._data)
                elif chance() < 0.01:
                    self._counts[FAULTS.index("hold")] += 1
                    time.sleep(2.5)
                elif chance() < 0.03:
                    self._counts[FAULTS.index("cut")] += 1
                    client.sendall(sent[: self._random.randrange(len(sent))])
                    return
                client.sendall(sent)


def handles() -> int:
    """Return the number of open file descriptors."""
    return len(os.listdir("/proc/self/fd"))


def memory() -> float:
    """Return the resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _through(hub: Hub) -> int:
    """Return the number of frames that were read: tracked, or dropped for newer ones."""
    status = hub.status()
    return status.frames + status.dropped


def soak(frames: int, seed: int) -> dict[str, Any]:
    """Read so many frames, and return the figures."""
    chance = random.Random(seed)
    samples: list[dict[str, float]] = []
    reconnects = losses = changes = 0
    with tempfile.TemporaryDirectory() as folder:
        server, counts = Server(clips(Path(folder)), seed), multiprocessing.Array("q", len(FAULTS))
        process = multiprocessing.get_context("fork").Process(target=server.run, args=(counts,), daemon=True)
        process.start()
        hub = Hub(networks=Networks(Detector(Nothing(), size=128), Aligner(DiscAligner())), timeout=1.5)
        address = f"tcp://127.0.0.1:{server.port}"
        for number in range(SOURCES):
            hub.add(address, name=f"source-{number}")
        slow = [hub.subscribe(capacity=2) for _ in range(4)]
        begun = time.monotonic()
        with hub:
            while (tracked := _through(hub)) < frames:
                time.sleep(0.5)
                name = f"source-{chance.randrange(SOURCES)}"
                action = chance.random()
                if action < 0.02:
                    changes += 1
                    gone = hub.source(name)
                    losses, reconnects = losses + gone.losses, reconnects + gone.reconnects
                    hub.remove(name)
                    hub.add(address, name=name)
                elif action < 0.05:
                    changes += 1
                    hub.pause(name)
                    time.sleep(0.2)
                    hub.resume(name)
                elif action < 0.15:
                    slow.pop(0).close()
                    slow.append(hub.subscribe(capacity=2))
                if tracked >= (len(samples) + 1) * frames / 100:
                    gc.collect()
                    samples.append(
                        {
                            "frames": tracked,
                            "memory_mb": round(memory(), 1),
                            "handles": handles(),
                            "threads": threading.active_count(),
                        }
                    )
                    print(json.dumps(samples[-1]), flush=True)
            status = hub.status()
        seconds = time.monotonic() - begun
        process.kill()
    settled = [each for each in samples if each["frames"] >= SETTLED * frames] or samples
    early, late = settled[: max(len(settled) // 10, 1)], settled[-max(len(settled) // 10, 1) :]

    def mean(rows: list[dict[str, float]], key: str) -> float:
        return round(sum(each[key] for each in rows) / len(rows), 1)

    return {
        "frames": status.frames + status.dropped,
        "tracked": status.frames,
        "seconds": round(seconds),
        "sources": SOURCES,
        "faults_of_the_server": dict(zip(FAULTS, counts, strict=True)),
        "losses": losses + sum(each.losses for each in status.sources),
        "reconnects": reconnects + sum(each.reconnects for each in status.sources),
        "sources_changed": changes,
        "start": {key: mean(early, key) for key in ("memory_mb", "handles", "threads")},
        "end": {key: mean(late, key) for key in ("memory_mb", "handles", "threads")},
        "samples": samples,
    }


def main() -> None:
    """Run, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    sys.setswitchinterval(SWITCH_INTERVAL)
    av.logging.set_level(None)
    figures = soak(given.frames, given.seed)
    print(json.dumps({key: value for key, value in figures.items() if key != "samples"}, indent=1))
    if given.json:
        command = f"python -m tests.support.live.soak --frames {given.frames} --json {given.json}"
        given.json.write_text(json.dumps({**provenance(command), **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
