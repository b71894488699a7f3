"""Draw the image of the README: four tracked frames of the demo clip. Usage: python docs/scripts/images/demo.py"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import nasion
from nasion.realtime.faces.drawing import draw
from nasion.realtime.sources.synthetic import CameraMotion

IMAGES = Path(__file__).resolve().parents[2] / "images"
MOMENTS = (20, 90, 150, 260)


def main() -> None:
    motion, shown = CameraMotion(), []
    with nasion.Tracker() as tracker:
        for i in range(max(MOMENTS) + 1):
            frame = nasion.Frame(motion.render(i), i / float(motion.rate), i)
            faces = tracker.update(frame)
            if i in MOMENTS:
                shown.append(draw(frame.image, faces))
    sheet = np.vstack([np.hstack(shown[:2]), np.hstack(shown[2:])])
    cv2.imwrite(str(IMAGES / "demo.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
