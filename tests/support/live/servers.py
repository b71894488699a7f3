"""Servers of streams as processes, and relays before them that cut, hold and damage a connection or lose packets."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from nasion.realtime.sources.synthetic import PHOTOGRAPH

SCRIPT = Path(__file__).with_name("rtsp_server.py")
INSTALL = (
    "apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
    "gstreamer1.0-plugins-ugly gstreamer1.0-libav python3-gi"
)
_PYTHON = "/usr/bin/python3"  # the system's, for which Debian installs gi
_CHUNK = 1 << 16
_CHECK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None); "
_ELEMENTS = ("x264enc", "x265enc", "jpegenc", "imagefreeze", "rtph264pay", "videotestsrc")


def missing() -> str:
    """Return why the server cannot run here; empty if it can."""
    if sys.platform != "linux" or not shutil.which(_PYTHON):
        return "GStreamer's RTSP server is tested with Debian's Python on Linux"
    check = _CHECK + f"assert all(Gst.ElementFactory.find(each) for each in {_ELEMENTS})"
    done = subprocess.run([_PYTHON, "-c", check], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"GStreamer's RTSP server is not installed: {INSTALL}"


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspServer:
    """GStreamer's RTSP server, which shows a face at ``url`` within a second of ``start``."""

    def __init__(
        self, port: int | None = None, codec: str = "h264", form: str = "640x360@30", transport: str = ""
    ) -> None:
        """Start the server and wait until it listens; with the transport ``udp`` it refuses TCP."""
        self._transport = transport
        self.port = port or free_port()
        self.codec, self.form = codec, form
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Address of the stream."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def start(self, codec: str | None = None, form: str | None = None) -> None:
        """Start again, with another codec or form if they are given, and wait until it listens."""
        self.codec, self.form = codec or self.codec, form or self.form
        command = [_PYTHON, str(SCRIPT), str(self.port), self.codec, self.form, str(PHOTOGRAPH), self._transport]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("the RTSP server does not start")

    def kill(self) -> None:
        """Kill the server, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Stop the process without closing its connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process continue."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Proxy:
    """TCP proxy before a server. It can cut all connections, hold all data, or damage what the server sends."""

    def __init__(self, target: int, seed: int = 0) -> None:
        """Listen on a free port and forward to the port ``target``."""
        self._target, self._random = target, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.damage = 0.0  # share of the chunks of which a byte is changed
        self._open = threading.Event()
        self._open.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close all connections."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def hold(self) -> None:
        """Forward nothing, and keep the connections open."""
        self._open.clear()

    def release(self) -> None:
        """Forward again."""
        self._open.set()

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._listener.close()
        self.release()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), 5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._pairs.append((client, server))
                for source, sink, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._forward, args=(source, sink, is_answer), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._open.wait()
                if is_answer and self._random.random() < self.damage:
                    changed = bytearray(data)
                    changed[self._random.randrange(len(changed))] ^= 0xFF
                    data = bytes(changed)
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Ffmpeg:
    """ffmpeg as a process that sends a face at 15 frames a second to, or serves it at, an address or file."""

    def __init__(self, *output: str, folder: Path) -> None:
        """Start it in ``folder`` with the options and the address of its output."""
        tool = shutil.which("ffmpeg")
        assert tool is not None
        image = ["-re", "-loop", "1", "-framerate", "15", "-i", str(PHOTOGRAPH), "-vf", "scale=320:240"]
        codec = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15"]
        self._process = subprocess.Popen(
            [tool, "-loglevel", "error", "-y", *image, *codec, *output],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


class LossyRelay:
    """UDP relay that forwards datagrams from ``port`` to ``target``, and loses a share of them."""

    def __init__(self, loss: float, seed: int = 0) -> None:
        """Begin to forward."""
        self._loss, self._random = loss, random.Random(seed)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.port = int(self._socket.getsockname()[1])
        self.target = free_udp_port()
        self.lost = self.passed = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def _forward(self) -> None:
        while not self._is_over:
            with suppress(OSError):
                data = self._socket.recv(_CHUNK)
                if self._random.random() < self._loss:
                    self.lost += 1
                else:
                    self.passed += 1
                    self._socket.sendto(data, ("127.0.0.1", self.target))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()
        self._socket.close()


def free_udp_port() -> int:
    """Return a free UDP port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
