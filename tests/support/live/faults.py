"""Time to reconnect after faults of a real RTSP server: ``python -m tests.support.live.faults [--json FILE]``.

Each fault is caused several times. The time to reconnect runs from the moment at which the stream could be read again
to the first frame that is tracked. Frames are lost if they were due from the fault to that frame, but not tracked.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasion.realtime.live.hub import Hub
from nasion.tools.machine import provenance
from tests.support.live.servers import Proxy, RtspServer, missing

RATE = 30
AIM = 5.0  # seconds


class Bench:
    """A hub that tracks one stream of a server behind a proxy."""

    def __init__(self) -> None:
        self.server = RtspServer(form=f"640x360@{RATE}")
        self.proxy = Proxy(self.server.port)
        self.hub = Hub()
        self.hub.add(f"rtsp://127.0.0.1:{self.proxy.port}/live", name="camera")
        self.wait_for(lambda: self.frames > 2 * RATE)

    @property
    def frames(self) -> int:
        """Number of frames tracked."""
        return self.hub.source("camera").frames

    def wait_for(self, condition: Callable[[], bool], seconds: float = 40.0) -> float:
        """Wait for a condition, and return the seconds that this took."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > seconds:
                raise TimeoutError(str(self.hub.source("camera")))
            time.sleep(0.005)
        return time.monotonic() - begin

    def close(self) -> None:
        """Stop everything."""
        self.hub.close()
        self.proxy.close()
        self.server.kill()


def killed(bench: Bench) -> None:
    """The server is killed and comes back after 3 s."""
    bench.server.kill()
    bench.proxy.cut()
    time.sleep(3)
    bench.server.start()


def restarted(bench: Bench) -> None:
    """The server is killed and started again at once."""
    bench.server.kill()
    bench.server.start()


def frozen(bench: Bench) -> None:
    """The server is stopped for 6 s with its connections open."""
    bench.server.freeze()
    time.sleep(6)
    bench.server.thaw()


def resized(bench: Bench) -> None:
    """The server is replaced by one with another size."""
    bench.server.kill()
    bench.server.start(form=f"480x270@{RATE}" if bench.server.form.startswith("640") else f"640x360@{RATE}")


def recoded(bench: Bench) -> None:
    """The server is replaced by one with another codec."""
    bench.server.kill()
    bench.server.start(codec="mjpeg" if bench.server.codec == "h264" else "h264")


def cut(bench: Bench) -> None:
    """The network closes the connection."""
    bench.proxy.cut()


def held(bench: Bench) -> None:
    """The network delivers nothing for 6 s."""
    bench.proxy.hold()
    time.sleep(6)
    bench.proxy.cut()
    bench.proxy.release()


def damaged(bench: Bench) -> None:
    """Bytes of the stream are changed for 3 s, those between the packets, too."""
    bench.proxy.damage = 0.05
    time.sleep(3)
    bench.proxy.damage = 0.0


FAULTS = (killed, restarted, frozen, resized, recoded, cut, held, damaged)


def measure(repeat: int) -> list[dict[str, Any]]:
    """Cause each fault ``repeat`` times and return a row for each."""
    bench = Bench()
    rows = []
    try:
        for fault in FAULTS:
            seconds, lost = [], []
            before = bench.hub.source("camera")
            for _ in range(repeat):
                bench.wait_for(lambda: bench.hub.source("camera").state == "live")
                time.sleep(1)
                frames, begun = bench.frames, time.time()
                fault(bench)
                possible = time.time()
                again = _first_after(bench, possible)
                seconds.append(max(again - possible, 0.0))
                lost.append(max(round((again - begun) * RATE) - (bench.frames - frames), 0))
                time.sleep(5.5)  # the connection holds, so the next delay is the shortest again
            after = bench.hub.source("camera")
            rows.append(
                {
                    "fault": fault.__name__,
                    "what": (fault.__doc__ or "").strip(),
                    "repeats": repeat,
                    "reconnect_s": {"median": round(statistics.median(seconds), 2), "worst": round(max(seconds), 2)},
                    "frames_lost": {"median": statistics.median(lost), "worst": max(lost)},
                    "losses": after.losses - before.losses,
                    "reconnects": after.reconnects - before.reconnects,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    finally:
        bench.close()
    return rows


def _first_after(bench: Bench, possible: float) -> float:
    """Return the wall-clock time of the first frame captured after the stream could be read again."""

    def is_back() -> bool:
        newest = bench.hub.newest("camera")
        return newest is not None and newest.captured > possible

    bench.wait_for(is_back)
    newest = bench.hub.newest("camera")
    assert newest is not None
    return newest.captured + newest.latency


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    if why := missing():
        parser.exit(1, f"{why}\n")
    logging.basicConfig(level=logging.ERROR)
    rows = measure(given.repeat)
    worst = max(row["reconnect_s"]["worst"] for row in rows)
    print(f"worst {worst:.2f} s; aim {AIM:g} s")
    if given.json:
        command = f"python -m tests.support.live.faults --repeat {given.repeat} --json {given.json}"
        given.json.write_text(json.dumps({**provenance(), "command": command, "rate": RATE, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
