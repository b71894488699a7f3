"""Draw docs/images/live.jpg, the page of live feeds. Usage: PYTHONPATH=src:. python docs/scripts/images/live.py"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from nasion.realtime.live.hub import Hub
from nasion.realtime.live.web.options import Serving
from nasion.realtime.live.web.serving import serve
from nasion.realtime.tracking.options import TrackerOptions
from tests.support.browser import browsing

IMAGE = Path(__file__).resolve().parents[2] / "images" / "live.jpg"
SECONDS = 60  # of the plot
NOT_THERE = "rtsp://user:secret@127.0.0.1:5999/stream"


def main() -> None:
    """Track two patterns and an address that does not answer for a minute, and keep what the page shows."""
    with (
        tempfile.TemporaryDirectory() as profile,
        Hub(TrackerOptions(max_faces=2, threads=1), timeout=60) as hub,
        serve(hub, Serving(port=0)) as server,
        browsing(Path(profile)) as browser,
    ):
        for seed, name in enumerate(("door", "hall")):
            hub.add(f"pattern:live?seconds=600&seed={seed}", name=name, max_fps=10)
        hub.add(NOT_THERE, name="yard")
        browser.size(1280, 790)
        browser.open(server.address)
        time.sleep(SECONDS)
        shown = cv2.imdecode(np.frombuffer(browser.driver.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(IMAGE), shown, [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
