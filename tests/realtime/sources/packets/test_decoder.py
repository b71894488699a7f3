"""Frames around a damaged packet: each that FFmpeg decodes is kept, with any number of threads, and damage is said."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer, OutputContainer

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source
from nasion.realtime.sources.packets.decoder import Decoder, is_hidden

COUNT = 60
CODECS = {
    "h264": ("libx264", {"bf": "0"}, ".mp4"),
    "h264, B-frames": ("libx264", {"bf": "3"}, ".mp4"),
    "h264, short groups": ("libx264", {"g": "12"}, ".mkv"),
    "hevc": ("libx265", {"x265-params": "log-level=none"}, ".mp4"),
    "mpeg4": ("mpeg4", {}, ".mp4"),
    "mpeg4 in AVI, B-frames": ("mpeg4", {"bf": "2"}, ".avi"),
    "mjpeg": ("mjpeg", {}, ".mkv"),
    "mpeg2": ("mpeg2video", {}, ".mp4"),
    "mpeg2, B-frames": ("mpeg2video", {"bf": "2"}, ".mkv"),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}, ".mkv"),
    "vp9": ("libvpx-vp9", {"lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8"}, ".mkv"),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}, ".mp4"),
}


def write(path: Path, codec: str, options: dict[str, str]) -> Path:
    """Write a moving pattern."""
    with av.open(str(path), "w") as container:
        add(container, codec, options)
    return path


def add(container: OutputContainer, codec: str, options: dict[str, str]) -> None:
    stream = container.add_stream(codec, rate=25, options=options)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
    for index in range(COUNT):
        image = np.add.outer(np.arange(48) * 3, np.arange(64) * 2 + 5 * index).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.stack([image] * 3, axis=2), format="bgr24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def made(folder: Path, name: str) -> Path:
    """Write the video of a codec, or skip the test where it has no encoder here."""
    codec, options, suffix = CODECS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    return write(folder / f"whole{suffix}", codec, options)


def damage(source: Path, path: Path, damaged: set[int]) -> Path:
    """Copy a video with the payload of some packets overwritten."""
    noise = np.random.default_rng(0)
    if source.suffix == ".mp4":  # in place: FFmpeg refuses to write damaged AV1
        content = bytearray(source.read_bytes())
        with av.open(str(source)) as reader:
            for number, packet in enumerate(packet for packet in reader.demux(video=0) if packet.size):
                if number in damaged:
                    assert packet.pos is not None
                    content[packet.pos : packet.pos + packet.size] = noise.integers(
                        0, 256, packet.size, np.uint8
                    ).tobytes()
        path.write_bytes(content)
        return path
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
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
        return times, decoder.lost


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_that_can_be_decoded_is_kept(tmp_path: Path, name: str) -> None:
    whole = made(tmp_path, name)
    sets = [set(), {1}, {20}, *({number} for number in range(44, COUNT)), {52, 57}, {58, 59}, {50, 51, 59}]
    for damaged in sets:
        path = damage(whole, tmp_path / f"damaged{whole.suffix}", damaged)
        expected = one_by_one(path)
        counts = set()
        for threads in (1, 2, 8):
            times, count = by_decoder(path, threads)
            assert times == expected, (damaged, threads)
            counts.add(count)
        assert len(counts) == 1, damaged  # of damaged packets, with any number of threads
        if CODECS[name][0] in ("libx264", "mjpeg"):  # the others can make a frame of noise
            assert len(damaged) <= counts.pop() <= COUNT - len(expected), damaged


@pytest.mark.parametrize("name", CODECS)
def test_a_frame_that_is_missing_without_an_error_is_counted(tmp_path: Path, name: str) -> None:
    whole = made(tmp_path, name)
    assert by_decoder(whole, 2) == (one_by_one(whole), 0)
    for damaged in ({30}, {40}, {58}, {59}, set(range(9, COUNT, 10))):
        if name == "vp9" and len(damaged) > 1:
            continue  # noise may say that it is not to be shown
        path = damage(whole, tmp_path / f"damaged{whole.suffix}", damaged)
        for threads in (1, 2, 8):
            times, count = by_decoder(path, threads)
            assert len(times) + count >= COUNT, (damaged, threads)


def test_a_packet_that_is_not_to_be_shown_is_not_missed(tmp_path: Path) -> None:
    whole = made(tmp_path, "mpeg4")
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        decoder = Decoder(container.streams.video[0], by_dts=False)
        decoder.decode(packets[0])
        still = av.Packet(b"\x00\x00\x01\xb6\x50\xcf")  # of MPEG-4: as the one before
        still.pts, still.time_base = packets[1].pts, packets[1].time_base
        decoder.decode(still)
        list(decoder.flush(lambda: av.open(str(whole))))
        assert decoder.lost == 0


@pytest.mark.parametrize(
    ("codec", "content", "hidden"),
    [
        ("vp8", b"\x10\x02\x00", False),
        ("vp8", b"\x01\x02\x00", True),
        ("vp9", b"\x82\x49\x83", False),
        ("vp9", b"\x84\x00\x00", True),
        ("vp9", b"\x84\x00\xc1", False),  # two in one packet
        ("vp9", b"\x88\x00", False),  # shows one that was decoded earlier
        ("vp9", b"\xb2\x00", True),  # profile 3
        ("vp9", b"\xb1\x00", False),
        ("mjpeg", b"\x00", False),
    ],
)
def test_vp8_and_vp9_say_which_packets_are_not_shown(codec: str, content: bytes, hidden: bool) -> None:
    assert is_hidden(codec, av.Packet(content)) == hidden


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg2video", {"bf": "2", "g": "12"}),
        ("libx264", {"bf": "2", "g": "12", "x264-params": "open-gop=1:scenecut=0"}),
    ],
)
def test_a_file_that_begins_between_key_frames_is_not_damaged(
    tmp_path: Path, codec: str, options: dict[str, str], suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write(tmp_path / f"whole{suffix}", codec, options)
    cut = tmp_path / f"cut{suffix}"
    with av.open(str(whole)) as reader, av.open(str(cut), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for packet in [packet for packet in reader.demux(video=0) if packet.size][5:]:
            packet.stream = stream
            writer.mux(packet)
    with open_source(cut) as source:
        assert 40 < len(list(source)) < COUNT - 5
    for start in (0.7, 1.5):
        with open_source(whole, start=start) as source:
            assert len(list(source)) > 20
    assert not caplog.records


@pytest.mark.parametrize("name", ["h264", "hevc", "mpeg4", "mjpeg", "mpeg2", "vp8", "vp9", "av1"])
@pytest.mark.parametrize("number", [40, 58, 59])
def test_damage_is_said_and_the_rest_is_read_without_an_error(
    tmp_path: Path, name: str, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = made(tmp_path, name)
    path = damage(whole, tmp_path / f"damaged{whole.suffix}", {number})
    with open_source(path) as source:
        frames = list(source)
    assert len(frames) == len(one_by_one(path))
    if len(frames) == COUNT:
        pytest.skip("the decoder makes a frame of noise")
    (said,) = [record.getMessage() for record in caplog.records]
    if len(frames) == COUNT - 1:
        assert said == f"{path} is damaged: 1 packet could not be decoded and was skipped"
    else:
        assert re.fullmatch(
            rf"{re.escape(str(path))} is damaged: \d+ packets could not be decoded and were skipped", said
        )


@pytest.mark.parametrize("cut", [1, 30])
def test_a_file_that_ends_in_the_middle_of_a_packet_is_truncated(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.mp4"
    codec, options, _ = CODECS["mpeg2"]
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        add(container, codec, options)
    path.write_bytes(path.read_bytes()[:-cut])
    frames = []
    with open_source(path) as source, pytest.raises(SourceError, match=r"ended early .* \(the file is truncated\)"):
        frames.extend(source)
