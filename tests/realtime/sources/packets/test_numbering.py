"""``Frame.index``: the same number for the same frame, wherever reading starts, and ``Frame.source``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from nasion.engines.errors import SourceError
from nasion.realtime.faces.frame import Frame
from nasion.realtime.sources import media as media_source
from nasion.realtime.sources import open_source
from nasion.realtime.sources.packets.decoder import Decoder
from nasion.realtime.sources.packets.numbering import Numbering

from ....support.media.media_samples import damage_packet, number_of, numbered_image, write_video
from ....support.media.serving import PASSWORD, QuietHandler, RangeHandler, serving
from ....support.media.source_samples import camera, media, web

__all__ = ["camera", "media", "web"]  # fixtures

STARTS = (0.04, 0.6, 1.0, 1.23, 2.2)
UNKNOWN = "its frames before the start cannot be counted; Frame.index begins at 0"
B_FRAMES = {"g": "15", "bf": "3", "keyint_min": "15", "sc_threshold": "0"}
OPEN_GOPS = {**B_FRAMES, "x264-params": "open-gop=1"}
HIDDEN = {"g": "15", "auto-alt-ref": "1", "lag-in-frames": "16"}


def write(
    path: Path,
    codec: str = "libx264",
    codec_options: dict[str, str] | None = None,
    *,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (64, 64),
    options: dict[str, str] | None = None,
    earlier: int = 0,
) -> Path:
    """Write 60 frames, of which no two look alike; ``earlier`` of them come before time 0, where they are not shown."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options or {})
        (stream.width, stream.height), stream.pix_fmt = size, pix_fmt
        packets = []
        for i in range(60):
            image = numbered_image(i, size)
            image[20:30, i % 40 : i % 40 + 9] = i * 37 % 255
            frame = VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in packets if earlier else ():
            assert packet.pts is not None
            assert packet.dts is not None
            shift = round(Fraction(earlier, 25) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        container.mux(packets)
    return path


def read(source: str | Path, start: float | None = None) -> list[Frame]:
    with open_source(source, start=start) as opened:
        return list(opened)


def check_starts(source: str | Path) -> list[Frame]:
    """Check that a frame read from any start has the image, time and number that it has in a whole read."""
    whole = read(source)
    for start in STARTS:
        expected = [frame for frame in whole if frame.time >= start]
        if not expected:
            continue
        part = read(source, start)
        assert [(frame.time, frame.index) for frame in part] == [(frame.time, frame.index) for frame in expected]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(part, expected, strict=True))
    return whole


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        *((f"b-frames.{suffix}", "libx264", B_FRAMES) for suffix in ("mp4", "mov", "mkv", "ts", "avi", "flv", "h264")),
        *((f"open.{suffix}", "libx264", OPEN_GOPS) for suffix in ("mp4", "mkv", "ts")),
        *((f"mpeg.{suffix}", "mpeg2video", {"g": "12", "bf": "2"}) for suffix in ("ts", "mkv")),
        ("mpeg.avi", "mpeg4", {"g": "12", "bf": "2"}),
        *((f"hidden.{suffix}", "libvpx-vp9", HIDDEN) for suffix in ("webm", "mp4")),
        ("hidden.webm", "libvpx", HIDDEN),
        ("fields.mp4", "libx264", {**B_FRAMES, "x264-params": "interlaced=1"}),
        ("fields.mkv", "libx264", {**B_FRAMES, "x264-params": "interlaced=1"}),
    ],
)
def test_a_frame_has_the_same_number_from_any_start(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    whole = check_starts(write(tmp_path / name, codec, options))
    assert [frame.index for frame in whole] == list(range(60))


@pytest.mark.parametrize("codec", ["libsvtav1", "libaom-av1"])
def test_av1_with_hidden_frames_is_numbered_by_those_that_are_shown(tmp_path: Path, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no {codec}")
    for suffix in ("mkv", "mp4"):
        whole = check_starts(write(tmp_path / f"av1.{suffix}", codec, {"g": "15"}))
        assert [frame.index for frame in whole] == list(range(60))


@pytest.mark.parametrize("earlier", [5, 20])
def test_frames_that_an_edit_list_cuts_off_do_not_count(tmp_path: Path, earlier: int) -> None:
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    path = write(tmp_path / "edit.mp4", codec_options=B_FRAMES, options=options, earlier=earlier)
    assert [frame.index for frame in check_starts(path)] == list(range(60 - earlier))


def test_fragments_are_counted_by_reading_them(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write(tmp_path / "fragments.mp4", codec_options=B_FRAMES, options=options)
    assert [frame.index for frame in check_starts(path)] == list(range(60))


def test_a_recording_that_begins_between_key_frames_counts_from_its_first_shown_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "recording.ts", codec_options=OPEN_GOPS)
    path.write_bytes(path.read_bytes()[188 * 12 :])
    whole = check_starts(path)
    assert [frame.index for frame in whole] == list(range(len(whole)))
    assert 20 < len(whole) < 60


def test_recordings_strung_together_are_numbered_through(tmp_path: Path) -> None:
    path = write(tmp_path / "joined.ts", codec_options=B_FRAMES)
    path.write_bytes(path.read_bytes() * 2)
    assert [frame.index for frame in read(path)] == list(range(120))


def test_repeated_timestamps_are_numbered_one_by_one(tmp_path: Path) -> None:
    stamps = [0, 1, 1, 2, 3, 3, 3, 4]
    path = write_video(tmp_path / "twice.mkv", frames=8, codec="mjpeg", pix_fmt="yuvj420p", stamps=stamps)
    assert [frame.index for frame in read(path)] == list(range(8))


def test_a_frame_that_cannot_be_decoded_leaves_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path / "dirty.mov", "png", pix_fmt="rgb24")
    damage_packet(path, 7)
    whole = check_starts(path)
    assert [frame.index for frame in whole] == [i for i in range(60) if i != 7]
    assert [number_of(frame.image) for frame in whole[:10]] == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]


def test_a_lost_frame_between_b_frames_leaves_a_gap_at_its_place(tmp_path: Path) -> None:
    path = write_video(tmp_path / "dirty.mkv", frames=60, codec_options=B_FRAMES)
    damage_packet(path, 20)
    whole = check_starts(path)
    assert len(whole) == 59
    assert [frame.index for frame in whole] == [round(frame.time * 25) for frame in whole]


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_an_index_that_lists_all_packets_is_used(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_source, "RunUp", lambda *_: pytest.fail("the file was read to count its packets"))
    check_starts(write(tmp_path / f"indexed.{suffix}", codec_options=B_FRAMES))


def test_packets_are_read_up_to_the_start_only_and_few_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "long.mkv", codec_options=B_FRAMES)
    counted, decoded = [], []
    counts, decode = Numbering._counts, Decoder.decode
    monkeypatch.setattr(Numbering, "_counts", lambda self, packet: counted.append(packet) or counts(self, packet))
    monkeypatch.setattr(Decoder, "decode", lambda self, packet: decoded.append(packet) or decode(self, packet))
    with open_source(path, start=1.7) as source:
        assert next(source).index == 43
    assert len(counted) <= 60
    assert len(decoded) < 50  # two groups of frames from a key frame on, and those that the decoder holds


# --- unknown


def test_interlaced_h264_outside_files_of_whole_frames_counts_from_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "fields.ts", codec_options={**B_FRAMES, "x264-params": "interlaced=1"})
    assert [frame.index for frame in read(path)] == list(range(60))
    assert UNKNOWN not in caplog.text
    part = read(path, 1.23)
    assert [frame.index for frame in part] == list(range(len(part)))
    assert caplog.text.count(UNKNOWN) == 1


@pytest.mark.parametrize("handler", [RangeHandler, QuietHandler])
def test_over_http_the_number_comes_from_the_index_or_counts_from_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, handler: type[QuietHandler]
) -> None:
    for suffix in ("mp4", "mkv"):
        write(tmp_path / f"clip.{suffix}", codec_options=B_FRAMES, options={"movflags": "faststart"})
    with serving(tmp_path, handler) as address:
        assert [frame.index for frame in check_starts(f"{address}/clip.mp4")] == list(range(60))
        assert UNKNOWN not in caplog.text
        whole, part = (read(f"{address}/clip.mkv", start) for start in (None, 1.23))
    assert [frame.index for frame in whole] == list(range(60))
    assert [frame.index for frame in part] == list(range(29))
    assert np.array_equal(part[0].image, whole[31].image)
    assert caplog.text.count(UNKNOWN) == 1
    assert PASSWORD not in caplog.text


# --- images


def test_a_damaged_image_of_a_folder_keeps_its_number(tmp_path: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), numbered_image(number))
    for number in (0, 5):
        (tmp_path / f"frame{number}.png").write_bytes(b"damaged")
    (tmp_path / "notes.txt").write_text("not an image")
    whole = check_starts(tmp_path)
    assert [frame.index for frame in whole] == [number_of(frame.image) for frame in whole]
    assert [frame.index for frame in whole] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


# --- names


def test_frames_name_their_source(media: Path, web: str, camera: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(media)
    shown = web.split("@")[1]
    names: dict[str | int | Path, str] = {
        "clip.mp4": "clip.mp4",
        media / "clip.mp4": str(media / "clip.mp4"),
        "images": "images",
        "images/frame0.png": "images/frame0.png",
        f"{web}/clip.mp4?token=secret": f"http://***@{shown}/clip.mp4?***",
        "pattern:?seconds=0.2": "pattern:?seconds=0.2",
        0: "camera 0",
    }
    for source, name in names.items():
        with open_source(source) as opened:
            frame = next(opened)
            assert (frame.source, opened.info.name) == (name, name)
            assert f"source={name!r}" in repr(frame)
            assert frame.copy().source == name


def test_a_start_beyond_the_end_is_still_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="start is 99 s, but it lasts"):
        open_source(write(tmp_path / "clip.mkv", codec_options=B_FRAMES), start=99)
