"""Images as users have them, converted to BGR arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NasionError, foreign
from ..values.arrays import Image
from .transparency import over_white

Channels = Literal["bgr", "rgb"]
"""Order of the colours in an image; with ``rgb`` also RGBA."""


class SupportsDLPack(Protocol):
    """Array of another library, such as a torch or CuPy tensor, that NumPy can read by DLPack."""

    def __dlpack__(self) -> Any:
        """Return a capsule with the array."""
        ...


class PilImage(Protocol):
    """Image of Pillow."""

    @property
    def mode(self) -> str:
        """Pixel format, such as ``RGB``."""
        ...

    def convert(self, mode: str) -> Any:
        """Return the image in another pixel format."""
        ...


ImageInMemory = NDArray[Any] | SupportsDLPack | PilImage
"""Image in memory, as ``bgr_of`` accepts it."""

_ON_CPU = (1, 0)  # DLPack's device type and number
_DEPTHS = (1, 3, 4)
_TO_BGR = {(3, "rgb"): cv2.COLOR_RGB2BGR, (4, "rgb"): cv2.COLOR_RGBA2BGR, (4, "bgr"): cv2.COLOR_BGRA2BGR}
_HIGH = ("I", "F")  # modes of Pillow with more than 8 bits, whose range is unknown


def bgr_of(image: object, channels: Channels = "bgr") -> Image:
    """Return an image as a contiguous BGR array of uint8 (height, width, 3); copied only if it differs.

    Args:
        image: NumPy array, Pillow image, or array of another library that supports DLPack, on the CPU or a GPU. An
            array is grey (height, width), or has 1, 3 or 4 channels at the end or, as in torch, at the front. It is
            uint8, or of floats from 0 to 1. By a fourth channel, alpha, the image is shown over white.
        channels: order of the colours of an array; a Pillow image has its own.

    Raises:
        NasionError: the object is not an image, or ``channels`` is unknown.
    """
    check_channels(channels)
    if is_pil(image):
        return _from_pil(image)
    array = _as_uint8(_depth_last(image if isinstance(image, np.ndarray) else _from_dlpack(image)))
    depth = array.shape[2]
    if depth == 1:
        return np.asarray(cv2.cvtColor(array, cv2.COLOR_GRAY2BGR), np.uint8)
    if depth == 3 and channels == "bgr":
        return array
    return _without_alpha(array, channels)


def _without_alpha(array: Image, channels: Channels) -> Image:
    """Return an array of 3 or 4 channels as BGR."""
    bgr = np.asarray(cv2.cvtColor(array, _TO_BGR[array.shape[2], channels]), np.uint8)
    return bgr if array.shape[2] == 3 else over_white(bgr, array[..., 3])


def in_order_of(image: object, channels: Channels, bgr: Image) -> Image:
    """Return a BGR array in the order of the colours of ``image``: RGB for ``channels="rgb"`` and for Pillow."""
    if channels == "bgr" and not is_pil(image):
        return bgr
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def is_pil(image: object) -> bool:
    """Return True for an image of Pillow, which this does not import."""
    return any(each.__module__ == "PIL.Image" for each in type(image).__mro__)


def check_channels(channels: object) -> None:
    """Check the order of the colours.

    Raises:
        NasionError: it is unknown.
    """
    if channels not in get_args(Channels):
        raise NasionError(
            f"channels={channels!r:.60} is not allowed; choose from {', '.join(get_args(Channels))}, "
            "with or without alpha"
        )


def _from_pil(image: Any) -> Image:
    if image.mode.partition(";")[0] in _HIGH:
        raise NasionError(
            f"the Pillow image has mode {image.mode!r}, whose range of values is not known; give 8 bits a channel, "
            "such as np.uint8(np.asarray(image) / 257) for values of 16 bits"
        )
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return _without_alpha(np.asarray(image.convert(mode), np.uint8), "rgb")


def _from_dlpack(image: Any) -> NDArray[Any]:
    if not hasattr(image, "__dlpack__"):
        raise NasionError(_no_image(image))
    try:
        kind = int(image.__dlpack_device__()[0])
        if kind == _ON_CPU[0]:
            return np.from_dlpack(image)
        return np.from_dlpack(_HostCopy(image))
    except Exception as error:  # the libraries raise BufferError, RuntimeError, TypeError and others
        raise NasionError(
            f"the {type(image).__name__} cannot be read as an image ({foreign(error)}); give an array on the CPU, such "
            "as tensor.detach().cpu() of torch or array.get() of CuPy"
        ) from error


class _HostCopy:
    """Array on a GPU that exports a copy of itself on the CPU."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return _ON_CPU

    def __dlpack__(self, **asked: Any) -> Any:
        return self._array.__dlpack__(**{**asked, "dl_device": _ON_CPU, "copy": True})


def _depth_last(array: NDArray[Any]) -> NDArray[Any]:
    """Return an image as (height, width, channels).

    Raises:
        NasionError: the shape is not that of one image.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[2] not in _DEPTHS and array.shape[0] in _DEPTHS:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in _DEPTHS or not array.size:
        hint = "; for a batch, give a list of its images: list(batch)" if array.ndim == 4 and array.size else ""
        raise NasionError(
            f"the image has shape {array.shape}; allowed: (height, width), (height, width, channels) and (channels, "
            f"height, width), with 1, 3 or 4 channels{hint}"
        )
    return array


def _as_uint8(array: NDArray[Any]) -> Image:
    """Return the values as contiguous uint8.

    Raises:
        NasionError: the values are neither uint8 nor floats from 0 to 1.
    """
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        remedy = _REMEDIES.get(array.dtype.kind, _SCALE)
        raise NasionError(f"the image has values of {array.dtype}; allowed: uint8, and floats from 0 to 1. {remedy}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also for NaN
        raise NasionError(
            f"the image has {array.dtype} values from {low:.4g} to {high:.4g}; floats are allowed from 0 to 1. For "
            "values up to 255 give image.astype(np.uint8) or image / 255; undo the normalisation of a network first"
        )
    return np.ascontiguousarray(np.rint(array.astype(np.float32) * np.float32(255)).astype(np.uint8))


_SCALE = "Convert it, for example with image.astype(np.uint8) if its values go up to 255"
_REMEDIES = {
    "u": "For values of 16 bits give np.uint8(image / 257)",
    "b": "For a mask, give np.uint8(image) * 255",
}


def _no_image(image: object) -> str:
    if image is None:
        return (
            "the image is None; cv2.imread returns None for a file that it cannot read, and a capture at the end of a "
            "video: check the path"
        )
    if isinstance(image, bytes | bytearray | memoryview):
        return "the image is the bytes of a file; give PIL.Image.open(io.BytesIO(data)), or the path of the file"
    if type(image).__name__ in ("Frame", "DeviceFrame"):
        return "the image is a whole frame; give its array, frame.image"
    kinds = "a NumPy array, a Pillow image, or an array that supports DLPack, such as a torch tensor"
    if isinstance(image, str | os.PathLike | Sequence):
        return f"the image is a {type(image).__name__}; give {kinds}"
    return f"the image is of type {type(image).__name__}; give {kinds}"
