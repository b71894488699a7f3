"""Annotated video, with the times of its frames and the sound of its source; or one annotated image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from ...engines.errors import SinkError
from ...engines.output_paths import is_there, make_folder, remove_if_empty
from ..faces.drawing import Draw, draw
from ..faces.face import Face
from ..faces.frame import Frame
from ..sources.base import SourceInfo
from ..sources.conversion import usual_matrix
from ..values.arrays import Image
from .base import STREAM, Sink, closed, writing
from .sound import open_sound
from .whole import WholeFile

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_MOST_SIDE = 16_384  # pixels, of x264
_MOST_SIDE_OF_JPEG = 65_500
_TIME_BASE = Fraction(1, 90_000)  # MPEG's clock, fine enough for any frame rate
_LONGEST = round(3600 / _TIME_BASE)  # an hour, after which an image is repeated: in MP4 it cannot last seven
_SLOWEST, _FASTEST = Fraction(1), Fraction(240)  # hints: the level of H.264 follows from it, and the delay
_DAMAGE = 86_400  # seconds; a longer gap between two frames of a file is a damaged timestamp
_USUAL_RATE = Fraction(30)  # if the source does not tell; only a hint for the encoder's rate control

# An MP4 is written in fragments of half a second, so a killed process leaves a readable file. Closing converts it to an
# ordinary one, in which all players can seek. (FFmpeg before 8.1 damages the file in doing so; there the fragments
# stay.) The edit list, by which video and sound begin at 0 together, needs delay_moov. Packets are passed in order, so
# FFmpeg does not wait for sound that has ended.
_FRAGMENTS = "hybrid_fragmented" if av.library_versions["libavformat"] >= (62, 12, 0) else "frag_keyframe"
# Numbers in ITU-T H.273: the matrix of BT.2020, and primaries and transfer function that go with each matrix.
_BT2020 = 9
_PRIMARIES_AND_TRANSFER = {1: (1, 1), 5: (5, 6), _BT2020: (9, 14)}
_EXACT = 0x46002  # SWS_BILINEAR | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_ACCURATE_RND, named from PyAV 18 on
_AT_ONCE = {"flush_packets": "1", "max_interleave_delta": "1"}
_MP4 = {"movflags": f"{_FRAGMENTS}+delay_moov+default_base_moof", "frag_duration": "500000", **_AT_ONCE}
_MATROSKA = {"cluster_time_limit": "500", **_AT_ONCE}


class VideoSink(Sink):
    """H.264 video with the faces drawn.

    The first frame is at time 0 and the others keep their distance from it, so a variable frame rate is kept. H.264 in
    4:2:0 needs an even width and height; an odd one gets one more column or row, which repeats the last one, so no
    pixel is lost and no point moves. A frame of another size than the first is letterboxed.

    The file is opened, and an existing one replaced, when the first frame arrives.
    """

    def __init__(
        self, path: Path, info: SourceInfo, *, crf: int = 20, preset: str = "veryfast", draw: Draw = draw
    ) -> None:
        """Check that ``path`` can be encoded, and log a message if the sound of the source cannot be kept.

        Args:
            path: path of the video; its suffix, .mp4, .mov or .mkv, selects the container; ``-`` for Matroska on
                standard output.
            info: description of the source of the frames and of the sound, which is kept unless the source is live.
            crf: x264's quality, 0 (lossless) to 51; at 20 artefacts are hardly visible.
            preset: x264's speed, ``ultrafast`` to ``veryslow``.
            draw: draws the faces.

        Raises:
            SinkError: the suffix is another one, images are larger than H.264 allows, or PyAV has no H.264 encoder.
        """
        if _suffix(path) not in VIDEO_SUFFIXES:
            raise SinkError(f"video {str(path)!r} has suffix {path.suffix!r}; allowed: {', '.join(VIDEO_SUFFIXES)}")
        if "libx264" not in av.codecs_available:
            raise SinkError(f"video {str(path)!r} needs H.264, which this PyAV lacks; install it with: pip install av")
        if max(info.width, info.height) > _MOST_SIDE:
            raise SinkError(
                f"video {str(path)!r}: the images of {info.name} are {info.width} x {info.height} pixels; allowed: "
                f"{_MOST_SIDE:,} on each side; for a single image give {' or '.join(IMAGE_SUFFIXES)}"
            )
        if info.live and info.sound:
            _log.warning("%s: a live stream cannot be read twice; %s will have no sound", info.name, path.name)
        self._path, self._info, self._draw = path, info, draw
        self._options = {"crf": str(crf), "preset": preset, "g": "60"}
        self._file: _VideoFile | None = None
        self._is_new = self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Encode one frame.

        Raises:
            SinkError: the file cannot be written, or the sink is closed.
        """
        if self._is_closed:
            raise closed(self._path)
        with writing(self._path, FFmpegError):
            if self._file is None:
                self._is_new = not is_there(self._path)
                make_folder(self._path)
                self._file = _VideoFile(self._path, self._info, frame, self._options)
            self._file.write(self._draw(frame.image, faces), frame.time)

    def close(self) -> None:
        """Finish the file; calling it again does nothing."""
        self._is_closed = True
        file, self._file = self._file, None
        try:
            if file is not None:
                with writing(self._path, FFmpegError):
                    file.close()
        finally:
            if self._is_new:
                remove_if_empty(self._path)


def _suffix(path: Path) -> str:
    return ".mkv" if path == STREAM else path.suffix.lower()


class ImageSink(Sink):
    """One annotated image."""

    def __init__(self, path: Path, draw: Draw = draw) -> None:
        """Write to ``path`` when the frame arrives; its suffix, .png, .jpg or .jpeg, selects the format."""
        self._path, self._draw = path, draw
        self._is_written = self._is_closed = False

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write the image; the file holds only one."""
        if self._is_closed:
            raise closed(self._path)
        if self._is_written:
            raise SinkError(f"{str(self._path)!r} holds one image and the source has more; give a video")
        if self._path.suffix.lower() != ".png" and max(frame.width, frame.height) > _MOST_SIDE_OF_JPEG:
            raise SinkError(
                f"{str(self._path)!r}: the image is {frame.width} x {frame.height} pixels; allowed in JPEG: "
                f"{_MOST_SIDE_OF_JPEG:,} on each side; give a .png"
            )
        self._is_written = True
        _, encoded = cv2.imencode(self._path.suffix.lower(), self._draw(frame.image, faces))
        with writing(self._path), WholeFile(self._path) as file:
            file.write(encoded.tobytes())

    def close(self) -> None:
        """Return at once, because nothing is open."""
        self._is_closed = True


class _VideoFile:
    """Video that is being written."""

    def __init__(self, path: Path, info: SourceInfo, first: Frame, options: dict[str, str]) -> None:
        self._info, self._start = info, first.time
        self._size = first.width, first.height
        self._rate = min(max(info.rate or _USUAL_RATE, _SLOWEST), _FASTEST).limit_denominator(10_000)
        self._last, self._step = -1, max(1, round(1 / self._rate / _TIME_BASE))
        self._held: Packet[VideoStream] | None = None
        self._convert = VideoReformatter()
        suffix = _suffix(path)
        self._open(path, options)
        self._sound = open_sound(info, self._output, suffix=suffix, start=first.time)
        try:
            # Write the header now: FFmpeg crashes if anything follows a header that failed, for example on a full disk.
            self._output.start_encoding()
        except ValueError as error:  # FFmpeg rejects a stream; errors of the disk are others
            if self._sound is None:
                raise
            _log.warning("%s: its sound cannot be written (%s); the video stays silent", info.name, error)
            self._sound.close()
            self._sound = None
            self._open(path, options)
            self._output.start_encoding()

    def _open(self, path: Path, options: dict[str, str]) -> None:
        # An absolute path, because FFmpeg takes "name:rest" for a protocol.
        is_matroska, place = _suffix(path) == ".mkv", "pipe:1" if path == STREAM else str(path.absolute())
        container_options, kind = (_MATROSKA, "matroska") if is_matroska else (_MP4, None)
        self._output = av.open(place, "w", format=kind, options=container_options)
        self._stream = self._add_stream(options)

    def _add_stream(self, options: dict[str, str]) -> VideoStream:
        stream = self._output.add_stream(
            "libx264", rate=self._rate, options=options | {"x264-params": _ordered(self._rate)}, time_base=_TIME_BASE
        )
        width, height = self._size
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        # Declare the colour coding that most players assume anyway.
        wide = self._info.wide_gamut
        self._matrix = _BT2020 if wide else usual_matrix(width, height)
        context = stream.codec_context
        context.colorspace, context.color_range = self._matrix, int(ColorRange.MPEG)
        context.color_primaries, context.color_trc = _PRIMARIES_AND_TRANSFER[self._matrix]
        context.sample_aspect_ratio = self._info.pixel_aspect
        return stream

    def write(self, image: Image, time: float) -> None:
        """Encode ``image``, which has ``time`` in the source."""
        pts = max(round((time - self._start) / _TIME_BASE), self._last + 1)
        if self._last >= 0 and (pts - self._last) * _TIME_BASE > _DAMAGE:
            _log.warning("%s: no frame for more than a day; the video goes on without that gap", self._info.name)
            pts = self._last + self._step
            self._start = time - float(pts * _TIME_BASE)
        while self._last >= 0 and pts - self._last > _LONGEST:
            self._encode(self._image, self._last + _LONGEST)
        if self._last >= 0:
            self._step = pts - self._last
        self._encode(image, pts)

    def _encode(self, image: Image, pts: int) -> None:
        self._image, self._last = image, pts
        self._mux(self._stream.encode(self._video_frame(image, pts)))

    def _video_frame(self, image: Image, pts: int) -> VideoFrame:
        image = _pad_even(_fit(image, *self._size))
        frame = VideoFrame.from_ndarray(image, format="bgr24")
        frame.colorspace = self._matrix  # of the converted frame; PyAV 17 does not know BT.2020 below
        frame = self._convert.reformat(
            frame,
            format="yuv420p",
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
            interpolation=_EXACT,
        )
        frame.pts, frame.time_base = pts, _TIME_BASE
        return frame

    def _mux(self, packets: Sequence[Packet[VideoStream]]) -> None:
        """Write packets, each once the next one determines its duration.

        An MP4 fragment that ends with a packet of unknown or wrong duration shows the next frame at a wrong time.
        """
        for packet in packets:
            assert packet.pts is not None
            self._write_held(until=packet.pts)
            self._held = packet

    def _write_held(self, until: int) -> None:
        packet, self._held = self._held, None
        if packet is None:
            return
        assert packet.pts is not None
        packet.duration = until - packet.pts
        if self._sound is not None:
            self._sound.write_until(float(packet.pts * _TIME_BASE))
        self._output.mux(packet)

    def close(self) -> None:
        """Write the frames that the encoder still holds, the rest of the sound, and the index."""
        try:
            self._mux(self._stream.encode(None))
            self._write_held(until=self._last + self._step)
            if self._sound is not None:
                self._sound.write_until(float((self._last + self._step) * _TIME_BASE), last=True)
        finally:
            if self._sound is not None:
                self._sound.close()
            self._output.close()


def _ordered(rate: Fraction) -> str:
    """Return settings of x264 without B-frames, with which it holds back at most a sixth of a second of frames.

    If a fragment of MP4 ends among B-frames, FFmpeg's edit list hides the last frame. A killed process loses only the
    frames in the encoder and in the unfinished fragment.
    """
    return f"rc-lookahead={min(int(rate / 6), 6)}:bframes=0:sync-lookahead=0:sliced-threads=1"


def _fit(image: Image, width: int, height: int) -> Image:
    """Return ``image`` letterboxed: resized to fit, in the middle of a black image of the given size."""
    if image.shape[1::-1] == (width, height):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = resized
    return canvas


def _pad_even(image: Image) -> Image:
    height, width = image.shape[:2]
    if width % 2 == height % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
