#!/usr/bin/env bash
# What the camera tests talk to: GStreamer's tools and plugins, and an RTSP server for the system's Python. Changes nothing where it is there.
# Without apt nothing is installed and those tests skip, by name. A robot needs the first three packages, and only for CSI or `gstreamer`.
set -euo pipefail

there() {
  command -v gst-launch-1.0 && gst-inspect-1.0 --exists videoconvert && gst-inspect-1.0 --exists x264enc && gst-inspect-1.0 --exists rtph264pay &&
    /usr/bin/python3 -c "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
}

if [ "$(uname -s)" != Linux ] || there >/dev/null 2>&1; then exit 0; fi

packages=(gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly gir1.2-gst-rtsp-server-1.0 python3-gi)
if ! command -v apt-get >/dev/null; then
  echo "setup: no GStreamer and no apt-get: the tests of the cameras behind it will be skipped" >&2
  exit 0
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: for the camera tests, as root: apt-get install ${packages[*]}" >&2; exit 0; }
  as_root=(sudo)
fi
echo "setup: installing GStreamer and its RTSP server for the camera tests: ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "setup: apt-get failed; the camera tests need: ${packages[*]}" >&2
  exit 1
fi
there >/dev/null || { echo "setup: GStreamer is installed, but something of ${packages[*]} is still missing" >&2; exit 1; }
