"""Opening of files and streams, and what is wrong with those that cannot be opened."""

from __future__ import annotations

import errno
import re

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from ....engines.errors import SourceError
from ..base import Media
from ..nvdec import GpuDecoder
from .causes import cause
from .container import WHOLE, open_container, reason

_RESERVED = re.compile(r"://[^@]*[#?/].*@")  # characters that end the user and password of an address


class Opener:
    """Opens files and streams, decoded on a GPU if that was requested and is possible."""

    def __init__(self, name: str, gpu: GpuDecoder | None) -> None:
        """Open on the CPU, or on a GPU if one is given; errors begin with ``name``."""
        self._name, self.gpu = name, gpu

    def __call__(self, media: Media) -> InputContainer:
        """Open a file or stream.

        Raises:
            SourceError: it cannot be opened; the message says why and what to do.
        """
        if self.gpu is not None:
            container = self.gpu.open(lambda accelerator: _open_container(media, self._name, accelerator))
            if container is not None:
                return container
            self.gpu = None
        return _open_container(media, self._name, None)


def _open_container(media: Media, name: str, accelerator: HWAccel | None) -> InputContainer:
    try:
        return open_container(media, accelerator)
    except av.FFmpegError as error:
        why, number = reason(error), error.errno
    # Raised outside the handler, because the original error contains the whole URL and would be chained.
    if known := cause(media.location):
        raise SourceError(f"{name}: {known}")
    if media.timeout is None:
        raise SourceError(f"{name}: cannot be read as a video ({why}); {WHOLE}")
    if number == errno.EPROTONOSUPPORT and media.location.lower().startswith("rtsp"):
        raise SourceError(f"{name}: the server does not send over TCP ({why}); leave ?tcp out of the address")
    remedy = "check that the address is right, that it is switched on and reachable, and the user and password in it"
    if _RESERVED.search(media.location):
        remedy += "; in these write # as %23, / as %2F, ? as %3F and @ as %40"
    raise SourceError(f"{name}: no video received ({why}); {remedy}")
