"""``nasion.detect``: the faces of single images."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, Unpack, get_type_hints, overload

import numpy as np

from ..engines.errors import NasionError
from ..engines.zoo import VARIABLE
from .faces.face import Face
from .faces.frame import Frame
from .images.inputs import Channels, ImageInMemory, bgr_of, check_channels
from .images.pixels import pixels_of
from .sources.image_files.reading import read_image
from .tracking.detector import Detections, Detector
from .tracking.options import ImageKeywords, TrackerKeywords, TrackerOptions
from .tracking.requests import Networks
from .tracking.state import Tracking
from .tracking.tracker import Tracker
from .values.landmarks import Landmarks
from .values.names import renamed
from .values.numeric import finite

AnyImage = str | os.PathLike[str] | ImageInMemory | Frame
"""Image as ``detect`` accepts it."""
I = TypeVar("I", bound=AnyImage)  # noqa: E741

_MOST_PIXELS = 4_000_000  # of the images of a batch, unless it is a single image: 48 MB in float32
_MOST_LOADED = 4  # sets of networks that stay loaded


@overload
def detect(
    image: AnyImage,
    *,
    channels: Channels = "bgr",
    landmarks: bool = True,
    threshold: float | None = None,
    **options: Unpack[ImageKeywords],
) -> list[Face]: ...
@overload
def detect(
    image: list[I] | tuple[I, ...],
    *,
    channels: Channels = "bgr",
    landmarks: bool = True,
    threshold: float | None = None,
    **options: Unpack[ImageKeywords],
) -> list[list[Face]]: ...
def detect(
    image: AnyImage | list[I] | tuple[I, ...],
    *,
    channels: Channels = "bgr",
    landmarks: bool = True,
    threshold: float | None = None,
    **options: Unpack[ImageKeywords],
) -> list[Face] | list[list[Face]]:
    """Return the faces of an image, or of each image of a list.

    Finds the same faces as a ``Tracker`` in the first frame of a video. The networks are loaded on the first call and
    stay loaded. Threads may call this at the same time.

    Args:
        image: one image or a list of images; those of a list go through the networks in batches. An image is

            - the path of a file,
            - a NumPy array: grey (height, width) or with 1, 3 or 4 channels (height, width, channels), BGR or BGRA, of
              uint8 or of floats from 0 to 1,
            - such an array of another library that supports DLPack, such as a torch or CuPy tensor, also in the order
              (channels, height, width) and on a GPU, from which it is copied,
            - a Pillow image, whose order of colours is known, or
            - a ``Frame``.

            Pixels of an array may lie apart in memory, and may be read-only.
        channels: order of the colours of an array: ``bgr`` as in OpenCV, or ``rgb``, also for RGBA.
        landmarks: if False, only the detector runs, on the image at its own size and, for larger faces, at smaller
            ones: ``box`` and ``score`` are those of the detector, best first, and ``landmarks`` and ``confidence`` are
            empty. With ``detect_size`` it sees that size only.
        threshold: score of the detector, from 0 to 1, from which on a face counts as found; by default the one of the
            network. The score of a face with landmarks is another one, for which ``min_score`` sets the limit.
        **options: ``model``, ``detector``, ``runtime``, ``device``, ``detect_size``, ``max_faces``, ``threads``,
            ``min_score``, ``measures`` and ``focal_length`` as in ``TrackerOptions``.

    Returns:
        Faces with ``id`` from 1, or a list of faces for each image.

    Raises:
        NasionError: an image or option is not allowed, or a network cannot be loaded.
        SourceError: a file cannot be read.

    Examples:
        >>> import nasion
        >>> faces = nasion.detect("face.png")
        >>> len(faces), faces[0].landmarks.shape
        (1, (68, 2))
        >>> [len(found) for found in nasion.detect(["face.png", "face.png"], landmarks=False)]
        [1, 1]
    """
    chosen = _options(options)
    check_channels(channels)
    if threshold is not None and ((least := finite(threshold)) is None or not 0 <= least <= 1):
        raise NasionError(f"threshold={threshold!r:.60} is not allowed; give a number from 0 to 1")
    if not landmarks and chosen.min_score is not None:
        raise NasionError("min_score is the lowest score of landmarks; with landmarks=False give threshold instead")
    if not landmarks and chosen.measures:
        raise NasionError(f"measures {', '.join(chosen.measures)} need landmarks; leave landmarks=False out")
    tracker = _loaded(chosen)
    runtime = tracker.runtimes.get("detector") or tracker.runtimes["faces"]
    networks = Networks(Detector(runtime, size=chosen.detect_size, threshold=threshold), tracker.networks.aligner)
    find = _with_landmarks if landmarks else _boxes
    if isinstance(image, list | tuple):
        return [faces for batch in _batches(image, channels) for faces in find(batch, networks, chosen)]
    return find([_frame(image, channels)], networks, chosen)[0]


def _with_landmarks(frames: Sequence[Frame], networks: Networks, options: TrackerOptions) -> list[list[Face]]:
    """Return the faces of each frame as in the first frame of a video."""
    return networks.run_together([Tracking.over(networks, options).steps(frame) for frame in frames])


def _boxes(frames: Sequence[Frame], networks: Networks, options: TrackerOptions) -> list[list[Face]]:
    """Return the faces of each frame as the detector finds them."""
    found = networks.detector.detect_closely([pixels_of(frame.pixels) for frame in frames])
    return [_faces_of(each)[: options.max_faces] for each in found]


def _faces_of(found: Detections) -> list[Face]:
    none = np.zeros((0, 2), np.float32)
    return [
        Face(number, box, score, Landmarks(none), none[:, 0])
        for number, (box, score) in enumerate(zip(found.boxes, found.scores.tolist(), strict=True), start=1)
    ]


def _batches(images: Sequence[object], channels: Channels) -> Iterator[list[Frame]]:
    """Read the images of a list and yield them in batches of a limited number of pixels.

    Raises:
        NasionError: one of them is not an image; the message has its number.
    """
    batch: list[Frame] = []
    pixels = 0
    for number, image in enumerate(images):
        try:
            frame = _frame(image, channels)
        except NasionError as error:
            raise type(error)(f"image {number} of the list, counted from 0: {error}") from error
        if batch and pixels + frame.width * frame.height > _MOST_PIXELS:
            yield batch
            batch, pixels = [], 0
        batch.append(frame)
        pixels += frame.width * frame.height
    if batch:
        yield batch


def _frame(image: object, channels: Channels) -> Frame:
    if isinstance(image, Frame):
        return image
    if isinstance(image, str | os.PathLike):
        return Frame(read_image(Path(image)), 0.0, 0)
    return Frame(bgr_of(image, channels), 0.0, 0)


def _options(options: ImageKeywords) -> TrackerOptions:
    """Convert keyword options to ``TrackerOptions``.

    Raises:
        NasionError: an option does not exist, is about video, or its value is not allowed.
    """
    allowed = get_type_hints(ImageKeywords)
    for name in options:
        if name not in allowed:
            if name == "detect_every":
                raise NasionError(f"{renamed()}, and is about video; leave it out")
            about = " is about video" if name in get_type_hints(TrackerKeywords) else " is unknown"
            raise NasionError(
                f"option {name!r}{about}; allowed: channels, landmarks, threshold, {', '.join(sorted(allowed))}"
            )
    return TrackerOptions(**options)


_LOADING = threading.Lock()


def _loaded(options: TrackerOptions) -> Tracker:
    """Return a tracker that holds the networks of these options. They are loaded once in each process.

    A file that has changed is loaded again.
    """
    key = replace(
        options, max_faces=None, min_score=None, measures=(), focal_length=None
    )  # these do not concern the networks
    with _LOADING:
        return _opened(key, _changed(key.model), _changed(key.detector), os.environ.get(VARIABLE), os.getpid())


@lru_cache(maxsize=_MOST_LOADED)
def _opened(options: TrackerOptions, *_: object) -> Tracker:
    return Tracker(options)


def _changed(model: str | Path | None) -> int:
    """Return the time in ns at which a model file was written; 0 for the name of a network."""
    try:
        return 0 if model is None else os.stat(model).st_mtime_ns
    except OSError:
        return 0
