"""Files and addresses with several video streams: which one is read, and ``stream``."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame

from nasion.engines.errors import SourceError
from nasion.realtime.sources import open_source

from ...support.media.media_samples import write_video
from ...support.media.serving import QuietHandler, serving
from ...support.media.source_samples import media

__all__ = ["media"]  # a fixture

SMALL, LARGE = (64, 48), (128, 96)


def write(path: Path, sizes: list[tuple[int, int]], *, default: int | None = None) -> Path:
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in sizes]
        for index, (stream, size) in enumerate(zip(streams, sizes, strict=True)):
            (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
            if default is not None:
                stream.disposition = Disposition.default if index == default else Disposition(0)
        for _ in range(10):
            for stream, size in zip(streams, sizes, strict=True):
                container.mux(stream.encode(VideoFrame(*size, "yuv420p")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def size_read(path: Path | str, stream: int | None = None) -> tuple[int, int]:
    with open_source(path, stream=stream) as source:
        assert len(list(source)) >= 10
        return source.info.width, source.info.height


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_the_stream_with_the_most_pixels_is_read(tmp_path: Path, suffix: str) -> None:
    assert size_read(write(tmp_path / f"a.{suffix}", [SMALL, LARGE])) == LARGE
    assert size_read(write(tmp_path / f"b.{suffix}", [LARGE, SMALL])) == LARGE


def test_a_stream_that_is_marked_as_the_default_comes_first(tmp_path: Path) -> None:
    assert size_read(write(tmp_path / "a.mkv", [LARGE, SMALL], default=1)) == SMALL
    assert size_read(write(tmp_path / "b.mkv", [SMALL, LARGE], default=0)) == SMALL


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_stream_can_be_chosen_by_its_number(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", [LARGE, SMALL])
    assert [size_read(path, number) for number in (0, 1)] == [LARGE, SMALL]
    with open_source(path, stream=1, start=0.2) as source:
        assert (next(source).index, source.info.width) == (5, SMALL[0])


def test_a_stream_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", sound=1.0)
    for number in (1, 7):
        with pytest.raises(
            SourceError, match=rf"stream {number} is not a video that can be decoded; its video streams: 0"
        ):
            open_source(path, stream=number)
    for wrong in (-1, 1.5, "0"):
        with pytest.raises(SourceError, match=r"stream is .*; it must be a whole number from 0"):
            open_source(path, stream=wrong)  # type: ignore[arg-type]


def test_sources_with_one_stream_refuse_the_option(media: Path) -> None:
    for source in (0, "pattern:", media / "images", media / "images" / "frame0.png"):
        with pytest.raises(SourceError, match="stream is 0, but only video files and URLs have several; leave it out"):
            open_source(source, stream=0)


def test_of_an_hls_master_playlist_the_best_variant_is_read_and_no_other_is_downloaded(tmp_path: Path) -> None:
    asked: list[str] = []

    class Noting(QuietHandler):
        def do_GET(self) -> None:
            asked.append(self.path.strip("/"))
            super().do_GET()

    master = ["#EXTM3U"]
    for name, size in (("small", SMALL), ("large", LARGE)):
        playlist = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXT-X-PLAYLIST-TYPE:VOD"]
        for part in range(8):
            write_video(
                tmp_path / f"{name}{part}.ts", frames=50, size=size, options={"output_ts_offset": str(2 * part)}
            )
            playlist += ["#EXTINF:2.0,", f"{name}{part}.ts"]
        (tmp_path / f"{name}.m3u8").write_text("\n".join([*playlist, "#EXT-X-ENDLIST", ""]))
        resolution = f"{size[0]}x{size[1]}"
        master += [f"#EXT-X-STREAM-INF:BANDWIDTH={1000 * size[0]},RESOLUTION={resolution}", f"{name}.m3u8"]
    (tmp_path / "master.m3u8").write_text("\n".join([*master, ""]))
    with serving(tmp_path, Noting) as web, open_source(f"{web}/master.m3u8") as source:
        frames = list(source)
    assert {frame.image.shape for frame in frames} == {(96, 128, 3)}
    assert len(frames) == 400
    assert f"large{7}.ts" in asked
    assert (
        len({name for name in asked if name.startswith("small") and name.endswith(".ts")}) <= 3
    )  # to know its streams
