"""Progress of long work: one line that is updated on a terminal, plain lines at long intervals elsewhere."""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from time import monotonic
from types import TracebackType
from typing import Self, TextIO

from ...engines.errors import printable

TERMINAL_EVERY = 0.25
"""Seconds between two updates on a terminal."""
PLAIN_EVERY = 10.0
"""Seconds between two lines if the stream is not a terminal, for log files and pipes."""


class Progress:
    """Progress on stderr, for example ``clip.mp4: 120 of 300 frames, 30.1 per second, 6 s left``.

    Used as a context manager. An instance can be called by work of several phases; rate and time left are those of
    the current phase, counted from its first report.
    """

    def __init__(
        self,
        name: str = "",
        total: int | None = None,
        unit: str = "",
        *,
        stream: TextIO | None = None,
        silent: bool = False,
    ) -> None:
        """Show nothing yet.

        Args:
            name: name of the work.
            total: number of steps, if known; without it, no time left is shown.
            unit: name of the steps in the plural, such as "frames".
            stream: where to show the progress (default: standard error).
            silent: show nothing.
        """
        self._stream = sys.stderr if stream is None else stream
        self._is_silent = silent
        self._on_terminal = self._stream.isatty()
        self._every = TERMINAL_EVERY if self._on_terminal else PLAIN_EVERY
        self._name, self._total, self._unit, self._note = name, total, unit, ""
        self._done = self._first = 0
        self._begin = self._now = monotonic()
        self._shown = self._begin - (self._every if self._on_terminal else 0)
        self._width = 0  # of the line on the terminal

    def __enter__(self) -> Self:
        """Return the progress."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """On a terminal, show the last state and end the line."""
        if self._width:
            self._draw()
            print(file=self._stream, flush=True)

    def advance(self, note: str = "") -> None:
        """Count one more step; ``note`` is shown after the figures."""
        self(self._name, self._done + 1, self._total, note)

    def __call__(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """Report that ``done`` of ``total`` steps of the work ``name`` are done; ``note`` is shown after them."""
        self._now = monotonic()
        if name != self._name or done < self._done:
            self._begin, self._first = self._now, done
        self._name, self._done, self._total, self._note = name, done, total, note
        if self._now - self._shown >= self._every and not self._is_silent:
            self._shown = self._now
            self._draw()

    def print(self, text: str) -> None:
        """Print a line; on a terminal above the progress."""
        line = printable(text)
        print(f"\r{line:{self._width}}" if self._width else line, file=self._stream, flush=True)
        if self._width:
            self._draw()

    def _draw(self) -> None:
        text = self._text()
        if not self._on_terminal:
            print(text, file=self._stream, flush=True)
            return
        text = text[: get_terminal_size().columns - 1]
        print(f"\r{text:{self._width}}", end="", file=self._stream, flush=True)  # covers the line before
        self._width = len(text)

    def _text(self) -> str:
        seconds, steps = self._now - self._begin, self._done - self._first
        rate = steps / seconds if seconds > 0 else 0.0
        parts = [f"{self._done:,}" + (f" of {self._total:,}" if self._total else "")]
        parts[0] += f" {self._unit}" if self._unit else ""
        if rate:
            parts.append(f"{rate:.1f} per second" if rate >= 1 else f"{rate:.2g} per second")
            if self._total:
                parts.append(f"{_duration(max(self._total - self._done, 0) / rate)} left")
        name = f"{printable(self._name)}: " if self._name else ""
        return name + ", ".join([*parts, self._note] if self._note else parts)


def _duration(seconds: float) -> str:
    """Return a duration as ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
