"""Cameras and the pipelines to them."""

from __future__ import annotations

from edge_vla.doctor.finding import Finding, check, ok, warn
from edge_vla.doctor.host import Host

PROBE = (
    "gst-launch-1.0 nvarguscamerasrc sensor-id=0 num-buffers=30 ! 'video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1' ! "
    "nvvidconv ! video/x-raw,format=BGRx ! fakesink"
)
DAEMON = "nvargus-daemon"


@check("cameras")
def cameras(host: Host) -> Finding:
    found = video_devices(host)
    if not found:
        if not host.has_robot:
            return ok("none; the simulator brings its own")
        csi = "sudo /opt/nvidia/jetson-io/jetson-io.py  # a CSI camera; a USB one: " if host.board.is_jetson else ""
        return warn("no /dev/video*", f"{csi}plug it in, then: sudo dmesg | grep -i -e uvc -e video | tail")
    told = ", ".join(f"{device} ({name})" for device, name in found)
    for device, _ in found:
        if not host.may_use(device):
            return warn(f"{told}: {device} may not be opened", joining(host, host.group_of(device)))
    return ok(told)


@check("gstreamer")
def gstreamer(host: Host) -> Finding:
    has_tool = host.tree.exists("/usr/bin/gst-launch-1.0")
    if not host.board.is_jetson:
        return ok("gst-launch-1.0" if has_tool else "none; only CSI and network cameras need it")
    if not has_tool:
        return warn("no gst-launch-1.0: no CSI camera", "sudo apt-get install -y gstreamer1.0-tools gstreamer1.0-plugins-good")
    if not host.tree.glob("/usr/lib/*-linux-gnu/gstreamer-1.0/libgstnvarguscamerasrc.so"):
        return warn("no nvarguscamerasrc: no CSI camera", "sudo apt-get install -y nvidia-l4t-gstreamer && rm -rf ~/.cache/gstreamer-1.0")
    if not any(host.tree.text(path) == DAEMON for path in host.tree.glob("/proc/[0-9]*/comm")):
        return warn(f"{DAEMON} does not run: no CSI camera answers", f"sudo systemctl enable --now {DAEMON}")
    return ok(f"nvarguscamerasrc; try it with: {PROBE}")


def video_devices(host: Host) -> list[tuple[str, str]]:
    """(device, name) of those that give pictures; a UVC camera has another one for its metadata."""
    found = []
    for path in host.tree.glob("/dev/video*"):
        about = f"/sys/class/video4linux/{path.name}"
        if not host.tree.number(f"{about}/index"):
            found.append((f"/dev/{path.name}", host.tree.text(f"{about}/name") or "no name"))
    return found


def joining(host: Host, group: str) -> str:
    """What gets this user into a group, or a session in which it counts."""
    if host.joined(group):
        return f"log out and in again: this session began before {host.user} joined {group}"
    return f"sudo usermod -aG {group} {host.user}, then log out and in"
