"""A local RTSP server for the system's Python, which has GStreamer's bindings: `rtsp_server.py WIDTH HEIGHT PERIOD_MS`.

Prints its port. Repeats the newest picture (raw RGB on standard input) as H.264 until its input ends.
"""

import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - only once the versions are said

WIDTH, HEIGHT, PERIOD_MS = map(int, sys.argv[1:4])
SIZE = WIDTH * HEIGHT * 3
CODEC = "x264enc tune=zerolatency speed-preset=ultrafast bitrate=8000 key-int-max=10 ! rtph264pay name=pay0 pt=96 config-interval=1"
PIPELINE = (
    f"( appsrc name=source is-live=true do-timestamp=true format=time "
    f"caps=video/x-raw,format=RGB,width={WIDTH},height={HEIGHT},framerate={1000 // PERIOD_MS}/1 ! videoconvert ! {CODEC} )"
)


class Screen:
    """What is being shown, and to whom."""

    def __init__(self, loop):
        self.loop, self.picture, self.rest, self.sources = loop, bytes(SIZE), b"", []
        os.set_blocking(0, False)
        GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, self.hear)
        GLib.timeout_add(PERIOD_MS, self.show)

    def configure(self, _factory, media):
        self.sources.append(media.get_element().get_child_by_name("source"))

    def hear(self, *_):
        data = os.read(0, 1 << 20)
        if not data:
            self.loop.quit()
            return False
        self.rest += data
        while len(self.rest) >= SIZE:
            self.picture, self.rest = self.rest[:SIZE], self.rest[SIZE:]
        return True

    def show(self):
        self.sources = [s for s in self.sources if s.emit("push-buffer", Gst.Buffer.new_wrapped(self.picture)) == Gst.FlowReturn.OK]
        return True


Gst.init(None)
loop = GLib.MainLoop()
screen = Screen(loop)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(PIPELINE)
factory.set_shared(True)
factory.connect("media-configure", screen.configure)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
if "--login" in sys.argv:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("me", "se:cret"), token)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role("user")
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)
    server.set_auth(auth)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
loop.run()
