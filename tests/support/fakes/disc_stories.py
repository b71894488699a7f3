"""A tracker that takes a coloured disc for a face, and what it says of a story in frames."""

from __future__ import annotations

from nasion.realtime.tracking.tracker import Tracker

from .networks import DiscAligner, DiscDetector, frame


def make(**options):
    return Tracker.from_networks(DiscDetector(), DiscAligner(), **{"detect_interval": 15 / 30, **options})


def play(tracker, *scenes):
    """Faces of every frame; a scene is the discs of one frame."""
    return [tracker.update(frame(i, *discs)) for i, discs in enumerate(scenes)]


def ids(faces):
    return [face.id for face in faces]


def place(face):
    return (face.box[:2] + face.box[2:]) / 2
