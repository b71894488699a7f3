"""Side data that PyAV has no name for, such as EXIF, is ignored, and its orientation is kept."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from nasion.realtime.sources import open_source
from nasion.realtime.values.arrays import Image

from ...support.media.media_samples import numbered_image

JPEGS = ("still.jfif", "still.jpe", "still.mpo")


def exif(orientation: int) -> bytes:
    """Return EXIF that says how to turn an image, and nothing else."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM" + struct.pack(">HIH", 42, 8, 1) + entry + struct.pack(">I", 0)


def jpeg(image: Image, orientation: int) -> bytes:
    """Encode an image as JPEG with an EXIF segment."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    segment = b"Exif\0\0" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def images_of(path: Path) -> list[Image]:
    with open_source(path) as source:
        return [frame.image for frame in source]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_with_exif_comes_out_upright(tmp_path: Path, name: str, orientation: int) -> None:
    data = jpeg(numbered_image(4), orientation)
    (tmp_path / name).write_bytes(data)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    (image,) = images_of(tmp_path / name)
    assert expected is not None
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("suffix", [".mjpeg", ".avi", ".mkv", ".mov"])
def test_motion_jpeg_with_exif_is_read_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    data = [jpeg(numbered_image(index), 6) for index in range(5)]
    if suffix == ".mjpeg":
        path.write_bytes(b"".join(data))
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            for index, part in enumerate(data):
                packet = av.Packet(part)
                packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), index, index
                packet.is_keyframe = True
                container.mux(packet)
    images = images_of(path)
    assert [image.shape for image in images] == [(64, 48, 3)] * 5
    assert all(np.abs(image.astype(int) - np.rot90(numbered_image(i), -1)).mean() < 6 for i, image in enumerate(images))


def test_an_avif_with_exif_is_read(tmp_path: Path) -> None:
    path = tmp_path / "still.avif"
    if not (cv2.haveImageWriter(str(path)) and hasattr(cv2, "imencodeWithMetadata")):
        pytest.skip(f"OpenCV {cv2.__version__} cannot write AVIF with EXIF")
    metadata = [np.frombuffer(exif(6), np.uint8)]
    _, encoded = cv2.imencodeWithMetadata(".avif", numbered_image(4), [cv2.IMAGE_METADATA_EXIF], metadata)
    path.write_bytes(encoded.tobytes())
    (image,) = images_of(path)
    assert sorted(image.shape) == [3, 48, 64]
