"""``nasion.live``: many sources, tracked from now on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from ..tracking.options import TrackerKeywords
from ..tracking.tracker import TrackerOptions
from .hub import Hub
from .recording import Recording
from .results import LiveResult
from .specs import SourceLike, SourceSpec


def live(
    sources: SourceLike | Iterable[SourceLike] | Mapping[str, SourceLike],
    options: TrackerOptions | None = None,
    *,
    callback: Callable[[LiveResult], object] | None = None,
    timeout: float | None = None,
    reconnect: bool = True,
    decode: str = "cpu",
    record: Recording | None = None,
    **overrides: Unpack[TrackerKeywords],
) -> Hub:
    """Track the faces of many live sources: ``for result in nasion.live({"door": "rtsp://…", "desk": 0})``.

    The hub that is returned has already begun; close it, or use it in a ``with`` block. ``async for`` works, too.

    Args:
        sources: one source, several, or several by name.
        options: options of the trackers; None for the defaults.
        callback: called with each result, in a thread of its own; then there is no need to iterate.
        timeout: seconds without a frame after which a live source is lost; by default 3, for HLS 15.
        reconnect: restore lost connections.
        decode: device that decodes files and streams, as for ``open_source``.
        record: where and how to record the sources.
        **overrides: fields of ``TrackerOptions``, for example ``max_faces=2``; they replace those of ``options``.

    Raises:
        NasionError: an option or a source is not allowed, or a network cannot be loaded. A live source that does not
            answer raises nothing: its status says so.

    Examples:
        >>> import nasion
        >>> with nasion.live({"film": "video.mp4"}, max_faces=1) as hub:
        ...     sources = {result.source for result in hub}
        >>> sources
        {'film'}
    """
    chosen = (options or TrackerOptions()).but(**overrides)
    hub = Hub(chosen, timeout=timeout, reconnect=reconnect, decode=decode, record=record)
    try:
        if callback is None:
            iter(hub)  # gets results from the first frame on
        else:
            hub.call(callback)
        if isinstance(sources, Mapping):
            for name, source in sources.items():
                hub.add(replace(source, name=name) if isinstance(source, SourceSpec) else source, name=name)
        else:
            for source in [sources] if isinstance(sources, str | int | Path | SourceSpec) else sources:
                hub.add(source)
    except BaseException:
        hub.close()
        raise
    return hub
