"""Inputs in storage that fsspec opens: a web server that answers range requests, and ``file://``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import nasion
from nasion.engines.errors import MissingExtra, SourceError
from nasion.realtime.annotate.inputs import find_inputs
from nasion.realtime.sources.packets import stored
from nasion.realtime.sources.packets.key_frames import find_key_frames

pytest.importorskip("upath", reason="universal-pathlib is not installed: pip install 'nasion[cluster]'")


class Server(ThreadingHTTPServer):
    """Web server of the files of one folder.

    Attributes:
        folder: the folder.
        sent: ranges that were sent, as first byte, bytes and size of the file.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.sent: list[tuple[int, int, int]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    """Answers with the range that is asked for."""

    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, *, with_content: bool) -> None:
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        begin, end = (int(asked[1]), int(asked[2] or len(data) - 1) + 1) if asked else (0, len(data))
        part = data[begin:end]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(data)}")
        self.end_headers()
        if with_content:
            self.server.sent.append((begin, len(part), len(data)))
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_video_and_an_image_of_a_web_server_are_annotated_like_local_ones(
    server: Server, clip: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "photo0.jpg").write_bytes((images / "photo0.jpg").read_bytes())
    options = {"formats": ["jsonl"], "report": True}
    video, photo = nasion.annotate([server.url("clip.mp4"), server.url("photo0.jpg")], tmp_path / "there", **options)
    assert video.complete
    assert photo.complete
    nasion.annotate([clip, images / "photo0.jpg"], tmp_path / "here", **options)
    for name, source in (("clip", clip.name), (photo.name, images.name)):
        there = (tmp_path / "there" / f"{name}.jsonl").read_text().splitlines()
        here = (tmp_path / "here" / f"{Path(source).stem}.jsonl").read_text().splitlines()
        assert there[1:] == here[1:]  # the first line has the source


def test_of_a_large_video_only_the_parts_that_are_needed_are_transferred(
    server: Server, clip: Path, tmp_path: Path
) -> None:
    # the index is in front of a box of 40 MB that no player reads
    whole = clip.read_bytes()
    (tmp_path / "large.mp4").write_bytes(whole + (40 << 20).to_bytes(4, "big") + b"free" + bytes((40 << 20) - 8))
    keys = find_key_frames(server.url("large.mp4"), "large.mp4")
    assert keys.count == 45
    assert sum(count for _, count, _ in server.sent) < 30 << 20


def test_folders_and_globs_in_storage_lead_to_videos_and_images(clip: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for path in (tmp_path / "one.mp4", tmp_path / "a" / "b" / "two.mp4"):
        path.write_bytes(clip.read_bytes())
    (tmp_path / "a" / "photo.jpg").write_bytes((images / "photo0.jpg").read_bytes())
    (tmp_path / "notes.txt").write_text("no video")
    root = tmp_path.as_uri()
    assert {each.name for each in find_inputs([root])} == {"one", "a/b/two", "a"}
    assert [each.name for each in find_inputs([f"{root}/*.mp4"])] == ["one"]
    (found,) = find_inputs([f"{root}/a/photo.jpg"])
    assert [path.name for path in found.images] == ["photo.jpg"]
    with pytest.raises(SourceError, match="does not exist"):
        find_inputs([f"{root}/none.mp4"])
    with pytest.raises(SourceError, match=r"has neither video nor image; allowed suffixes: \.3gp"):
        find_inputs([f"{root}/*.txt"])


def test_a_protocol_that_is_unknown_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"'nowhere://bucket/a.mp4' cannot be opened with fsspec"):
        find_inputs(["nowhere://bucket/a.mp4"])
    monkeypatch.setitem(__import__("sys").modules, "upath", None)
    with pytest.raises(MissingExtra, match="universal-pathlib, which is not installed"):
        stored.stored_path("s3://bucket/a.mp4")


def test_passwords_in_urls_are_not_shown() -> None:
    assert stored.public("https://user:secret@host/a.mp4?token=1") == "https://host/a.mp4"
    assert not stored.is_stored("rtsp://host/a")
    assert not stored.is_stored("C:/film.mp4")
    with pytest.raises(SourceError) as error:
        find_inputs(["http://user:secret@127.0.0.1:9/a.mp4"])
    assert "secret" not in str(error.value)
