"""A CSI camera of a Jetson: NVIDIA's source, turned and converted on the board, as a GStreamer pipeline."""

from __future__ import annotations

from edge_vla.cameras.gstreamer import GStreamerCamera
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import ConfigError

SENSORS = 16
FLIP = {0: 0, 90: 3, 180: 2, 270: 1}  # clockwise degrees to nvvidconv's flip-method, which counts the other way round


class CSICamera(GStreamerCamera):
    """`rotation`: how far the picture is turned clockwise, for a camera that is mounted turned. Width and height are those after it."""

    def __init__(self, wanted: Wanted, sensor_id: int = 0, rotation: int = 0, latency_ms: float = 0.0) -> None:
        super().__init__(wanted, source(wanted, sensor_id, rotation), latency_ms)

    def explain(self, complaint: str) -> str:
        if "nvarguscamerasrc" in complaint and "no element" in complaint:
            return "; CSI cameras want a Jetson with its driver: apt-get install nvidia-l4t-gstreamer (`python -m edge_vla.doctor` looks)"
        if "nvbufsurface" in complaint.lower() or "argus" in complaint.lower():
            return "; is a sensor on that port (dmesg), is nvargus-daemon running, and does nothing else use the camera?"
        return super().explain(complaint)


def source(wanted: Wanted, sensor_id: int, rotation: int) -> str:
    """The pipeline's text. Raises ConfigError for a port or rotation that is none."""
    if not 0 <= sensor_id < SENSORS:
        raise ConfigError(f"camera 'csi': option sensor_id = {sensor_id}: want 0 to {SENSORS - 1}")
    if rotation not in FLIP:
        raise ConfigError(f"camera 'csi': option rotation = {rotation}: want one of {', '.join(map(str, FLIP))}")
    width, height = (wanted.width, wanted.height) if rotation % 180 == 0 else (wanted.height, wanted.width)
    return (
        f"nvarguscamerasrc sensor-id={sensor_id} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},framerate={wanted.fps}/1,format=NV12 ! "
        f"nvvidconv flip-method={FLIP[rotation]} ! video/x-raw,format=BGRx,width={wanted.width},height={wanted.height}"
    )
