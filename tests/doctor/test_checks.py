"""What each check says of three machines, and of every way in which one of them can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla.config import RobotProfile
from edge_vla.doctor.finding import CHECKS, Finding, Level
from edge_vla.doctor.host import Host
from tests.doctor.machines import BY_ID, GST, POLICY, WANTS, ZONE, gid_of_files

Found = Callable[..., Finding]
MakeHost = Callable[..., Host]
OF_FILES = set(CHECKS) - {"packages", "onnxruntime", "opencv", "simulator", "engine"}  # the others look at this interpreter

# (check, ok or warn or fail, part of the text, part of the fix) of an Orin Nano that has just been flashed
FRESH_ORIN = [
    ("board", "ok", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, Cortex-A78AE, 6 cores, 7.4 GiB", ""),
    ("jetpack", "ok", "JetPack 6.2, L4T 36.4.3", ""),
    ("cuda", "ok", "CUDA 12.6.11", ""),
    ("tensorrt", "ok", "TensorRT 10.3.0", ""),
    ("python", "ok", "Python 3.10", ""),
    ("cameras", "warn", "/dev/video0 (HD USB Camera): /dev/video0 may not be opened", "sudo usermod -aG {group} robot"),
    ("gstreamer", "ok", "gst-launch-1.0 nvarguscamerasrc sensor-id=0", ""),
    ("serial ports", "ok", f"{BY_ID} -> /dev/ttyUSB0, /dev/ttyTHS1", ""),
    ("serial permission", "warn", "robot may not open /dev/ttyUSB0, /dev/ttyTHS1", "sudo usermod -aG {group} robot, then log out and in"),
    ("serial busy", "ok", "free, as far as robot can see", ""),
    ("modemmanager", "warn", "ModemManager talks to every new serial port", "sudo systemctl disable --now ModemManager"),
    ("brltty", "warn", "brltty takes CH340", "sudo apt-get remove -y brltty"),
    ("serial console", "warn", "nvgetty holds a login", "sudo systemctl disable --now nvgetty"),
    ("power mode", "warn", "15W; the fastest is MAXN_SUPER", "sudo nvpmodel -m 2"),
    ("clocks", "warn", "CPU 730 MHz of 1510, GPU 306 MHz, schedutil: free to fall", "sudo jetson_clocks"),
    ("heat", "ok", "cpu-thermal 47.5 °C", ""),
    ("jetson-stats", "warn", "not installed", "sudo pip3 install -U jetson-stats"),
    ("memory", "ok", "5.0 of 7.4 GiB available", ""),
    ("swap", "warn", "0.0 GiB on disk, 3.7 GiB compressed memory: building an engine may be killed", "sudo fallocate -l 8G /swapfile"),
    ("disk", "ok", "50.0 GiB free here", ""),
    ("real time", "ok", "SCHED_FIFO up to 99", ""),
    ("robot profile", "ok", "simulated: simulated rover, built in", ""),
]
THOR_IN_ORDER = {
    "board": "NVIDIA Jetson AGX Thor Developer Kit, Neoverse-V3AE, 14 cores, 122.7 GiB", "jetpack": "JetPack 7.1, L4T 38.4.0",
    "cuda": "CUDA 13.0.2", "tensorrt": "TensorRT 10.13.3", "python": "Python 3.12", "cameras": "/dev/video0 (vi-output, imx219 9-0010)",
    "serial ports": "/dev/ttyACM0", "serial permission": "robot may open /dev/ttyACM0", "modemmanager": "not enabled",
    "brltty": "not installed", "serial console": "no login on the header's UART", "power mode": "MAXN",
    "clocks": "CPU 2601 MHz of 2601, GPU 1575 MHz, performance", "heat": "tj-thermal 41 °C", "swap": "none",
}  # fmt: skip
PLAIN = {
    "board": "not a Jetson: Precision 3660, A CPU @ 3.00GHz, 4 cores, 31.2 GiB", "jetpack": "not a Jetson", "power mode": "not a Jetson",
    "jetson-stats": "not a Jetson", "serial console": "not a Jetson", "cuda": "no NVIDIA GPU, no CUDA: engines run on the CPU",
    "tensorrt": "no TensorRT: only engines made for a Jetson need it", "cameras": "none; the simulator brings its own",
    "gstreamer": "none; only CSI and network cameras need it", "serial ports": "none; the simulator brings its own",
    "serial permission": "no port to open", "modemmanager": "enabled, but there is no serial port to disturb",
    "brltty": "installed, but there is no serial port to take", "clocks": "CPU 2150 MHz", "heat": "no thermal zone answers",
    "memory": "20.0 of 31.2 GiB available", "swap": "8.0 GiB on disk, 0.0 GiB compressed memory",
}  # fmt: skip


@pytest.mark.parametrize(("name", "level", "text", "fix"), FRESH_ORIN, ids=[row[0] for row in FRESH_ORIN])
def test_an_orin_that_has_just_been_flashed(make_host: MakeHost, tmp_path: Path, name: str, level: str, text: str, fix: str) -> None:
    host = make_host("orin")
    finding = CHECKS[name](host)
    assert finding.level.value == level, finding
    assert text in finding.text
    assert fix.format(group=host.group_of("/dev/ttyUSB0")) in finding.fix


def test_every_check_of_files_was_asked_about_the_orin() -> None:
    assert {row[0] for row in FRESH_ORIN} == OF_FILES


def test_a_thor_in_order_has_nothing_to_mend(make_host: MakeHost, tmp_path: Path) -> None:
    host = make_host("thor", groups=frozenset({gid_of_files(tmp_path)}))
    for name in OF_FILES - {"jetson-stats"}:  # whether jtop is installed here is another question
        finding = CHECKS[name](host)
        assert (name, finding.level, finding.fix) == (name, Level.OK, "")
        assert finding.text == THOR_IN_ORDER.get(name, finding.text)


def test_a_plain_x86_has_nothing_to_mend(make_host: MakeHost) -> None:
    host = make_host("desktop")
    for name in OF_FILES:
        finding = CHECKS[name](host)
        assert (name, finding.level, finding.fix) == (name, Level.OK, "")
        assert finding.text == PLAIN.get(name, finding.text)


# check, machine, files changed (None: gone), facts changed, level, text, fix
CUDA_13 = {"/usr/local/cuda-12.6/version.json": '{"cuda": {"version": "13.0.1"}}'}
GB = 2**30
BROKEN: list[tuple[str, str, dict[str, str | None], dict[str, Any], str, str, str]] = [
    ("jetpack", "orin", {"/etc/nv_tegra_release": None}, {}, "warn", "does not say its L4T", "nvidia-l4t-core"),
    ("jetpack", "orin", {"/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, G"}, {}, "fail", "L4T 35.4.1 is JetPack 5; want",
     "flash JetPack"),
    ("jetpack", "orin", {"/etc/nv_tegra_release": "# R32 (release), REVISION: 7.4, G"}, {}, "fail", "a JetPack too old to be known",
     "flash JetPack"),
    ("cuda", "orin", {"/usr/local/cuda-12.6/version.json": None}, {}, "warn", "CUDA is not installed", "apt-get install -y nvidia-jetpack"),
    ("cuda", "orin", CUDA_13, {}, "warn", "CUDA 13.0.1, but JetPack 6.2 comes with CUDA 12", "nvidia-jetpack"),
    ("cuda", "orin", {"/usr/local/cuda-12.6/version.json": "{}"}, {}, "warn", "CUDA unknown, but", "nvidia-jetpack"),
    ("tensorrt", "orin", {"/usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0": None}, {}, "warn", "not installed", "nvidia-jetpack"),
    ("tensorrt", "orin", {"/usr/lib/python3.10/dist-packages/tensorrt/__init__.py": None}, {}, "warn", "without its Python module",
     "sudo apt-get install -y python3-libnvinfer"),
    ("tensorrt", "orin", {}, {"python": (3, 12)}, "warn", "whose module is for Python 3.10; this is 3.12",
     "python3.10 -m venv --system-site-packages .venv"),
    ("python", "desktop", {}, {"python": (3, 9)}, "fail", "Python 3.9; want 3.10 or later", "make setup PYTHON=python3.10"),
    ("cameras", "orin", {"/dev/video0": None, "/dev/video1": None}, {}, "warn", "no /dev/video*", "/opt/nvidia/jetson-io/jetson-io.py"),
    ("gstreamer", "orin", {"/usr/bin/gst-launch-1.0": None}, {}, "warn", "no gst-launch-1.0", "apt-get install -y gstreamer1.0-tools"),
    ("gstreamer", "orin", {GST: None}, {}, "warn", "no nvarguscamerasrc", "sudo apt-get install -y nvidia-l4t-gstreamer"),
    ("gstreamer", "orin", {"/proc/812/comm": "bash\n"}, {}, "warn", "nvargus-daemon does not run",
     "sudo systemctl enable --now nvargus-daemon"),
    ("serial ports", "orin", {"/dev/ttyUSB0": None, "/dev/ttyTHS1": None, BY_ID: None}, {}, "warn", "no ttyUSB", "ls -l /dev/serial/by-id"),
    ("serial ports", "orin", {"/dev/ttyUSB1": "", BY_ID: None}, {}, "warn", "numbers change at the next boot", "sudo udevadm trigger"),
    ("serial busy", "orin", {"/proc/77/fd/3": "-> /dev/ttyUSB0", "/proc/77/comm": "minicom\n"}, {}, "warn",
     "in use: /dev/ttyUSB0 by minicom (process 77)", "sudo kill 77"),
    ("modemmanager", "desktop", {"/dev/ttyUSB0": ""}, {}, "warn", "ModemManager talks", "sudo systemctl disable --now ModemManager"),
    ("brltty", "desktop", {"/dev/ttyUSB0": ""}, {}, "warn", "brltty takes", "sudo apt-get remove -y brltty"),
    ("power mode", "orin", {"/var/lib/nvpmodel/status": None}, {}, "warn", "nvpmodel has never said", "sudo nvpmodel -q"),
    ("power mode", "orin", {"/var/lib/nvpmodel/status": "pmode:0003"}, {}, "warn", "7W; the fastest is MAXN_SUPER", "sudo nvpmodel -m 2"),
    ("heat", "orin", {f"{ZONE}/temp": "99500"}, {}, "warn", "cpu-thermal 99.5 °C: hot enough for lower clocks", "sudo jetson_clocks --fan"),
    ("heat", "desktop", {f"{ZONE}/temp": "99500", f"{ZONE}/trip_point_0_type": "passive", f"{ZONE}/trip_point_0_temp": "95000"}, {}, "warn",
     "thermal_zone0 99.5 °C", "thermal_zone*/temp"),
    ("memory", "orin", {"/proc/meminfo": "MemTotal: 7802896 kB\nMemAvailable: 1048575 kB\n"}, {}, "warn", "1.0 of", "multi-user.target"),
    ("memory", "desktop", {"/proc/meminfo": "MemTotal: 7802896 kB\nMemAvailable: 524287 kB\n"}, {}, "fail", "0.5 of", "ps aux --sort=-rss"),
    ("disk", "desktop", {}, {"disk_free": 5 * GB - 1}, "warn", "5.0 GiB free here", "du -xh"),
    ("disk", "desktop", {}, {"disk_free": GB // 2 - 1}, "fail", "0.5 GiB free here", "du -xh"),
    ("real time", "orin", {}, {"realtime": 9}, "warn", "SCHED_FIFO up to 9: ticks are late",
     "sudo tee /etc/security/limits.d/90-edge_vla.conf"),
    ("real time", "orin", {}, {"realtime": 0}, "warn", "no SCHED_FIFO", "@dialout - rtprio 20"),
    ("real time", "orin", {"/.dockerenv": ""}, {"realtime": 0}, "warn", "in a container", "docker run --cap-add SYS_NICE"),
    ("robot profile", "desktop", {}, {"profile": None, "profile_error": "robot profile x.toml: bad", "profile_path": Path("x.toml")},
     "fail",
     "robot profile x.toml: bad", "edit x.toml"),
    ("robot profile", "desktop", {}, {"profile": RobotProfile.model_validate({"base": {"kind": "unicycle"}})}, "fail", "unicycle",
     "edit base.kind"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "machine", "files", "facts", "level", "text", "fix"), BROKEN, ids=[f"{row[0]}: {row[5] or row[1]}" for row in BROKEN]
)
def test_what_is_wrong_is_told_with_its_fix(
    found: Found, name: str, machine: str, files: dict[str, str | None], facts: dict[str, Any], level: str, text: str, fix: str
) -> None:  # fmt: skip
    finding = found(name, machine, files, **facts)
    assert finding.level.value == level, finding
    assert text in finding.text
    assert fix in finding.fix


EDGES: list[tuple[str, str, dict[str, str | None], dict[str, Any]]] = [
    ("memory", "desktop", {"/proc/meminfo": "MemTotal: 7802896 kB\nMemAvailable: 1048576 kB\n"}, {}),
    ("disk", "desktop", {}, {"disk_free": 5 * GB}),
    ("real time", "desktop", {}, {"realtime": 10}),
    ("python", "desktop", {}, {"python": (3, 10)}),
    ("swap", "orin", {"/proc/swaps": "Filename Type Size\n/swapfile file 4194304 0 -2\n"}, {}),
    ("power mode", "orin", {"/var/lib/nvpmodel/status": "pmode:0002"}, {}),
    ("clocks", "orin", {f"{POLICY}/scaling_min_freq": "1510400", "/sys/class/devfreq/17000000.gpu/min_freq": "612000000"}, {}),
    ("serial console", "orin", {f"{WANTS}/nvgetty.service": None}, {}),
    ("cuda", "thor", {"/usr/local/cuda-13.0/version.json": '{"cuda": {"version": "13.2.0"}}'}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "machine", "files", "facts"), EDGES, ids=[row[0] for row in EDGES])
def test_what_is_just_enough_is_ok(found: Found, name: str, machine: str, files: dict[str, str | None], facts: dict[str, Any]) -> None:
    assert found(name, machine, files, **facts).level is Level.OK


def test_an_nvidia_driver_is_told_on_x86(found: Found) -> None:
    driver = {"/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\n"}
    assert found("cuda", "desktop", driver).text == "NVIDIA, driver 550.54.14, no CUDA"
    gpu = {"/proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA RTX A2000\nIRQ: 1\n"}
    assert found("cuda", "desktop", {**driver, **gpu}).text == "NVIDIA RTX A2000, driver 550.54.14, no CUDA"


def test_a_link_that_is_the_default_toolkit_comes_first(found: Found) -> None:
    both = {"/usr/local/cuda-12.2/version.json": '{"cuda": {"version": "12.2.1"}}', "/usr/local/cuda": "-> cuda-12.2"}
    assert found("cuda", "orin", both).text == "CUDA 12.2.1"
