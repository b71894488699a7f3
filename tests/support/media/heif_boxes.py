"""HEIF files put together box by box (ISO/IEC 23008-12), of images that Pillow has encoded as AVIF or HEIC."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

_CODECS = {"AVIF": (b"av01", b"av1C"), "HEIF": (b"hvc1", b"hvcC")}


@dataclass(frozen=True)
class Item:
    """An item of a file.

    Attributes:
        kind: ``av01``, ``hvc1`` or ``grid``.
        data: what the file stores of it.
        properties: complete boxes.
        reference: kind of a reference to other items.
        to: their numbers, counted from 1.
    """

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...]
    reference: bytes = b""
    to: tuple[int, ...] = ()


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", len(content) + 8) + kind + content


def full_box(kind: bytes, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", flags), *parts)


def size_box(width: int, height: int) -> bytes:
    return full_box(b"ispe", 0, struct.pack(">II", width, height))


def clap_box(width: int, height: int) -> bytes:
    """The middle of an image."""
    return box(b"clap", struct.pack(">8i", width, 1, height, 1, 0, 1, 0, 1))


def encoded(image: Image.Image, format: str = "AVIF", *properties: bytes) -> Item:
    """Encode an image of whole blocks of 8 pixels, and return it as an item."""
    stored = io.BytesIO()
    image.save(stored, format, quality=100)
    data = stored.getvalue()
    kind, configuration = _CODECS[format]
    begin = data.index(b"mdat") + 4
    config = data.index(configuration) - 4
    (length,) = struct.unpack(">I", data[config : config + 4])
    return Item(kind, data[begin:], (size_box(*image.size), data[config : config + length], *properties))


def grid(columns: int, rows: int, tile: tuple[int, int]) -> Item:
    """Return an image put together from the items that follow it."""
    size = columns * tile[0], rows * tile[1]
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    return Item(b"grid", data, (size_box(*size),), b"dimg", tuple(range(2, 2 + columns * rows)))


def file_of(items: Sequence[Item], *, primary: int = 1) -> bytes:
    """Return a file of these items, of which one is shown: AVIF, or HEIC if one is encoded so."""
    brand = b"heic" if any(item.kind == b"hvc1" for item in items) else b"avif"
    start = box(b"ftyp", brand, bytes(4), brand + b"mif1miaf")
    places = [0] * len(items)
    for _ in range(2):  # the length of the boxes tells where the data begin
        meta = _meta(items, primary, places)
        place = len(start) + len(meta) + 8
        for index, item in enumerate(items):
            places[index] = place
            place += len(item.data)
    return start + meta + box(b"mdat", *(item.data for item in items))


def _meta(items: Sequence[Item], primary: int, places: Sequence[int]) -> bytes:
    numbered = list(enumerate(items, 1))
    properties = list(dict.fromkeys(each for item in items for each in item.properties))
    entries = [full_box(b"infe", 2 << 24, struct.pack(">HH", number, 0), item.kind, b"\0") for number, item in numbered]
    references = [
        box(item.reference, struct.pack(f">HH{len(item.to)}H", number, len(item.to), *item.to))
        for number, item in numbered
        if item.to
    ]
    used = [
        struct.pack(">HB", number, len(item.properties))
        + bytes(
            properties.index(each) + 1 | 0x80 * (each[4:8] in (b"av1C", b"hvcC", b"clap", b"irot", b"imir"))
            for each in item.properties
        )
        for number, item in numbered
    ]
    located = [
        struct.pack(">HHHII", number, 0, 1, place, len(item.data))
        for (number, item), place in zip(numbered, places, strict=True)
    ]
    return full_box(
        b"meta",
        0,
        full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", 0, struct.pack(">H", primary)),
        full_box(b"iloc", 0, b"\x44\0", struct.pack(">H", len(items)), *located),
        full_box(b"iinf", 0, struct.pack(">H", len(items)), *entries),
        full_box(b"iref", 0, *references) if references else b"",
        box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", 0, struct.pack(">I", len(items)), *used)),
    )
