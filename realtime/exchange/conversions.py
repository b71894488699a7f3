"""Faces as objects of the package supervision, for its annotators, zones and metrics."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engines.errors import NasionError
from ..faces.face import Face

if TYPE_CHECKING:
    from supervision import Detections, KeyPoints


def to_detections(faces: Sequence[Face]) -> Detections:
    """Return faces as ``supervision.Detections``.

    ``xyxy`` has the bounding boxes, ``confidence`` the scores and ``tracker_id`` the track IDs. All are of class 0,
    named ``face`` in ``data["class_name"]``.

    Raises:
        NasionError: supervision is not installed.

    Examples:
        >>> import nasion
        >>> detections = nasion.to_detections(nasion.detect("face.png"))
        >>> detections.tracker_id.tolist(), detections.xyxy.shape
        ([1], (1, 4))
    """
    kind: type[Detections] = _supervision().Detections
    if not faces:
        return kind.empty()
    return kind(
        xyxy=np.stack([face.box for face in faces]),
        confidence=_scores(faces),
        class_id=np.zeros(len(faces), int),
        tracker_id=_ids(faces),
        data=_class_names(faces),
    )


def to_key_points(faces: Sequence[Face]) -> KeyPoints:
    """Return faces as ``supervision.KeyPoints``.

    ``xy`` has the landmarks, ``keypoint_confidence`` their confidence, ``detection_confidence`` the scores, and
    ``data["tracker_id"]`` the track IDs. ``visible`` is set if the network predicts visibility.

    Raises:
        NasionError: supervision is not installed, or the faces have different numbers of landmarks.

    Examples:
        >>> import nasion
        >>> nasion.to_key_points(nasion.detect("face.png")).xy.shape
        (1, 68, 2)
    """
    kind: type[KeyPoints] = _supervision().KeyPoints
    if not faces:
        return kind.empty()
    counts = sorted({len(face.landmarks) for face in faces})
    if len(counts) > 1:
        raise NasionError(
            f"the faces have {counts[0]} and {counts[-1]} landmarks; convert those of one network at a time"
        )
    visibility = [face.visibility for face in faces if face.visibility is not None]
    return kind(
        xy=np.stack([np.asarray(face.landmarks) for face in faces]),
        class_id=np.zeros(len(faces), int),
        keypoint_confidence=np.stack([face.confidence for face in faces]),
        detection_confidence=_scores(faces),
        visible=np.stack(visibility) == _VISIBLE if len(visibility) == len(faces) else None,
        data={**_class_names(faces), "tracker_id": _ids(faces)},
    )


_VISIBLE = 2  # in Face.visibility


def _supervision() -> Any:
    try:
        return importlib.import_module("supervision")
    except ImportError as error:
        raise NasionError(
            f"this conversion needs the package supervision ({error}); pip install 'supervision>=0.29'"
        ) from error


def _scores(faces: Sequence[Face]) -> Any:
    return np.array([face.score for face in faces], np.float32)


def _ids(faces: Sequence[Face]) -> Any:
    return np.array([face.id for face in faces], int)


def _class_names(faces: Sequence[Face]) -> dict[str, Any]:
    return {"class_name": np.array(["face"] * len(faces))}
