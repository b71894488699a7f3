"""A server of one RTSP stream of H.264, as simple as there is: over TCP or UDP, and what it does at the end."""

from __future__ import annotations

import re
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Literal

import av
from av.video.frame import VideoFrame

from .media_samples import SIZE, numbered_image

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
)
End = Literal["close", "stall"]


def packets(frames: int) -> list[bytes]:
    """Return RTP packets of a video of 25 frames a second, one for each NAL unit."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = SIZE
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    encoder.options = {"tune": "zerolatency", "g": "10"}
    coded = []
    for index in range(frames):
        frame = VideoFrame.from_ndarray(numbered_image(index), format="bgr24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        coded += encoder.encode(frame)
    coded += encoder.encode(None)
    made: list[bytes] = []
    for index, packet in enumerate(coded):
        units = [unit for unit in re.split(b"\x00\x00\x01", bytes(packet)) if unit.strip(b"\x00")]
        for unit in units:
            marker = 0x80 if unit is units[-1] else 0
            made.append(struct.pack("!BBHII", 0x80, 96 | marker, len(made) & 0xFFFF, index * 3600, 1) + unit)
    return made


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        udp: tuple[str, int] | None = None
        while True:
            lines = []
            while (line := self.rfile.readline().decode()).strip():
                lines.append(line.strip())
            if not lines:
                return
            fields = dict(line.split(": ", 1) for line in lines[1:])
            answer = {"CSeq": fields["CSeq"], "Session": "1"}
            body, method = "", lines[0].split()[0]
            if method == "DESCRIBE":
                body, answer["Content-Type"] = SDP, "application/sdp"
            elif method == "SETUP":
                transport = fields["Transport"]
                if self.server.only_udp and "TCP" in transport:
                    self._say("461 Unsupported Transport", answer)
                    continue
                if port := re.search(r"client_port=(\d+)", transport):
                    udp = self.client_address[0], int(port[1])
                    transport += ";server_port=50000-50001"
                answer["Transport"] = transport
            self._say("200 OK", answer, body)
            if method == "PLAY":
                self._send(udp)
                return

    def _say(self, status: str, fields: dict[str, str], body: str = "") -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.wfile.write(f"RTSP/1.0 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def _send(self, udp: tuple[str, int] | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            for packet in self.server.packets:
                if udp is None:
                    self.wfile.write(struct.pack("!BBH", ord("$"), 0, len(packet)) + packet)
                else:
                    datagrams.sendto(packet, udp)
                    self.server.over.wait(0.005)
        if self.server.end == "stall":
            self.server.over.wait(60)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    packets: list[bytes]
    end: End
    only_udp: bool
    over: threading.Event


@contextmanager
def rtsp_server(frames: int = 30, *, end: End = "close", only_udp: bool = False) -> Iterator[str]:
    """The address of a stream of some frames, after which the server closes the connection or says nothing more."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.packets, server.end, server.only_udp, server.over = packets(frames), end, only_udp, threading.Event()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"rtsp://127.0.0.1:{server.server_address[1]}/live"
        finally:
            server.over.set()
            server.shutdown()
