"""Errors that libtiff reports while Pillow decodes a TIFF file.

libtiff prints them on stderr, and Pillow may return an image that is black from the damage on.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import _imaging

_decoding = threading.local()


def _note(_module: bytes | None, _text: bytes | None, _arguments: int | None) -> None:
    _decoding.failed = True


_handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(_note)


def _listen() -> None:
    """Give libtiff our handler; a build of Pillow that hides the function keeps its own."""
    try:
        libtiff = ctypes.CDLL(_imaging.__file__)  # also finds the functions of the libraries that it loads
        libtiff.TIFFSetErrorHandler(_handler)
    except (AttributeError, OSError):
        return


@contextmanager
def raised_tiff_errors() -> Iterator[None]:
    """Raise an error if libtiff reports one within, in this thread.

    Raises:
        ValueError: the file is damaged.
    """
    _decoding.failed = False
    yield
    if _decoding.failed:
        raise ValueError("libtiff finds damaged data in it")


_listen()
