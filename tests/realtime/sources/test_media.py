"""Video files as they come: each test writes one with a certain oddity and reads it back."""

from __future__ import annotations

import gc
import logging
import os
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import open_source

from ...support.media.frames import numbers, read, times
from ...support.media.media_samples import (
    SIZE,
    cut_off,
    damage_packet,
    number_of,
    numbered_image,
    write_sound,
    write_video,
)

NO_REORDER = {"bf": "0"}


def read_until_it_breaks(path: Path) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    with open_source(path) as source, pytest.raises(SourceError) as caught:
        frames.extend(source)
    return frames, str(caught.value)


# --- images


@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_images_come_out_upright_whatever_the_display_matrix(
    tmp_path: Path, degrees: int, mirrored: tuple[bool, bool]
) -> None:
    path = write_video(tmp_path / "turned.mp4", frames=3, matrix=(degrees, *mirrored))
    expected = np.rot90(numbered_image(2), degrees // 90)
    expected = expected[:: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    with open_source(path) as source:
        assert (source.info.width, source.info.height) == expected.shape[1::-1]
        last = list(source)[-1].image
    assert last.shape == expected.shape
    assert last.flags.c_contiguous
    assert np.abs(last.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("light", [False, True])
def test_the_memory_of_a_frame_does_not_wait_for_the_garbage_collector(tmp_path: Path, light: bool) -> None:
    path = write_video(tmp_path / "video.mp4", frames=60)
    with open_source(path, light=light) as source:
        gc.collect()
        gc.disable()
        try:
            count = sum(1 for _ in source)
            found = gc.collect()
        finally:
            gc.enable()
    assert count == 60
    assert found < count


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("ten-bit.mkv", "libx264", "yuv420p10le"),
        ("grey.mkv", "ffv1", "gray"),
        ("grey-16.mkv", "ffv1", "gray16le"),
        ("alpha.mkv", "ffv1", "yuva420p"),
        ("alpha.mov", "png", "rgba"),
        ("full-range.mkv", "mjpeg", "yuvj420p"),
        ("palette.gif", "gif", "rgb8"),
    ],
)
def test_every_kind_of_pixel_becomes_bgr_of_eight_bits(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = read(write_video(tmp_path / name, frames=5, codec=codec, pix_fmt=pix_fmt))
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert all(f.image.dtype == np.uint8 and f.image.shape == (48, 64, 3) for f in frames)
    assert all(f.image.flags.c_contiguous for f in frames)


@pytest.mark.parametrize("size", [(101, 75), (33, 20), (20, 33), (1, 1)])
def test_odd_sizes_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = read(write_video(tmp_path / "odd.mkv", frames=2, size=size, codec="ffv1"))
    assert [frame.image.shape for frame in frames] == [(size[1], size[0], 3)] * 2
    assert all(frame.image.flags.c_contiguous for frame in frames)


def test_channels_come_in_the_order_blue_green_red(tmp_path: Path) -> None:
    path = tmp_path / "blue.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        blue = np.full((48, 64, 3), (200, 60, 20), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(blue, format="bgr24")))
        container.mux(stream.encode(None))
    assert read(path)[0].image.mean(axis=(0, 1)) == pytest.approx((200, 60, 20), abs=6)


def test_interlaced_video_gives_whole_frames(tmp_path: Path) -> None:
    options = {"x264-params": "interlaced=1"}
    frames = read(write_video(tmp_path / "fields.ts", frames=10, size=(64, 64), codec_options=options))
    assert len(frames) == 10
    assert {frame.image.shape for frame in frames} == {(64, 64, 3)}


# --- times


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi", "clip.h264", "clip.gif"])
def test_every_container_gives_all_frames_at_their_times(tmp_path: Path, name: str) -> None:
    still = {"codec": "gif", "pix_fmt": "rgb8"} if name.endswith("gif") else {}
    frames = read(write_video(tmp_path / name, **still))  # type: ignore[arg-type]
    assert numbers(frames) == list(range(20))
    assert times(frames) == [round(i / 25, 6) for i in range(20)]  # also where none or only dts are stored


def test_a_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 10, 11, 30]
    path = write_video(tmp_path / "vfr.mkv", frames=6, stamps=stamps, codec_options=NO_REORDER)
    assert times(read(path)) == [0.0, 0.04, 0.08, 0.4, 0.44, 1.2]


def test_a_delayed_start_counts_from_the_first_frame(tmp_path: Path) -> None:
    stamps = range(250, 260)
    path = write_video(tmp_path / "late.mkv", frames=10, stamps=stamps, codec_options=NO_REORDER)
    assert times(read(path)) == [round(i / 25, 6) for i in range(10)]
    assert times(read(path, start=0.2)) == [round(i / 25, 6) for i in range(5, 10)]
    with open_source(path) as source:
        assert source.info.duration == pytest.approx(0.4)


def test_repeated_timestamps_are_made_to_increase(tmp_path: Path) -> None:
    stamps = [0, 1, 1, 2, 3, 3, 3, 4]
    path = write_video(tmp_path / "twice.mkv", frames=8, codec="mjpeg", pix_fmt="yuvj420p", stamps=stamps)
    frames = read(path)
    assert times(frames) == [0.0, 0.04, 0.041, 0.08, 0.12, 0.121, 0.122, 0.16]
    assert numbers(frames) == list(range(8))


def test_timestamps_that_jump_back_go_on_at_the_average_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "joined.ts", frames=30)
    path.write_bytes(path.read_bytes() * 2)  # two recordings strung together, as recorders do
    assert times(read(path)) == [round(i / 25, 6) for i in range(60)]


# --- damage


@pytest.mark.parametrize(("name", "options"), [("cut.mp4", {"movflags": "faststart"}), ("cut.mkv", {})])
def test_a_truncated_video_gives_what_is_there_then_says_where_it_broke(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    path = cut_off(write_video(tmp_path / name, frames=100, options=options), 0.7)
    frames, message = read_until_it_breaks(path)
    assert 10 < len(frames) < 90
    assert numbers(frames) == [i % 20 for i in range(len(frames))]
    assert f"ended early at {frames[-1].time:.2f} s of 4.00 s" in message
    assert "the outputs so far are kept" in message


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_an_avi_that_ends_between_two_packets_is_truncated(tmp_path: Path, share: float) -> None:
    path = write_video(tmp_path / "whole.avi", frames=100, codec="mpeg4")
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux() if packet.size]
    path.write_bytes(path.read_bytes()[: places[round(100 * share)] - 8])
    frames, message = read_until_it_breaks(path)
    assert len(frames) == 100 * share
    assert "of 4.00 s (the file is truncated)" in message


def test_a_long_last_frame_is_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "slow.flv"  # which does not store how long a frame lasts
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flv1", rate=1)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(numbered_image(index), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 1)
            for packet in stream.encode(frame):
                packet.duration = 1
                container.mux(packet)
        container.mux(stream.encode(None))
    with open_source(path) as source:
        assert source.info.duration == 5
        assert times(list(source)) == [0, 1, 2, 3, 4]


def test_an_encrypted_video_is_refused(tmp_path: Path) -> None:
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 31 + "1", "encryption_kid": "2" * 32}
    with pytest.raises(SourceError, match=r"secret\.mp4: it is encrypted; give a decrypted copy"):
        open_source(write_video(tmp_path / "secret.mp4", options=options, codec="mpeg4"))


def test_a_late_segment_counts_its_own_frames(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "avoid_negative_ts": "disabled"}
    path = write_video(
        tmp_path / "late.mp4", frames=50, stamps=range(150, 200), codec_options=NO_REORDER, options=options
    )
    with open_source(path) as source:
        assert (source.info.frames, source.info.duration) == (50, pytest.approx(2.0, abs=0.041))
        assert times(list(source)) == [round(i / 25, 6) for i in range(50)]


def test_a_dv_file_has_its_frame_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "tape.dv", frames=5, codec="dvvideo", size=(720, 576))
    with open_source(path) as source:
        assert (source.info.rate, source.info.frames) == (25, 5)


def test_an_mp4_cut_off_before_its_index_is_refused_at_once(tmp_path: Path) -> None:
    path = cut_off(write_video(tmp_path / "cut.mp4", frames=50), 0.5)
    with pytest.raises(SourceError, match="give a whole video or image file"):
        open_source(path)


def test_damage_in_the_middle_is_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "dirty.mov", frames=20, codec="png", pix_fmt="rgb24")
    damage_packet(path, 7)
    with caplog.at_level(logging.WARNING):
        frames = read(path)
    assert numbers(frames) == [i for i in range(20) if i != 7]
    assert times(frames)[7] == 0.32
    assert "dirty.mov is damaged: 1 packet could not be decoded and was skipped" in caplog.text


def test_damage_at_the_end_is_said_and_is_not_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "dirty.mov", frames=20, codec="png", pix_fmt="rgb24")
    damage_packet(path, 18)
    damage_packet(path, 19)
    assert numbers(read(path)) == list(range(18))
    assert "dirty.mov is damaged: 2 packets could not be decoded and were skipped" in caplog.text


def test_sound_that_outlasts_the_image_is_not_damage(tmp_path: Path) -> None:
    assert len(read(write_video(tmp_path / "long-sound.mkv", frames=10, sound=4.0))) == 10
    assert len(read(write_video(tmp_path / "long-sound.mp4", frames=10, sound=4.0))) == 10


def test_what_is_not_a_video_is_refused_with_its_reason(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("these are words\n" * 40)
    with pytest.raises(SourceError, match=r"text\.mp4: cannot be read as a video \(Invalid data found"):
        open_source(text)
    prose = text.rename(tmp_path / "text.txt")
    with pytest.raises(SourceError, match=r"text\.txt: no video in it, or damaged; give a whole video"):
        open_source(prose)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(SourceError, match=r"empty\.mp4: the file is empty \(0 bytes\)"):
        open_source(empty)
    with pytest.raises(SourceError, match=r"song\.m4a: it has sound but no video; give a file with a video"):
        open_source(write_sound(tmp_path / "song.m4a"))


def test_the_cover_image_of_a_song_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height = SIZE
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        packets = cover.encode(av.VideoFrame.from_ndarray(numbered_image(0), format="bgr24")) + cover.encode(None)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(packets + sound.encode(frame) + sound.encode(None))
    with pytest.raises(SourceError, match="it has sound but no video"):
        open_source(path)


def test_a_file_name_that_looks_like_a_protocol_is_a_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mkv", frames=3).rename("concat:a|b.mkv")
    assert len(read(Path("concat:a|b.mkv"))) == 3


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc, which is Linux's")
def test_the_threads_of_the_decoder_end_with_the_source(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    gc.collect()
    before = len(os.listdir("/proc/self/task"))
    with open_source(path) as source:
        next(source)
        assert len(os.listdir("/proc/self/task")) > before
    deadline = time.monotonic() + 5
    while len(os.listdir("/proc/self/task")) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) <= before


def test_times_stay_increasing_in_every_sample_at_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "joined.ts", frames=30, sound=1.0)
    path.write_bytes(path.read_bytes() + write_video(tmp_path / "other.ts", frames=12).read_bytes())
    assert all(a < b for a, b in pairwise(times(read(path))))


def test_a_dash_manifest_and_a_scrambled_stream_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.mpd").write_text('<?xml version="1.0"?><MPD type="static"></MPD>')
    with pytest.raises(SourceError, match=r"a\.mpd: it is a DASH manifest, .* give an HLS playlist"):
        open_source(tmp_path / "a.mpd")
    data = bytearray(write_video(tmp_path / "a.ts", frames=50).read_bytes())
    for begin in range(0, len(data), 188):
        if data[begin + 1] & 1 and not data[begin + 2]:  # the video has the number 256
            data[begin + 3] |= 0x80
            data[begin + 8 : begin + 188] = bytes(0x5A ^ value for value in data[begin + 8 : begin + 188])
    (tmp_path / "scrambled.ts").write_bytes(data)
    with pytest.raises(SourceError, match=r"scrambled\.ts: it is encrypted \(scrambled\); give a decrypted copy"):
        list(open_source(tmp_path / "scrambled.ts"))


def test_an_image_that_ffmpeg_reads_counts_as_one(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.dpx"), "w", format="image2") as container:
        stream = container.add_stream("dpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_image(3, (64, 48)), format="bgr24")))
        container.mux(stream.encode(None))
    with open_source(tmp_path / "a.dpx") as source:
        assert source.info.frames == 1
        assert [number_of(frame.image) for frame in source] == [3]


@pytest.mark.parametrize("flags", ["negative_cts_offsets", "negative_cts_offsets+frag_keyframe+empty_moov"])
def test_negative_composition_offsets_lose_no_frame(
    tmp_path: Path, flags: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=50, options={"movflags": flags}, codec_options={"bf": "2"})
    data = path.read_bytes()
    assert b"trun" in data or data.find(b"ctts") < 0 or data[data.index(b"ctts") + 4] == 1  # signed in version 1
    with open_source(path) as source:
        whole = [(frame.index, frame.time, number_of(frame.image)) for frame in source]
    assert whole == [(i, pytest.approx(i / 25, abs=0.001), i % 20) for i in range(50)]
    assert "damaged" not in caplog.text
    with open_source(path, start=1.5) as source:
        assert [(frame.index, frame.time, number_of(frame.image)) for frame in source] == whole[38:]
