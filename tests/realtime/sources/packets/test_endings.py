"""Files that are cut, in containers that tell how long they should be, or whose last packet is not complete."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.packets.endings import is_cut
from nasion.realtime.sources.packets.joined import next_file

CODECS = {
    "asf": "wmv2", "dv": "dvvideo", "ivf": "libvpx", "m2ts": "libx264", "mpg": "mpeg2video", "mxf": "mpeg2video",
    "nut": "libx264", "ogv": "libvpx", "swf": "flv1", "ts": "libx264", "vob": "mpeg2video", "wmv": "wmv2",
    "y4m": "rawvideo",
}  # fmt: skip
WITHOUT_SOUND = ("dv", "ivf", "swf", "y4m")


def written(path: Path) -> bytes:
    suffix = path.suffix[1:]
    formats = {"y4m": "yuv4mpegpipe"}
    with av.open(str(path), "w", format=formats.get(suffix)) as container:
        stream = container.add_stream(CODECS.get(suffix, "libx264"), rate=25)
        stream.width, stream.height = (720, 576) if suffix == "dv" else (64, 48)
        stream.pix_fmt = "yuv420p"
        sound = None
        if suffix not in WITHOUT_SOUND:
            sound = container.add_stream({"mxf": "pcm_s16le", "ogv": "flac"}.get(suffix, "mp2"), rate=48_000)
            sound.layout = "stereo"
        random = np.random.default_rng(0)
        for number in range(50):
            image = random.integers(0, 255, (stream.height, stream.width, 3), np.uint8)
            container.mux(stream.encode(VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")))
            if sound is not None:
                samples = AudioFrame.from_ndarray(np.zeros((1, 3840), np.int16), format="s16", layout="stereo")
                samples.sample_rate, samples.pts, samples.time_base = 48_000, 1920 * number, Fraction(1, 48_000)
                container.mux(sound.encode(samples))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("suffix", CODECS)
def test_a_file_that_is_cut_ends_with_an_error_and_a_whole_one_does_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    content = written(path)
    with open_source(path) as source:
        assert len(list(source)) == 50
    path.write_bytes(content[: len(content) // 2 + 21])
    frames: list[int] = []
    with open_source(path) as source, pytest.raises(SourceError, match=r"ended early at .* truncated") as caught:
        frames.extend(frame.index for frame in source)
    assert 10 <= len(frames) <= 45
    if suffix not in ("ivf", "mxf"):  # which state their length
        assert " s of " not in str(caught.value)


def test_an_asf_that_was_recorded_live_does_not_say_how_long_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "a.asf"
    content = bytearray(written(path))
    properties = content.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    content[properties + 88] |= 1
    path.write_bytes(content[: len(content) // 2])
    with open_source(path) as source:
        assert 20 <= len(list(source)) <= 35


@pytest.mark.parametrize("suffix", ["asf", "dv", "mpg", "mxf", "nut", "ogv", "swf", "ts", "y4m"])
def test_damaged_headers_and_lengths_raise_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    content = written(path)
    with av.open(str(path)) as container:
        kind = container.format.name
    assert next_file(path, kind, 0, 0) is None
    random = np.random.default_rng(0)
    for length in (*range(1, 200, 7), *random.integers(200, len(content), 30).tolist()):
        data = bytearray(content[:length])
        for place in random.integers(0, min(length, 4096), 1 + length // 100):
            data[place] = int(random.integers(256))
        path.write_bytes(data)
        assert is_cut(path, kind, 0) in (True, False)
        found = next_file(path, kind, 0, 0)
        assert found is None or 0 < found < length
        path.write_bytes(data[:17] + b"\xff" * (length // 2) + data[17:])
        is_cut(path, kind, 0)
        next_file(path, kind, 0, 0)
