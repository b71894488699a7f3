"""Real-time facial-landmark tracking for video.

``track`` follows the faces of a file, camera or stream; ``Tracker`` does so for those who own the loop.
"""

from __future__ import annotations

import importlib
import os

TYPE_CHECKING = False  # as type checkers know it; to import typing takes longer than all else here
if TYPE_CHECKING:
    from .engines.errors import NasionError
    from .realtime.annotate.annotate import annotate
    from .realtime.detecting import detect
    from .realtime.exchange.conversions import to_detections, to_key_points
    from .realtime.exchange.reading import read
    from .realtime.exchange.writing import write
    from .realtime.faces.drawing import draw
    from .realtime.faces.face import Face
    from .realtime.faces.frame import Frame
    from .realtime.faces.measured import EyeOpening, Pose
    from .realtime.live.hub import Hub
    from .realtime.live.live import live
    from .realtime.live.results import LiveResult
    from .realtime.live.specs import SourceSpec
    from .realtime.measures.blinks import Blink, BlinkDetector, blinks
    from .realtime.pipeline import track
    from .realtime.sources import open_source
    from .realtime.tracking.tracker import Tracker, TrackerOptions
    from .realtime.values.landmarks import Landmarks
    from .realtime.values.scheme import LandmarkScheme, Opening
    from .realtime.values.schemes import add_scheme, schemes
    from .realtime.values.source_options import SourceOptions
    from .realtime.values.versions import __version__ as __version__

__all__ = [
    "Blink",
    "BlinkDetector",
    "EyeOpening",
    "Face",
    "Frame",
    "Hub",
    "LandmarkScheme",
    "Landmarks",
    "LiveResult",
    "NasionError",
    "Opening",
    "Pose",
    "SourceOptions",
    "SourceSpec",
    "Tracker",
    "TrackerOptions",
    "add_scheme",
    "annotate",
    "blinks",
    "detect",
    "draw",
    "live",
    "open_source",
    "read",
    "schemes",
    "to_detections",
    "to_key_points",
    "track",
    "write",
]

_FOLDER = os.path.dirname(__file__)
if not os.path.isdir(os.path.join(_FOLDER, "engines")):  # a checkout without symbolic links: they lie beside src
    __path__.append(os.path.dirname(os.path.dirname(_FOLDER)))

_HOME = {
    "Blink": ".realtime.measures.blinks",
    "BlinkDetector": ".realtime.measures.blinks",
    "EyeOpening": ".realtime.faces.measured",
    "Face": ".realtime.faces.face",
    "Frame": ".realtime.faces.frame",
    "Hub": ".realtime.live.hub",
    "LandmarkScheme": ".realtime.values.schemes",  # with its pickling
    "Landmarks": ".realtime.values.landmarks",
    "LiveResult": ".realtime.live.results",
    "NasionError": ".engines.errors",
    "Opening": ".realtime.values.scheme",
    "Pose": ".realtime.faces.measured",
    "SourceOptions": ".realtime.values.source_options",
    "SourceSpec": ".realtime.live.specs",
    "Tracker": ".realtime.tracking.tracker",
    "TrackerOptions": ".realtime.tracking.tracker",
    "__version__": ".realtime.values.versions",
    "add_scheme": ".realtime.values.schemes",
    "annotate": ".realtime.annotate.annotate",
    "blinks": ".realtime.measures.blinks",
    "detect": ".realtime.detecting",
    "draw": ".realtime.faces.drawing",
    "live": ".realtime.live.live",
    "open_source": ".realtime.sources",
    "read": ".realtime.exchange.reading",
    "schemes": ".realtime.values.schemes",
    "to_detections": ".realtime.exchange.conversions",
    "to_key_points": ".realtime.exchange.conversions",
    "track": ".realtime.pipeline",
    "write": ".realtime.exchange.writing",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use, so that importing nasion costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(__all__)}")
    value: object = getattr(importlib.import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
