"""RTSP server for tests and measurements: GStreamer's, run by the system's Python.

As a program: ``/usr/bin/python3 rtsp_server.py PORT CODEC WIDTHxHEIGHT@FPS [FILE]`` serves
``rtsp://127.0.0.1:PORT/live`` until it is killed: FILE, an image that moves, or GStreamer's test pattern without one.
CODEC is h264, h265, mjpeg or raw. ``udp`` as a fifth argument refuses TCP.
"""

from __future__ import annotations

import sys

_FAST = "tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=1500"
ENCODERS = {
    "h264": f"x264enc {_FAST} ! rtph264pay config-interval=1 name=pay0 pt=96",
    "h265": f"x265enc {_FAST} ! rtph265pay config-interval=1 name=pay0 pt=96",
    "mjpeg": "video/x-raw,format=I420 ! jpegenc quality=80 ! rtpjpegpay name=pay0 pt=26",
    "raw": "videoconvert ! video/x-raw,format=UYVY ! rtpvrawpay name=pay0 pt=96",
}


def main(port: str, codec: str, form: str, file: str = "", transport: str = "") -> None:
    """Serve until the process is killed."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtsp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    size, fps = form.split("@")
    width, height = size.split("x")
    caps = f"video/x-raw,width={width},height={height},framerate={fps}/1"
    if file:
        # an image that is shown again and again, moved a little so that every frame differs
        start = f"filesrc location={file} ! decodebin ! imagefreeze is-live=true ! videoconvert ! videoscale"
    else:
        start = "videotestsrc is-live=true"
    launch = f"( {start} ! {caps} ! videoconvert ! {ENCODERS[codec].format(fps=fps)} )"
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch)
    factory.set_shared(True)
    if transport == "udp":
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit("cannot listen on that port")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
