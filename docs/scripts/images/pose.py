"""Draw the conventions of the head pose in docs/commands/measures.md. Usage: python docs/scripts/images/pose.py"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from nasion.realtime.faces.drawing import draw
from nasion.realtime.faces.face import Face
from nasion.realtime.faces.measured import Pose
from nasion.realtime.measures.head import generic_head
from nasion.realtime.values.arrays import Image
from nasion.realtime.values.geometry import box_of

IMAGES = Path(__file__).resolve().parents[2] / "images"
SIDE, FOCAL, DISTANCE = 300, 1000.0, 680.0
POSES = {
    "yaw 0, pitch 0, roll 0": (0, 0, 0),
    "yaw +35": (35, 0, 0),
    "pitch +25": (0, 25, 0),
    "roll +25": (0, 0, 25),
}


def head_at(yaw: float, pitch: float, roll: float) -> Face:
    """Return the generic head as a face with its pose."""
    pose = Pose(yaw, pitch, roll, (0.0, -35.0, DISTANCE), FOCAL)
    x, y, z = pose.rotation @ generic_head().points.T + np.array(pose.translation)[:, None]
    points = np.stack([x / z, y / z], axis=1).astype(np.float32) * FOCAL + (SIDE - 1) / 2
    return Face(1, box_of(points), 1.0, points, np.ones(len(points), np.float32), pose=pose)  # type: ignore[arg-type]


def panel(title: str, angles: tuple[float, float, float]) -> Image:
    canvas = np.full((SIDE, SIDE, 3), 70, np.uint8)
    drawn = draw(canvas, [head_at(*angles)], box=False, label=False)
    cv2.putText(drawn, title, (10, SIDE - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn


def main() -> None:
    sheet = np.hstack([panel(title, angles) for title, angles in POSES.items()])
    cv2.imwrite(str(IMAGES / "pose.png"), sheet)


if __name__ == "__main__":
    main()
