"""A real RTSP camera on the loopback: GStreamer's RTSP server, run by the system's Python.

    /usr/bin/python3 rtsp_server.py PORT h264|mjpeg COLOUR [USER:PASSWORD]

COLOUR is 0xRRGGBB. Prints "ready PORT"; port 0 takes a free one.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=2000 ! rtph264pay name=pay0 pt=96",
    "mjpeg": "jpegenc quality=95 ! rtpjpegpay name=pay0 pt=26",
}


def main(port: str, encoder: str, colour: str, login: str = "") -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=solid-color foreground-color={int(colour, 16) | 0xFF000000} "
        f"! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! {ENCODERS[encoder]} )"
    )
    factory.set_shared(True)
    if login:
        user, _, password = login.partition(":")
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit("the port is taken")
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
