"""Virtual camera over a photograph, for ``pattern:`` and the demo clip.

The true motion of every frame is known. The camera pans, zooms and rotates, the brightness changes, the sensor is
noisy, and the face is occluded once. In one part of the clip the camera moves fast; in another it stands still, so that
only the noise changes.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from ...engines.errors import SourceError
from ...engines.output_paths import writing
from ...engines.signals import Held
from ...engines.tensorrt.photograph import FACE, PHOTOGRAPH
from ..values.arrays import FloatArray, Image
from .image_files.reading import read_image

# Parts of the clip as fractions of its length.
_FAST = (0.34, 0.56)
_OCCLUSION = 0.68  # middle of the occlusion
_STILL = (0.80, 0.97)
_COVERED, _SLIDE = 0.7, 0.4  # seconds for which the face is fully covered, and that the cover takes to enter or leave
_MARGIN = 420  # pixels of border replicated on each side of the photograph, so that the view never leaves it
_SOUND_RATE = 48000
_LONGEST_SIDE = 7680  # pixels, the width of 8K; the noise of such a frame takes 1 to 2 GB
_MOST_FRAMES = 10_000_000  # several days; the motion is planned for every frame
_WIDEST_WARP = 32_000  # pixels; OpenCV's warp uses 16-bit coordinates


class CameraMotion:
    """Camera that moves over a photograph; the same seed gives the same frames.

    Attributes:
        size: (width, height) of a frame in pixels.
        rate: frames per second.
        frames: number of frames.
    """

    def __init__(
        self,
        size: tuple[int, int] = (640, 360),
        rate: Fraction = Fraction(30),
        seconds: float = 10.0,
        photograph: Image | None = None,
        seed: int = 0,
    ) -> None:
        """Plan the motion.

        Args:
            size: (width, height) of a frame in pixels; the face takes a third to a half of its height.
            rate: frames per second.
            seconds: length of the clip in seconds.
            photograph: BGR uint8 (h, w, 3); None for the shipped one. The camera looks at the position of the face in
                the shipped one.
            seed: seed of the camera motion and the noise.

        Raises:
            SourceError: the photograph cannot be read, or a number is out of range.
        """
        _check(size, rate, seconds)
        self.size, self.rate = size, rate
        self.frames = max(round(seconds * rate), 1)
        self._unit = min(size[0] / 640, size[1] / 360)  # the motion is laid out for 640 x 360
        self._seed, self._seconds = seed, float(self.frames / rate)
        random = np.random.default_rng(seed)
        self._phases = random.uniform(0, 2 * np.pi, 12)
        self._course = self._plan_course()
        self._cover = _cloth(random)
        self._noise = random.normal(0, 4, (size[1] + 64, size[0] + 64, 3)).round().astype(np.int16)
        self._scene = _draw_out(read_image(PHOTOGRAPH) if photograph is None else photograph)

    def transform(self, index: int) -> FloatArray:
        """Return the true motion of a frame: (2, 3) from pixels of the photograph to pixels of the frame."""
        u = self._course[index]
        width, height = self.size
        unit = self._unit
        scale = unit * 0.98 * math.exp(0.17 * self._wave(0, u, 5.3) + 0.06 * self._wave(1, u, 2.1))
        angle = math.radians(8 * self._wave(2, u, 4.7) + 4 * self._wave(3, u, 1.9))
        x = (width - 1) / 2 + unit * (85 * self._wave(4, u, 6.1) + 25 * self._wave(5, u, 2.3))
        y = (height - 1) / 2 + unit * (28 * self._wave(6, u, 4.1) + 10 * self._wave(7, u, 1.7))
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        face_x, face_y = (FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2
        return np.array(
            [[cos, -sin, x - cos * face_x + sin * face_y], [sin, cos, y - sin * face_x - cos * face_y]],
            np.float32,
        )

    def occluded(self, index: int) -> bool:
        """Return True if the whole face is covered in a frame."""
        return abs(self._cover_at(index)) <= _slack(self._cover)

    def render(self, index: int) -> Image:
        """Render a frame: BGR uint8 (h, w, 3).

        Raises:
            IndexError: the frame does not exist.
        """
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} does not exist; the clip has frames 0 to {self.frames - 1}")
        scene = self._scene
        if abs(offset := self._cover_at(index)) < 2 * _MARGIN:
            scene = _put(self._cover, scene.copy(), offset)
        back = np.array([[1, 0, -_MARGIN], [0, 1, -_MARGIN], [0, 0, 1]], np.float32)
        finer = max(min(int(1 / self._unit), _WIDEST_WARP // max(self.size)), 1)
        view = _sample(scene, self.transform(index) @ back, self.size, finer)
        return self._expose(view, index)

    def _plan_course(self) -> FloatArray:
        """Return the position of the camera on its path in each frame, in seconds at normal speed."""
        time = np.arange(self.frames) / float(self.rate)
        speed = 1 + 1.6 * _window(time, _FAST, self._seconds) - _window(time, _STILL, self._seconds)
        return np.cumsum(speed / float(self.rate)).astype(np.float32)

    def _wave(self, which: int, u: float, period: float) -> float:
        return math.sin(2 * math.pi * u / period + self._phases[which])

    def _cover_at(self, index: int) -> float:
        """Return the offset of the cover to the right of the face, in pixels of the photograph; it moves rightwards."""
        middle = _OCCLUSION * self._seconds
        shrink = min(1.0, self._seconds / 10)  # shorter clips have a shorter occlusion
        away = abs(index / float(self.rate) - middle) / shrink - (_COVERED / 2 - 0.08)
        share = min(max(away / _SLIDE, 0.0), 1.0)
        distance = 2 * _MARGIN * share * share * (3 - 2 * share)
        return math.copysign(distance, index / float(self.rate) - middle)

    def _expose(self, view: Image, index: int) -> Image:
        """Apply changes of brightness and noise to a view."""
        u = self._course[index]
        gain = 0.95 + 0.22 * self._wave(8, u, 7.3) + 0.08 * self._wave(9, u, 1.3)
        lit = cv2.convertScaleAbs(view, alpha=gain, beta=6 * self._wave(10, u, 3.7))
        down, right = np.random.default_rng((self._seed, index)).integers(0, 64, 2)
        noise = self._noise[down : down + self.size[1], right : right + self.size[0]]
        return np.asarray(cv2.add(lit, noise, dtype=cv2.CV_8U), np.uint8)


def _check(size: tuple[int, int], rate: Fraction, seconds: float) -> None:
    """Reject sizes, rates and lengths that are impossible or would exhaust the memory.

    Raises:
        SourceError: a value is out of range.
    """
    if min(size) < 1 or max(size) > _LONGEST_SIDE:
        raise SourceError(
            f"a pattern of {size[0]}x{size[1]} pixels is not possible; give a width and a height from 1 to "
            f"{_LONGEST_SIDE}"
        )
    if rate <= 0 or not 0 < seconds < math.inf or rate * Fraction(seconds) > _MOST_FRAMES:
        raise SourceError(
            f"a pattern of {float(rate):g} fps and {seconds:g} s is not possible; give both above 0, "
            f"and together at most {_MOST_FRAMES} frames"
        )


def _window(time: NDArray[np.float64], part: tuple[float, float], seconds: float) -> FloatArray:
    """Return 1 within a part of the clip and 0 outside, with smooth edges of 0.2 s or less."""
    edge = min(0.2, 0.02 * seconds)
    begin = np.clip((time - part[0] * seconds) / edge, 0, 1)
    end = np.clip((part[1] * seconds - time) / edge, 0, 1)
    share = np.minimum(begin, end)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _draw_out(photograph: Image) -> Image:
    """Extend a photograph with replicated, blurred borders; mirrored ones would show a second face."""
    around = (_MARGIN,) * 4
    wide = cv2.copyMakeBorder(photograph, *around, cv2.BORDER_REPLICATE)
    wide = cv2.GaussianBlur(wide, (0, 0), 6)
    height, width = photograph.shape[:2]
    wide[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width] = photograph
    return np.asarray(wide, np.uint8)


def _cloth(random: np.random.Generator) -> Image:
    """Return a blotched and striped cover, larger than the face: textured, but without shapes of eyes or a mouth."""
    width, height = int(FACE[2] - FACE[0]) + 130, int(FACE[3] - FACE[1]) + 110
    blotches = cv2.resize(random.uniform(40, 190, (16, 16, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    stripes = 22 * np.sign(np.sin(np.add.outer(np.arange(height), np.arange(width)) / 5.0))
    return np.asarray(np.clip(blotches + stripes[:, :, None], 0, 255), np.uint8)


def _slack(cover: Image) -> float:
    """Return the largest offset in pixels at which the cover still covers the whole face."""
    return float(cover.shape[1] - (FACE[2] - FACE[0])) / 2


def _put(cover: Image, scene: Image, offset: float) -> Image:
    """Paste the cover into the scene, ``offset`` pixels to the right of the face, clipped at the border."""
    height, width = cover.shape[:2]
    left = round((FACE[0] + FACE[2] - width) / 2 + offset) + _MARGIN
    top = round((FACE[1] + FACE[3] - height) / 2) + _MARGIN
    begin, end = max(left, 0), min(left + width, scene.shape[1])
    if begin < end:
        scene[top : top + height, begin:end] = cover[:, begin - left : end - left]
    return scene


def _sample(scene: Image, matrix: FloatArray, size: tuple[int, int], finer: int) -> Image:
    """Warp to a frame ``finer`` times as large and average it down, to avoid aliasing of fine texture."""
    shift = (finer - 1) / 2
    matrix = matrix * np.float32(finer) + np.array([[0, 0, shift], [0, 0, shift]], np.float32)
    large = (size[0] * finer, size[1] * finer)
    view = cv2.warpAffine(scene, matrix, large, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(view if finer == 1 else cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)


def write_clip(path: str | Path, motion: CameraMotion) -> None:
    """Write the clip as MP4 with H.264 video and a quiet AAC tone, replacing an existing file.

    A signal received during writing ends the clip early and is delivered when the file is complete.

    Raises:
        SourceError: width or height is odd, which H.264 in yuv420p does not support.
        SinkError: the file cannot be written.
    """
    width, height = motion.size
    if width % 2 or height % 2:
        raise SourceError(f"a clip of {width}x{height} cannot be written; both sides must be even")
    # Use an absolute path, because FFmpeg parses "name:rest" as a protocol.
    place = str(Path(path).absolute())
    with Held() as signals, writing(Path(path), FFmpegError), av.open(place, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=motion.rate, options={"crf": "20", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=_SOUND_RATE, layout="mono")
        container.start_encoding()  # write the header now: FFmpeg crashes if anything follows a failed header
        sent = 0
        for index in range(motion.frames):
            if index and signals.asked:
                break
            frame = VideoFrame.from_ndarray(motion.render(index), format="bgr24")
            frame.pts, frame.time_base = index, 1 / motion.rate
            container.mux(video.encode(frame))
            sent = _play(container, sound, sent, int((index + 1) / motion.rate * _SOUND_RATE))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def _play(container: OutputContainer, sound: AudioStream, begin: int, end: int) -> int:
    """Encode and write samples ``begin`` to ``end`` of a tone that swells twice a second, and return ``end``."""
    time = np.arange(begin, end) / _SOUND_RATE
    tone = 0.08 * np.sin(2 * np.pi * 220 * time) * (1 + 0.5 * np.sin(4 * np.pi * time))
    frame = AudioFrame.from_ndarray(tone.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE, begin, Fraction(1, _SOUND_RATE)
    container.mux(sound.encode(frame))
    return end
