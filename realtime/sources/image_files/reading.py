"""Reading of image files with Pillow: one image, or the frames of an animation or of a multi-page file."""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ImageFile import ImageFile

from ....engines.errors import SourceError, extra_remedy, foreign, printable
from ...values.arrays import Image
from ...values.source_options import MAX_PIXELS
from ..conversion import turned
from .colours import is_srgb, of_fractions, to_bgr
from .rare import BY_FFMPEG, COLOUR_PFM, JPEG_XL, SUFFIXES, read_by_ffmpeg, read_colour_pfm, size_by_ffmpeg

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff",
    ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".jpx", ".jpf", ".j2k", ".j2c", ".jpc", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pfm", ".tga", ".ico", ".icns", ".qoi", ".psd", ".dds", ".pcx", ".ras", *SUFFIXES,
)  # fmt: skip

# Pillow's name of each format, the module of its plugin, and the first bytes of its files.
_FORMATS = {
    "JPEG": ("JpegImagePlugin", rb"\xff\xd8\xff"),
    "PNG": ("PngImagePlugin", rb"\x89PNG"),
    "GIF": ("GifImagePlugin", rb"GIF8"),
    "WEBP": ("WebPImagePlugin", rb"RIFF.{4}WEBP"),
    "TIFF": ("TiffImagePlugin", rb"II[*+]\0|MM\0[*+]"),
    "BMP": ("BmpImagePlugin", rb"BM"),
    "AVIF": ("AvifImagePlugin", rb".{4}ftyp(.{4})*?avi[fs]"),
    "HEIF": ("", rb".{4}ftyp(?!hev)(.{4})*?(heic|heix|heim|heis)"),
    "JPEG2000": ("Jpeg2KImagePlugin", rb"\x00{3}\x0cjP|\xff\x4f\xff\x51"),
    "PPM": ("PpmImagePlugin", rb"P[1-6f]\s"),
    "ICO": ("IcoImagePlugin", rb"\x00\x00\x01\x00[^\x00]\x00"),
    "ICNS": ("IcnsImagePlugin", rb"icns"),
    "QOI": ("QoiImagePlugin", rb"qoif"),
    "PSD": ("PsdImagePlugin", rb"8BPS"),
    "DDS": ("DdsImagePlugin", rb"DDS "),
    "PCX": ("PcxImagePlugin", rb"\x0a[\x00\x02\x03\x05]\x01[\x01\x02\x04\x08]"),
    "SUN": ("SunImagePlugin", rb"\x59\xa6\x6a\x95"),
}
_ANY_FORMAT = b"|".join(b"(?P<%b>%b)" % (name.encode(), start) for name, (_, start) in _FORMATS.items())
_LONGEST_START = 64  # bytes that tell the format
_RARE = b"|".join((COLOUR_PFM, BY_FFMPEG, JPEG_XL))
_VIDEO_SUFFIXES = (".mjpeg", ".mjpg")  # a video of JPEG files has their first bytes
_VIDEO = rb".{4}ftyphev[cx]"  # a HEIF sequence, which FFmpeg reads; Pillow reads its first image

# Formats whose further images are frames or pages. In others they are layers, sizes or views of the same image.
_SEQUENCES = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
_NO_PAGE = 0b101  # flags of a TIFF page that is a preview or a mask
_SUBFILE_TYPE, _ORIENTATION = 254, 274  # TIFF tags
_SHORTEST, _TOO_SHORT = 0.02, 0.1  # seconds: browsers show a frame with less than the first for the second
_PAGE = 0.04  # seconds for which a page without a duration is shown, as an image of a folder

# EXIF orientation: whether x and y are swapped and then left and right, top and bottom mirrored.
_TURNS = {
    2: (False, True, False), 3: (False, True, True), 4: (False, False, True), 5: (True, False, False),
    6: (True, True, False), 7: (True, True, True), 8: (True, False, True),
}  # fmt: skip
_REMEDY = "if another program opens it, save it from there as PNG"

_log = logging.getLogger(__name__)

# Pillow warns about what it ignores, such as damaged EXIF, and what it refuses raises an error.
warnings.filterwarnings("ignore", module=r"PIL\.")


def is_image_file(path: Path) -> bool:
    """Return True if a file is read as an image: by its first bytes or, where they tell nothing, by its suffix."""
    suffix = path.suffix.lower()
    if suffix in _VIDEO_SUFFIXES or _begins_with(_VIDEO, path):
        return False
    return suffix in IMAGE_SUFFIXES or bool(_format(path) or _begins_with(_RARE, path))


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image, or the first of several in a file, as upright BGR uint8 (h, w, 3).

    Colours are converted to sRGB, and transparent pixels are shown over white.

    Raises:
        SourceError: the file is missing, cannot be opened or decoded, is not an image, or has too many pixels.
    """
    image, _ = next(read_images(path, max_pixels))
    return image


def count_images(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, float]:
    """Return the number of frames or pages in an image file, and the seconds for which the first is shown.

    Raises:
        SourceError: as in ``read_image``.
    """
    if _format(path) not in _SEQUENCES:
        return 1, _PAGE
    with _decoding(path), _open(path, max_pixels) as image:
        pages = _pages(image)
        if len(pages) == 1:
            return 1, _PAGE
        image.seek(pages[0])
        _load(image)  # some plugins know the duration only then
        return len(pages), _duration(image)


def read_images(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[Image, float]]:
    """Yield the frames or pages of an image file, as ``read_image`` does, with their times in seconds.

    Raises:
        SourceError: as in ``read_image``.
    """
    with _decoding(path):
        if _begins_with(_RARE, path):
            yield _rare(path, max_pixels), 0.0
            return
        with _open(path, max_pixels) as image:
            time = 0.0
            pages = _pages(image)
            for page in pages:
                if len(pages) > 1:
                    image.seek(page)
                    _check_size(path, *image.size, max_pixels)
                yield _decoded(image, path), time
                time += _duration(image)


def _begins_with(pattern: bytes, path: Path) -> re.Match[bytes] | None:
    """Match the first bytes of a file; None also if it cannot be read."""
    try:
        with path.open("rb") as file:
            return re.match(pattern, file.read(_LONGEST_START), re.DOTALL)
    except OSError:
        return None


def _format(path: Path) -> str | None:
    """Return Pillow's name of the format of a file; None if it is not an image, or cannot be read."""
    found = _begins_with(_ANY_FORMAT, path)
    if found:
        return found.lastgroup
    return "TGA" if path.suffix.lower() == ".tga" else None  # its files begin with nothing in particular


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Raise ``SourceError`` for an error of the system or of Pillow."""
    name = printable(path)
    try:
        yield
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # a plugin raises whatever its parser meets
        if isinstance(error, OSError) and error.errno is not None:
            raise SourceError(f"{name}: cannot be read ({error.strerror}); check the path and its rights") from error
        raise SourceError(f"{name}: the image cannot be decoded ({foreign(error)}); {_REMEDY}") from error


def _open(path: Path, max_pixels: int) -> ImageFile:
    """Open an image file without decoding it.

    Raises:
        SourceError: it is empty, not an image, needs a package that is not installed, or has too many pixels.
    """
    name = printable(path)
    if path.stat().st_size == 0:
        raise SourceError(f"{name}: the file is empty (0 bytes); give a whole image")
    kind = _format(path)
    if kind is None:
        raise SourceError(f"{name}: the file is damaged or not an image; allowed: {', '.join(_FORMATS)} and TGA")
    _load_plugin(kind, name)
    if Pillow.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Pillow.MAX_IMAGE_PIXELS:
        Pillow.MAX_IMAGE_PIXELS = max_pixels  # Pillow refuses twice its own limit, which is one for the process
    try:
        image = Pillow.open(path, formats=[kind])
    except UnidentifiedImageError as error:
        raise SourceError(
            f"{name}: the {kind} image is damaged or of a kind that Pillow cannot decode; {_REMEDY}"
        ) from error
    except Pillow.DecompressionBombError as error:
        size = re.search(r"\d+", str(error))
        raise SourceError(_too_large(name, f"{size[0] if size else 'too many'} pixels", max_pixels)) from error
    _check_size(path, *image.size, max_pixels)
    return image


def _load_plugin(kind: str, name: str) -> None:
    """Import the plugin of a format; Pillow would import all of them.

    Raises:
        SourceError: it needs a package that is not installed.
    """
    if kind != "HEIF":
        importlib.import_module(f"PIL.{_FORMATS[kind][0] if kind in _FORMATS else 'TgaImagePlugin'}")
        return
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError as error:
        raise SourceError(f"{name}: HEIC images need pillow-heif; {extra_remedy('heif')}; or {_REMEDY}") from error
    register_heif_opener()


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise SourceError(_too_large(printable(path), f"{width} x {height} pixels", max_pixels))


def _too_large(name: str, size: str, max_pixels: int) -> str:
    return (
        f"{name}: the image has {size}; allowed: {max_pixels:,} in total; reduce it, or if you trust the file raise "
        "the limit with --max-pixels (max_pixels=)"
    )


def _pages(image: ImageFile) -> list[int]:
    """Return the numbers of the frames or pages of a file."""
    count = getattr(image, "n_frames", 1) if image.format in _SEQUENCES else 1
    if count == 1:
        return [0]
    if image.format == "TIFF":
        pages = [page for page in range(count) if not _is_preview(image, page)]
        image.seek(pages[0] if pages else 0)
        return pages or [0]
    return list(range(1 if image.info.get("default_image") else 0, count))  # an APNG may have a still for old programs


def _is_preview(image: Any, page: int) -> bool:
    image.seek(page)
    return bool(image.tag_v2.get(_SUBFILE_TYPE, 0) & _NO_PAGE)


def _duration(image: ImageFile) -> float:
    """Return the seconds for which the current frame is shown."""
    if image.format == "TIFF":
        return _PAGE
    seconds = float(image.info.get("duration") or 0) / 1000
    return seconds if seconds >= _SHORTEST else _TOO_SHORT


def _decoded(image: ImageFile, path: Path) -> Image:
    """Decode the current frame to upright BGR uint8 in sRGB."""
    pixels = _plain_jpeg(image, path) if image.format in ("JPEG", "MPO") else None
    if pixels is None:
        _load(image)
        pixels = to_bgr(_cropped(image, path), printable(path))
    turns = _TURNS.get(_orientation(image))
    return turned(pixels, *turns) if turns else pixels


def _load(image: ImageFile) -> None:
    """Decode the current frame with Pillow.

    Raises:
        Exception: it is damaged.
    """
    if image.format != "TIFF":
        image.load()
        return
    from .tiff_errors import raised_tiff_errors

    with raised_tiff_errors():
        image.load()


def _plain_jpeg(image: ImageFile, path: Path) -> Image | None:
    """Decode a JPEG without an ICC profile to convert with OpenCV; None if it is another one, or damaged.

    OpenCV uses the same decoder and gives the same pixels as Pillow, in three quarters of the time.
    """
    if image.mode not in ("L", "RGB") or not is_srgb(image.info.get("icc_profile")):
        return None
    data = np.frombuffer(path.read_bytes(), np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if decoded is None else decoded.astype(np.uint8, copy=False)


def _orientation(image: ImageFile) -> int:
    """Return the orientation in EXIF or XMP; 1 if there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # noqa: BLE001 - damaged EXIF raises anything, and the image itself may be whole
        _log.info("EXIF skipped (%s)", foreign(error))
        return 1


def _cropped(image: ImageFile, path: Path) -> Pillow.Image:
    """Return the part of an image that is to be shown: AVIF may name one, which Pillow does not crop."""
    if image.format != "AVIF":
        return image
    found = re.search(rb"\0\0\0\x28clap(.{32})", path.read_bytes(), re.DOTALL)
    if found is None:
        return image
    wide, wide_by, high, high_by, x, x_by, y, y_by = np.frombuffer(found[1], ">i4").tolist()
    width, height = wide // wide_by, high // high_by
    left = round((image.width - width) / 2 + x / x_by)
    top = round((image.height - height) / 2 + y / y_by)
    return image.crop((left, top, left + width, top + height))


def _rare(path: Path, max_pixels: int) -> Image:
    """Read an image that Pillow cannot decode.

    Raises:
        SourceError: it has too many pixels, or it is of a format that is not read.
        ValueError: it is damaged.
    """
    name = printable(path)
    if header := _begins_with(COLOUR_PFM, path):
        width, height = int(header[1]), int(header[2])
        _check_size(path, width, height, max_pixels)
        values = read_colour_pfm(path, width, height, header.end(), swapped=float(header[3]) < 0)
        return of_fractions(values, name)
    if _begins_with(JPEG_XL, path):
        raise SourceError(f"{name}: JPEG XL images are not read; save it as PNG, for example with djxl")
    _check_size(path, *size_by_ffmpeg(path), max_pixels)
    return read_by_ffmpeg(path)
