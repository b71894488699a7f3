"""Measured values of a face: its pose and the openings of its eyes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of a head relative to the camera.

    Axes of the camera: x to the right of the image, y down, z away from the camera. A head with all angles 0 looks
    along -z, straight back. The angles are right-handed rotations: the head is rotated by roll about z, then by pitch
    about x, then by yaw about y, so yaw and pitch are the direction in which the face looks; see
    docs/commands/measures.md.

    Attributes:
        yaw: degrees in -180..180; positive where the face looks to the left of the image.
        pitch: degrees in -90..90; positive where the face looks down.
        roll: degrees in -180..180; positive where the head is tilted clockwise in the image.
        translation: x, y, z in millimetres of the nasion, the root of the nose, for a head whose pupils are 63 mm
            apart. The unknown size of the head and the focal length scale z, the distance.
        focal_length: focal length in pixels of the camera that was assumed; None if it is unknown. The optical axis
            goes through the middle of the image.

    Examples:
        >>> import nasion
        >>> (face,) = nasion.detect("face.png", measures=("pose",))
        >>> abs(face.pose.yaw) < 30, face.pose.rotation.shape
        (True, (3, 3))
    """

    yaw: float
    pitch: float
    roll: float
    translation: tuple[float, float, float]
    focal_length: float | None = None

    @property
    def rotation(self) -> NDArray[np.float64]:
        """Rotation matrix (3, 3) from axes of the head to axes of the camera."""
        (cy, sy), (cp, sp), (cr, sr) = (
            (math.cos(angle), math.sin(angle)) for angle in map(math.radians, (self.yaw, self.pitch, self.roll))
        )
        return np.array(
            [
                [cy * cr + sy * sp * sr, sy * sp * cr - cy * sr, sy * cp],
                [cp * sr, cp * cr, -sp],
                [cy * sp * sr - sy * cr, sy * sr + cy * sp * cr, cy * cp],
            ]
        )


class EyeOpening(NamedTuple):
    """Openings of both eyes; see ``realtime.measures.openings``.

    Attributes:
        left: eye on the left of an upright face in the image.
        right: the other eye.

    Examples:
        >>> import nasion
        >>> (face,) = nasion.detect("face.png", measures=("eyes", "mouth"))
        >>> 0.1 < face.eye_opening.left < 0.5, face.mouth_opening > 0
        (True, True)
    """

    left: float
    right: float
