"""Small videos with one oddity each, written by PyAV for the tests of the sources."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

SIZE = (64, 48)


def numbered_image(index: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """An image that tells its number by its grey (``number_of``) and which side is up by its corners."""
    width, height = size
    image = np.full((height, width, 3), level(index), np.uint8)
    image[: height // 4, : width // 4] = 255
    image[: height // 4, -(width // 4) :] = 0
    return image


def level(index: int) -> int:
    return 40 + 8 * (index % 20)


def number_of(image: NDArray[np.uint8]) -> int:
    """The number (modulo 20) of an image, however compressed."""
    height, width = image.shape[:2]
    grey = float(image[height // 2 :, width // 4 : -(width // 4)].mean())
    return round((grey - 40) / 8)


def write_video(
    path: Path,
    *,
    frames: int = 20,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    stamps: Iterable[int] | None = None,
    base: Fraction = Fraction(1, 25),
    sound: float = 0.0,
    matrix: tuple[int, bool, bool] | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Write a video of 25 frames a second.

    Args:
        stamps: timestamp of each frame in units of ``base``, set on the packets as they are; the codec must
            not reorder frames then.
        sound: seconds of sound beside it.
        matrix: degrees counter-clockwise, mirrored left-right, mirrored top-bottom.
        options: of the container.
        codec_options: of the encoder.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        if matrix:
            stream.set_display_rotation(matrix[0], hflip=matrix[1], vflip=matrix[2])
        if sound:
            container.add_stream("aac", rate=8000, layout="mono")
        _encode(container, stream, [numbered_image(i, size) for i in range(frames)], stamps, base)
        if sound:
            _hum(container, sound)
    return path


def _encode(
    container: OutputContainer,
    stream: VideoStream,
    images: list[NDArray[np.uint8]],
    stamps: Iterable[int] | None,
    base: Fraction,
) -> None:
    packets = []
    for index, image in enumerate(images):
        frame = VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    if stamps is not None:
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.pts = packet.dts = stamp
            packet.time_base, packet.duration = base, 0
    container.mux(packets)


def _hum(container: OutputContainer, seconds: float) -> None:
    stream = container.streams.audio[0]
    samples = np.sin(np.arange(int(seconds * 8000)) / 4).astype(np.float32)[None] / 10
    frame = AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_sound(path: Path) -> Path:
    """Write a second of sound without an image."""
    with av.open(str(path), "w") as container:
        container.add_stream("aac", rate=8000, layout="mono")
        _hum(container, 1.0)
    return path


def cut_off(path: Path, share: float) -> Path:
    """Keep only the first part of the file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damage_packet(path: Path, number: int) -> Path:
    """Overwrite the middle of one packet of the file."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux() if packet.size][number]
        begin, size = packet.pos + packet.size // 4, packet.size // 2
    data = bytearray(path.read_bytes())
    data[begin : begin + size] = b"\x55" * size
    path.write_bytes(data)
    return path
