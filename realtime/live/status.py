"""Status of the hub and its sources: immutable snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["connecting", "live", "stalled", "reconnecting", "paused", "ended"]
"""State of a source."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the time from the capture of a frame to its landmarks, in milliseconds, over the last minute."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """Status of the recording of one source.

    Attributes:
        path: file that is being written, relative to the folder; empty if there is none.
        bytes: size of all files of the source in the folder.
        error: why the recording is suspended; empty if it is not.
    """

    path: str = ""
    bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Status of one source. Wall-clock times are seconds since 1970 (Unix time).

    Attributes:
        name: name of the source in the hub.
        address: place of the source, without user, password and query.
        state: what it does.
        reason: why it is stalled, reconnecting or ended; empty otherwise. Contains no password.
        since: wall-clock time at which the state began.
        next_attempt: wall-clock time of the next attempt to connect; None in states other than ``reconnecting``.
        is_live: False for a file, True for a camera or stream; None before the first connection.
        width, height: size of the newest frame in pixels; 0 before the first.
        rate: frames per second that the source names; None if unknown.
        fps: frames tracked per second, over the last 5 s.
        frames: number of frames tracked.
        received: number of frames read: tracked, dropped, skipped, or about to be tracked.
        dropped: number of frames that a newer one replaced before they were tracked.
        skipped: number of frames left out because of ``max_fps``.
        damaged: number of packets that could not be decoded, so that their frames are missing.
        losses: number of lost connections.
        reconnects: number of lost connections that were restored.
        faces: number of faces in the newest frame.
        identities: number of different identities.
        index: number of the newest tracked frame in its source; None before the first.
        time: its stream time in seconds.
        captured: wall-clock time at which it was captured.
        latency: latency of the frames of the last minute; None without frames.
        recording: status of the recording; None if the source is not recorded.
    """

    name: str
    address: str
    state: State
    reason: str
    since: float
    next_attempt: float | None = None
    is_live: bool | None = None
    width: int = 0
    height: int = 0
    rate: float | None = None
    fps: float = 0.0
    frames: int = 0
    received: int = 0
    dropped: int = 0
    skipped: int = 0
    damaged: int = 0
    losses: int = 0
    reconnects: int = 0
    faces: int = 0
    identities: int = 0
    index: int | None = None
    time: float | None = None
    captured: float | None = None
    latency: Latency | None = None
    recording: RecordingStatus | None = None


@dataclass(frozen=True, slots=True)
class HubStatus:
    """Status of the hub.

    Attributes:
        at: wall-clock time of the snapshot, in seconds since 1970.
        started: wall-clock time at which the hub started.
        sources: status of each source, in the order in which they were added.
        ticks: number of rounds of tracking.
        aligner_calls, detector_calls: calls of the networks.
        aligned: number of crops in all aligner calls; divided by ``aligner_calls`` the mean batch.
        detected: number of images in all detector calls.
        frames, dropped: sums over all sources, removed ones included.
    """

    at: float
    started: float
    sources: tuple[SourceStatus, ...]
    ticks: int = 0
    aligner_calls: int = 0
    detector_calls: int = 0
    aligned: int = 0
    detected: int = 0
    frames: int = 0
    dropped: int = 0
