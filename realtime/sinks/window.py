"""Window that shows the annotated video."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import cv2

from ...engines.errors import SinkError
from ..faces.drawing import Draw, draw
from ..faces.face import Face
from ..faces.frame import Frame
from .base import Sink

_ESCAPE = 27
# Qt aborts the process when it cannot reach the display, so a subprocess tries first.
_PROBE = "import cv2; cv2.namedWindow('nasion'); cv2.destroyAllWindows()"
_PROBE_TIMEOUT = 30.0  # seconds; a cold start of Python and OpenCV takes a few


class WindowSink(Sink):
    """Window that shows each frame; q, Esc or closing it sets ``stopped``. Use it in the main thread only."""

    def __init__(self, title: str = "nasion", draw: Draw = draw) -> None:
        """Check that a window can be shown.

        Raises:
            SinkError: there is no display, or OpenCV was built without window support.
        """
        _require_display()
        self._title, self._draw = title, draw
        self._is_shown = self._is_stopped = self._is_closed = False

    @property
    def stopped(self) -> bool:
        """True once q or Esc was pressed or the window was closed."""
        return self._is_stopped

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Show the frame, unless the user has stopped or closed the window.

        Raises:
            SinkError: the sink is closed.
        """
        if self._is_closed:
            raise SinkError(f"window {self._title!r} is closed; open it again")
        if self._is_stopped:
            return
        if not self._is_shown:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, frame.width, frame.height)
            self._is_shown = True
        cv2.imshow(self._title, self._draw(frame.image, faces))
        key = cv2.waitKey(1) & 0xFF
        self._is_stopped = key in (ord("q"), _ESCAPE) or not self._is_visible()

    def close(self) -> None:
        """Destroy the window. Calling it again does nothing."""
        self._is_closed = True
        if self._is_shown and self._is_visible():
            cv2.destroyWindow(self._title)
        self._is_shown = False

    def _is_visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt no longer knows a window that was closed
            return False


def _require_display() -> None:
    gui = [line.split()[-1] for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
    if gui == ["NONE"]:
        raise SinkError(
            "this OpenCV has no windows; to use --show: "
            "pip uninstall opencv-python-headless && pip install --force-reinstall opencv-python"
        )
    if sys.platform != "linux":
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SinkError(
            "--show needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set; "
            "run it from a desktop, or write a video with --out"
        )
    probe = [sys.executable, "-c", _PROBE]
    try:
        subprocess.run(probe, check=True, capture_output=True, text=True, timeout=_PROBE_TIMEOUT)
    except (subprocess.SubprocessError, OSError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise SinkError(
            f"--show cannot open a window ({said[0] if said else error}); "
            "check DISPLAY, run it from a desktop, or write a video with --out"
        ) from error
