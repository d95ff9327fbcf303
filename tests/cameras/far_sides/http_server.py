"""A local HTTP server of Motion JPEG: `http_server.py WIDTH HEIGHT PERIOD_MS`. Prints its port; else as rtsp_server.py."""

from __future__ import annotations

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

WIDTH, HEIGHT, PERIOD_MS = map(int, sys.argv[1:4])
SIZE = WIDTH * HEIGHT * 3
STOP = threading.Event()
shown = bytes(SIZE)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/live":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while not STOP.wait(PERIOD_MS / 1000):
            rgb = np.frombuffer(shown, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
            jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            try:
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        pass


with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    rest = b""
    while data := os.read(0, 1 << 20):
        rest += data
        while len(rest) >= SIZE:
            shown, rest = rest[:SIZE], rest[SIZE:]
    os._exit(0)  # and drop every connection
