"""Causes for which a file cannot be read or decoded, found in its first bytes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_READ = 188 * 2000  # bytes
_PACKET = 188  # bytes of a packet of a transport stream
_EMPTY = 0x1FFF  # number of the stream of empty packets


def cause(location: str) -> str | None:
    """Return why FFmpeg cannot read a file or address, with what to do; None if the cause is unknown."""
    begin = b""
    with suppress(OSError, ValueError), Path(location).open("rb") as file:
        begin = file.read(_READ)
    if location.partition("?")[0].lower().endswith(".mpd") or b"<MPD" in begin[:4096]:
        return "it is a DASH manifest, which this FFmpeg cannot read; give an HLS playlist (.m3u8) or a video"
    if _is_scrambled(begin):
        return "it is encrypted (scrambled); give a decrypted copy"
    return None


def _is_scrambled(begin: bytes) -> bool:
    """Return True if most packets of a transport stream are scrambled."""
    packets = [begin[place : place + _PACKET] for place in range(0, len(begin) - _PACKET + 1, _PACKET)]
    if not packets or any(packet[0] != 0x47 for packet in packets[:10]):
        return False
    filled = [packet for packet in packets if (packet[1] & 0x1F) << 8 | packet[2] != _EMPTY]
    return sum(bool(packet[3] & 0xC0) for packet in filled) > len(filled) / 2
