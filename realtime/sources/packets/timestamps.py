"""Conversion of timestamps: one clock for all packets of a source, and increasing seconds for its frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from time import monotonic
from typing import Any

# Milliseconds added for a frame with the timestamp of the previous one: a tick of Matroska, the coarsest common clock.
NUDGE = 1
# Milliseconds; a timestamp that goes back further belongs to another clock, for example in concatenated files.
JUMP = 250
LEAP = 10
"""Seconds; a timestamp further ahead belongs to another clock, in formats whose clock may restart."""
_NEVER = -(1 << 63)
_REORDERED = 32  # maximum number of packets before the one that is shown first
_WAITING = 1024  # maximum number of packets of the sound that wait
_APART = 1  # seconds between the video and the sound in a file, and of a gap in the sound


class Timeline:
    """One clock for the packets of a video and its sound, which may have clocks that restart or leap.

    A decoding time of the video that goes back by more than ``JUMP``, or leaps ahead, starts another clock. Its first
    image follows the last one of the clock before by the average step. The sound is moved by the same offset, and so
    stays in time with the video. Its packets near the jump may come earlier or later than those of the video. So sound
    that jumps waits for the jump of the video; if there is none, it was a gap in the sound.
    """

    def __init__(self, step: Fraction, time_base: Fraction, *, leap: float | None) -> None:
        """Start before the first packet.

        Args:
            step: average time between two images in seconds.
            time_base: seconds per unit of the timestamps of the video.
            leap: seconds; a larger step ahead also starts another clock, and is not a long image. None for never.
        """
        self._base = time_base
        self._step = max(round(step / time_base), 1)
        self._back, self._leap = round(Fraction(JUMP, 1000) / time_base), None if leap is None else leap / time_base
        self.rewind()

    def rewind(self) -> None:
        """Expect packets from anywhere, on the first clock, because the reader has moved."""
        self._offset = 0  # of the clock of the video
        self._dts: int | None = None  # of the last packet of the video that has one
        self._undated = 0  # duration of the packets since then
        self._latest = _NEVER  # of the images so far, repaired
        self._joint: list[Any] = []  # packets after a jump, until that of the first image is among them
        self._sound_offset = 0  # that of the clock of the sound, which may still be an earlier one
        self._sound_end: Fraction | None = None  # of the last packet of the sound, in seconds
        self._waiting: list[Any] = []  # packets of the sound
        self._since = _NEVER  # timestamp of the video since which they wait, or differ from it in their clock

    def jumps(self, packet: Any) -> bool:
        """Return True if a packet of the video starts another clock."""
        if packet.dts is None or self._dts is None:
            return False
        step = packet.dts - self._dts
        if step <= 0 and self._undated:
            step -= self._undated
        return step < -self._back or (self._leap is not None and step > self._leap)

    def video(self, packet: Any) -> Iterator[Any]:
        """Add the next packet of the video, and yield the packets that are ready."""
        dts, jumps = packet.dts, self.jumps(packet)
        if dts is None:
            self._undated += packet.duration or self._step
        else:
            self._dts, self._undated = dts, 0
        if jumps:
            yield from self._joined()
        if jumps or self._joint:
            self._joint.append(packet)
            if len(self._joint) > _REORDERED or (dts is not None and dts >= self._first()):
                yield from self._joined()
        else:
            yield self._moved(packet)
        if self._sound_offset != self._offset or self._waiting:
            yield from self._awaited()

    def sound(self, packet: Any) -> Iterator[Any]:
        """Add the next packet of the sound, and yield the packets that are ready."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            yield packet
            return
        begin = stamp * packet.time_base
        expected = self._sound_end
        if expected is None:
            expected = begin if self._dts is None else self._dts * self._base
        continues = not self._waiting and -Fraction(JUMP, 1000) <= begin - expected <= _APART
        self._sound_end = begin + (packet.duration or 0) * packet.time_base
        if continues:
            yield self._heard(packet)
            return
        if not self._waiting:
            self._since = self._latest
        self._waiting.append(packet)
        if len(self._waiting) > _WAITING or (self._sound_offset != self._offset and not self._joint):
            yield from self._released()

    def rest(self) -> Iterator[Any]:
        """Yield the packets that are left at the end."""
        yield from self._joined()
        yield from self._released()

    def _joined(self) -> Iterator[Any]:
        """Yield the packets since a jump, with the offset that puts the first image after the last one before."""
        if self._joint:
            self._offset = self._latest + self._step - self._first()
            self._since = self._latest
            joint, self._joint = self._joint, []
            yield from map(self._moved, joint)
            if self._waiting:
                yield from self._released()

    def _first(self) -> int:
        """Return the timestamp of the image that is shown first after a jump."""
        return min(stamp for packet in self._joint if (stamp := _shown(packet)) is not None)

    def _moved(self, packet: Any) -> Any:
        if self._offset:
            _move(packet, self._offset)
        stamp = _shown(packet)
        if stamp is None and self._latest > _NEVER:  # as in a packet of a program stream with several images
            stamp = self._latest + (packet.duration or self._step)
        if stamp is not None and stamp > self._latest:
            self._latest = stamp
        return packet

    def _awaited(self) -> Iterator[Any]:
        """Yield the sound that has waited long enough for another clock; the clocks differ as long at most."""
        if self._latest - self._since > _APART / self._base:
            yield from self._released()
            self._sound_offset = self._offset

    def _released(self) -> Iterator[Any]:
        """Yield the packets of the sound that wait, on the clock of the video."""
        self._sound_offset = self._offset
        waiting, self._waiting = self._waiting, []
        yield from map(self._heard, waiting)

    def _heard(self, packet: Any) -> Any:
        if self._sound_offset:
            _move(packet, round(self._sound_offset * self._base / packet.time_base))
        return packet


def _move(packet: Any, offset: int) -> None:
    if packet.pts is not None:
        packet.pts += offset
    if packet.dts is not None:
        packet.dts += offset


def _shown(packet: Any) -> int | None:
    """Return the presentation time of a packet, or its decoding time if it has none."""
    stamp: int | None = packet.dts if packet.pts is None else packet.pts
    return stamp


class ArrivalClock:
    """Seconds since the first frame came, for live streams without timestamps."""

    origin = None

    def __init__(self) -> None:
        """Start with the first frame."""
        self._first: float | None = None
        self._time = 0.0

    def rewind(self) -> None:
        """Accept the next frame; a live stream has one place."""

    def stamp(self, pts: int | None, dts: int | None) -> float:
        """Return the time of the frame that has just come."""
        now = monotonic()
        if self._first is None:
            self._first = now
        else:
            self._time = max(now - self._first, self._time + NUDGE / 1000)
        return self._time


class MediaClock:
    """Converter from timestamps, which may repeat, jump or be missing, to seconds that strictly increase from 0.

    A timestamp that repeats or goes back by up to ``JUMP`` is placed 1 ms after the previous time, or less where the
    times would overtake a clock that is coarser than the frames. One that goes back further starts another clock, which
    continues at the average rate. A missing one also follows at that rate. Gaps are kept.
    """

    def __init__(self, step: Fraction, time_base: Fraction) -> None:
        """Start before the first frame.

        Args:
            step: average time between two frames in seconds.
            time_base: seconds per timestamp unit.
        """
        # All times are integers in units of 1 / _unit seconds, which represent timestamps and milliseconds exactly.
        # Fractions would take a tenth of the decoding time.
        self._unit, self._tick = 1000 * time_base.denominator, 1000 * time_base.numerator
        self._nudge = NUDGE * time_base.denominator
        self._jump = JUMP * time_base.denominator
        self._step = round(step * self._unit)
        self._origin: int | None = None
        self._time: int | None = None
        self._placed = 0  # the last timestamp that was chosen
        self._last = {"pts": _NEVER, "dts": _NEVER}
        self._faults = {"pts": 0, "dts": 0}

    @property
    def origin(self) -> Fraction | None:
        """Timestamp of time 0 in seconds; None until a frame has a timestamp."""
        return None if self._origin is None else Fraction(self._origin, self._unit)

    def rewind(self) -> None:
        """Accept any timestamp for the next frame, after the reader has seeked."""
        self._time = None
        self._last = dict.fromkeys(self._last, _NEVER)

    def stamp(self, pts: int | None, dts: int | None) -> float:
        """Return the time of the next frame in seconds, from its presentation and decoding timestamps."""
        expected = 0 if self._time is None else self._time + self._step
        value = self._choose(pts, dts)
        self._time = expected if value is None else self._place(value * self._tick, expected)
        return self._time / self._unit

    def _place(self, stamp: int, expected: int) -> int:
        if self._origin is None:
            self._origin = stamp - expected
        last, self._placed = self._placed, stamp
        time = stamp - self._origin
        if self._time is None or time > self._time:
            return time
        if self._time - time <= self._jump:
            if stamp > last:  # the times have overtaken the timestamps: the clock is coarser than the nudge
                self._nudge = max(self._nudge // 2, 1)
            return self._time + self._nudge
        self._origin = stamp - expected
        return expected

    def _choose(self, pts: int | None, dts: int | None) -> int | None:
        """Choose a timestamp by FFmpeg's rule: presentation, unless it went back more often than decoding."""
        for name, value in (("pts", pts), ("dts", dts)):
            if value is not None:
                self._faults[name] += value <= self._last[name]
                self._last[name] = value
        trusted = self._faults["pts"] <= self._faults["dts"] or dts is None
        return pts if trusted and pts is not None else dts
