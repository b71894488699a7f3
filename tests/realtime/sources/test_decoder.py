"""Frames around a damaged packet: each that FFmpeg decodes is kept, with any number of threads, and damage is said."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.decoder import Decoder

COUNT = 60
CODECS = {
    "h264": ("libx264", {"bf": "0"}, ".mp4"),
    "h264, B-frames": ("libx264", {"bf": "3"}, ".mp4"),
    "h264, short groups": ("libx264", {"g": "12"}, ".mkv"),
    "hevc": ("libx265", {"x265-params": "log-level=none"}, ".mp4"),
    "mpeg4": ("mpeg4", {}, ".mp4"),
    "mpeg4 in AVI, B-frames": ("mpeg4", {"bf": "2"}, ".avi"),
    "mjpeg": ("mjpeg", {}, ".mkv"),
}


def write(path: Path, codec: str, options: dict[str, str]) -> Path:
    """Write a moving pattern."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(COUNT):
            image = np.add.outer(np.arange(48) * 3, np.arange(64) * 2 + 5 * index).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.stack([image] * 3, axis=2), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def damage(source: Path, path: Path, damaged: set[int]) -> Path:
    """Copy a video with the payload of some packets overwritten."""
    noise = np.random.default_rng(0)
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        packets = (packet for packet in reader.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            if number in damaged:
                packet.update(noise.integers(0, 256, packet.size, np.uint8).tobytes())
            packet.stream = stream
            writer.mux(packet)
    return path


def one_by_one(path: Path) -> list[int]:
    """Return the timestamps of all frames that FFmpeg decodes without threads, an error at a time."""
    times: list[int] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        for packet in (*packets, None):
            try:
                times += [stamp_of(frame) for frame in stream.decode(packet)]
            except av.FFmpegError:
                continue
            if times:  # what is made from a damaged frame is shown
                stream.codec_context.flags |= av.codec.context.Flags.output_corrupt
    return times


def stamp_of(frame: av.VideoFrame) -> int:
    stamp = frame.dts if frame.pts is None else frame.pts
    assert stamp is not None
    return stamp


def by_decoder(path: Path, threads: int) -> tuple[list[int], int]:
    """Return the timestamps of all frames, and how many packets are counted as damaged."""

    def reopen() -> InputContainer:
        return av.open(str(path))

    with reopen() as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        decoder = Decoder(stream, by_dts=False)
        times = []
        for packet in container.demux(stream):
            if packet.size:
                times += [stamp_of(frame) for frame in decoder.decode(packet)]
        times += [stamp_of(frame) for frame in decoder.flush(reopen)]
        return times, decoder.damaged


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_that_can_be_decoded_is_kept(tmp_path: Path, name: str) -> None:
    codec, options, suffix = CODECS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    whole = write(tmp_path / f"whole{suffix}", codec, options)
    sets = [set(), {1}, {20}, *({number} for number in range(44, COUNT)), {52, 57}, {58, 59}, {50, 51, 59}]
    for damaged in sets:
        path = damage(whole, tmp_path / f"damaged{suffix}", damaged)
        expected = one_by_one(path)
        counts = set()
        for threads in (1, 2, 8):
            times, count = by_decoder(path, threads)
            assert times == expected, (damaged, threads)
            counts.add(count)
        assert len(counts) == 1, damaged  # of damaged packets, with any number of threads
        if codec in ("libx264", "mjpeg"):  # the others can make a frame of noise
            assert counts == {len(damaged)}, damaged


@pytest.mark.parametrize("number", [40, 56, 57, 58, 59])
def test_a_damaged_packet_is_said(tmp_path: Path, number: int, caplog: pytest.LogCaptureFixture) -> None:
    codec, options, suffix = CODECS["h264"]
    path = damage(write(tmp_path / "whole.mp4", codec, options), tmp_path / f"damaged{suffix}", {number})
    error = ""
    frames = []
    with open_source(path) as source:
        try:
            frames.extend(source)
        except SourceError as broken:
            error = str(broken)
    assert len(frames) == len(one_by_one(path))
    assert "damaged.mp4: 1 damaged packets were skipped" in caplog.text
    assert ("broken off at 2.32 s of 2.40 s" in error) == (number == COUNT - 1)


def test_damage_that_is_shown_before_the_last_frame_does_not_break_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    codec, options, suffix = CODECS["h264, B-frames"]
    whole = write(tmp_path / "whole.mp4", codec, options)
    with av.open(str(whole)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stamps[-1] != max(stamps)  # the last packet is a B-frame
    path = damage(whole, tmp_path / f"damaged{suffix}", {COUNT - 1})
    with caplog.at_level(logging.WARNING), open_source(path) as source:
        assert len(list(source)) == COUNT - 1
    assert "1 damaged packets were skipped" in caplog.text
