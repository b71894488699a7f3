"""Sound that is declared only, late, changing, or of a kind that cannot be copied: it never costs the video."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from nasion.realtime.sinks import sound as sound_module
from nasion.realtime.sources import open_source

from ...support.media.media_samples import write_video
from ...support.media.plain_videos import times_in
from ...support.media.sound_samples import BEEP, hear, make_source, pass_through


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def declared_only(path: Path) -> Path:
    """A transport stream of 20 frames that announces sound and has none."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.add_stream("aac", rate=8000)
        packets = [packet for _ in range(20) for packet in video.encode(av.VideoFrame(64, 48, "yuv420p"))]
        container.mux(packets + video.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_that_is_declared_only_leaves_a_silent_video(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    pass_through(declared_only(tmp_path / "a.ts"), tmp_path / f"out{suffix}")
    assert len(times_in(tmp_path / f"out{suffix}")) == 20
    assert "its sound is declared, but missing; the video will have no sound" in caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_begins_in_the_second_of_two_joined_files_is_kept(tmp_path: Path, suffix: str) -> None:
    silent = declared_only(tmp_path / "a.ts")  # 0.8 s
    source = joined(tmp_path / "joined.ts", silent, make_source(tmp_path / "b.ts", "aac"))
    pass_through(source, tmp_path / f"out{suffix}")
    heard = hear(tmp_path / f"out{suffix}")
    assert heard is not None
    assert len(times_in(tmp_path / f"out{suffix}")) == 120
    assert heard.beep == pytest.approx(0.8 + BEEP, abs=0.03)


@pytest.mark.parametrize("start", [None, 1.0, 3.6, 4.4])
def test_the_sound_of_joined_files_goes_on_behind_the_joint(tmp_path: Path, start: float | None) -> None:
    part = make_source(tmp_path / "part.ts", "aac")
    pass_through(joined(tmp_path / "joined.ts", part, part), tmp_path / "out.mp4", start=start)
    heard = hear(tmp_path / "out.mp4")
    assert heard is not None
    expected = [beep - (start or 0.0) for beep in (BEEP, 4 + BEEP) if beep > (start or 0.0)]
    assert heard.beeps == pytest.approx(expected, abs=0.03)
    assert heard.end == pytest.approx(8.0 - (start or 0.0), abs=0.05)


@pytest.mark.parametrize("start", [None, 3.6])
@pytest.mark.parametrize(
    ("suffix", "codec", "video"),
    [("mpg", "mp2", "libx264"), ("asf", "mp2", "wmv2"), ("ogv", "flac", "libvpx"), ("mxf", "pcm_s16le", "mpeg2video")],
)
def test_sound_stays_in_time_with_the_video_behind_the_joint(
    tmp_path: Path, suffix: str, codec: str, video: str, start: float | None
) -> None:
    part = make_source(tmp_path / f"a.{suffix}", codec, video_codec=video)
    other = make_source(tmp_path / f"b.{suffix}", codec, video_codec=video)
    pass_through(joined(tmp_path / f"joined.{suffix}", part, other), tmp_path / "out.mp4", start=start)
    heard = hear(tmp_path / "out.mp4")
    assert heard is not None
    expected = [beep - (start or 0.0) for beep in (BEEP, 4 + BEEP) if beep > (start or 0.0)]
    assert heard.beeps == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("suffix", "first", "other", "rate"),
    [
        ("ts", "aac", "aac", 22_050),
        ("ts", "aac", "mp2", 48_000),
        ("ts", "aac", "ac3", 44_100),
        ("mpg", "mp2", "ac3", 44_100),
        ("flv", "aac", "aac", 22_050),
        ("mp4", "aac", "aac", 22_050),
    ],
)
@pytest.mark.parametrize("out", [".mp4", ".mkv"])
def test_sound_that_changes_keeps_its_pitch(
    tmp_path: Path, suffix: str, first: str, other: str, rate: int, out: str
) -> None:
    parts = (
        make_source(tmp_path / f"a.{suffix}", first, rate=44_100, beep=1.0),
        make_source(tmp_path / f"b.{suffix}", other, rate=rate, beep=1.0),
    )
    pass_through(joined(tmp_path / f"joined.{suffix}", *parts), tmp_path / f"out{out}")
    heard = hear(tmp_path / f"out{out}")
    assert heard is not None
    assert heard.beeps == pytest.approx([BEEP, 4 + BEEP], abs=0.05)
    assert heard.pitches == pytest.approx([1000, 1000], abs=5)
    assert len(times_in(tmp_path / f"out{out}")) == 200


@pytest.mark.parametrize("layout", ["7.1", "6.1"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pcm_of_many_channels_in_mov_does_not_abort_the_process(tmp_path: Path, layout: str, suffix: str) -> None:
    source = make_source(tmp_path / "many.mov", "pcm_s16le", layout=layout)
    program = (
        "import sys; from pathlib import Path; from tests.support.media.sound_samples import pass_through\n"
        "pass_through(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(source), str(tmp_path / f"out{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert len(times_in(tmp_path / f"out{suffix}")) == 100
    if suffix == ".mp4":
        heard = hear(tmp_path / "out.mp4")
        assert heard is not None
        assert heard.codec == "aac"
        assert heard.beep == pytest.approx(BEEP, abs=0.02)


@pytest.mark.parametrize(
    ("container", "rate", "codec"), [(".avi", 11_025, "aac"), (".avi", 44_100, "mp3"), (".flv", 11_025, "aac")]
)
def test_mp3_below_16_khz_becomes_aac_in_mp4(tmp_path: Path, container: str, rate: int, codec: str) -> None:
    source = make_source(tmp_path / f"low{container}", "libmp3lame", rate=rate)
    pass_through(source, tmp_path / "out.mp4")
    heard = hear(tmp_path / "out.mp4")
    assert heard is not None
    assert heard.codec.startswith(codec)
    assert heard.beep == pytest.approx(BEEP, abs=0.12)  # AVI does not tell the delay of the encoder
    assert len(times_in(tmp_path / "out.mp4")) == 100


def test_sound_of_an_unknown_codec_is_said_to_be_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_video(tmp_path / "odd.mkv", sound=1.0)
    content = source.read_bytes()
    assert content.count(b"A_AAC") == 1
    source.write_bytes(content.replace(b"A_AAC", b"A_XYZ"))
    pass_through(source, tmp_path / "out.mp4")
    assert len(times_in(tmp_path / "out.mp4")) == 20
    assert "the codec of its sound is unknown to FFmpeg; the video will have no sound" in caplog.text


def test_sound_that_the_container_rejects_costs_the_sound_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sound_module, "_can_be_copied", lambda *_: True)
    pass_through(make_source(tmp_path / "low.avi", "libmp3lame", rate=11_025), tmp_path / "out.mp4")
    assert len(times_in(tmp_path / "out.mp4")) == 100
    assert hear(tmp_path / "out.mp4") is None
    assert "its sound cannot be written" in caplog.text


def test_damaged_sound_is_silent_where_it_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_source(tmp_path / "dirty.mkv", "flac")
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    content = source.read_bytes()
    for packet in packets[10:13]:
        content = content.replace(packet, b"\x55" * len(packet))
    source.write_bytes(content)
    pass_through(source, tmp_path / "out.mp4")
    heard = hear(tmp_path / "out.mp4")
    assert heard is not None
    assert heard.beep == pytest.approx(BEEP, abs=0.03)
    assert "packets of its sound could not be decoded and are silent" in caplog.text


def test_a_source_knows_the_moment_that_its_times_count_from(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", sound=1.0)
    with open_source(path, start=0.4) as source:
        assert source.info.sound is not None
        assert source.info.sound.zero == pytest.approx(times_in(path)[0])
