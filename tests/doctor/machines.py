"""Three machines as trees of files: an Orin Nano as it comes with JetPack 6, a Thor in order with JetPack 7, a plain x86."""

from __future__ import annotations

import os
from pathlib import Path

GROUP = "root:x:0:\ndialout:x:20:{members}\nvideo:x:44:{members}\n"
GST = "/usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstnvarguscamerasrc.so"
WANTS = "/etc/systemd/system/multi-user.target.wants"
BY_ID = "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0"
POLICY = "/sys/devices/system/cpu/cpufreq/policy0"
ZONE = "/sys/class/thermal/thermal_zone0"

ORIN = {  # what a person finds after flashing: 15 W, free clocks, everything that wants the serial port enabled, no swap on disk
    "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n",
    "/proc/cpuinfo": "".join(f"processor\t: {k}\nCPU part\t: 0xd42\n\n" for k in range(6)),
    "/proc/meminfo": "MemTotal:        7802896 kB\nMemFree:          500000 kB\nMemAvailable:    5242880 kB\n",
    "/proc/swaps": "Filename Type Size Used Priority\n" + "".join(f"/dev/zram{k} partition 650240 0 5\n" for k in range(6)),
    "/usr/local/cuda-12.6/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
    "/usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0": "",
    "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py": "",
    "/usr/bin/gst-launch-1.0": "", GST: "", "/proc/812/comm": "nvargus-daemon\n",
    "/dev/video0": "", "/dev/video1": "",
    "/sys/class/video4linux/video0/name": "HD USB Camera", "/sys/class/video4linux/video0/index": "0",
    "/sys/class/video4linux/video1/name": "HD USB Camera", "/sys/class/video4linux/video1/index": "1",
    "/dev/ttyUSB0": "", "/dev/ttyTHS1": "", BY_ID: "-> ../../ttyUSB0",
    "/etc/group": GROUP.format(members=""),
    f"{WANTS}/ModemManager.service": "-> /lib/systemd/system/ModemManager.service", f"{WANTS}/nvgetty.service": "-> /etc/nvgetty.service",
    "/usr/lib/udev/rules.d/85-brltty.rules": 'ENV{PRODUCT}=="1a86/7523/*"',
    "/var/lib/nvpmodel/status": "pmode:0000\n",
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=25W >\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\nGPU MAX_FREQ -1\n< POWER_MODEL ID=3 NAME=7W >\n< PM_CONFIG DEFAULT=1 >\n",
    f"{POLICY}/scaling_cur_freq": "729600", f"{POLICY}/scaling_min_freq": "729600", f"{POLICY}/scaling_max_freq": "1510400",
    f"{POLICY}/scaling_governor": "schedutil", "/sys/class/devfreq/17000000.gpu/cur_freq": "306000000",
    "/sys/class/devfreq/17000000.gpu/min_freq": "306000000", "/sys/class/devfreq/17000000.gpu/max_freq": "612000000",
    f"{ZONE}/type": "cpu-thermal", f"{ZONE}/temp": "47531", f"{ZONE}/trip_point_0_type": "passive", f"{ZONE}/trip_point_0_temp": "99000",
    "/sys/class/thermal/thermal_zone1/type": "cv0-thermal", "/sys/class/thermal/thermal_zone1/temp": "-256000",
    "/sys/class/hwmon/hwmon4/oc3_event_cnt": "0",
}  # fmt: skip
THOR = {
    "/proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "/etc/nv_tegra_release": "# R38 (release), REVISION: 4.0, GCID: 1, BOARD: generic\n# KERNEL_VARIANT: oot\nINSTALL_TYPE=\n",
    "/proc/cpuinfo": "".join(f"processor\t: {k}\nCPU part\t: 0xd83\n\n" for k in range(14)),
    "/proc/meminfo": "MemTotal:      128701440 kB\nMemAvailable:  120000000 kB\n",
    "/proc/swaps": "Filename Type Size Used Priority\n",
    "/usr/local/cuda-13.0/version.json": '{"cuda": {"version": "13.0.2"}}',
    "/usr/lib/aarch64-linux-gnu/libnvinfer.so.10.13.3": "", "/usr/lib/python3.12/dist-packages/tensorrt/__init__.py": "",
    "/usr/bin/gst-launch-1.0": "", GST: "", "/proc/900/comm": "nvargus-daemon\n",
    "/dev/video0": "", "/sys/class/video4linux/video0/name": "vi-output, imx219 9-0010", "/dev/ttyACM0": "",
    "/etc/group": GROUP.format(members="robot"), "/run/jtop.sock": "",
    "/var/lib/nvpmodel/status": "pmode:0000 fmode:quiet\n",
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
    f"{POLICY}/scaling_cur_freq": "2601000", f"{POLICY}/scaling_min_freq": "2601000", f"{POLICY}/scaling_max_freq": "2601000",
    f"{POLICY}/scaling_governor": "performance", "/sys/class/devfreq/gpu-gpc-0/cur_freq": "1575000000",
    "/sys/class/devfreq/gpu-gpc-0/min_freq": "1575000000", "/sys/class/devfreq/gpu-gpc-0/max_freq": "1575000000",
    f"{ZONE}/type": "tj-thermal", f"{ZONE}/temp": "41000",
}  # fmt: skip
DESKTOP = {
    "/sys/class/dmi/id/product_name": "Precision 3660\n",
    "/proc/cpuinfo": "".join(f"processor\t: {k}\nmodel name\t: A CPU @ 3.00GHz\ncpu MHz\t\t: {2000 + 100 * k}.5\n\n" for k in range(4)),
    "/proc/meminfo": "MemTotal:       32768000 kB\nMemAvailable:   20971520 kB\n",
    "/proc/swaps": "Filename Type Size Used Priority\n/swap.img file 8388604 0 -2\n",
    "/etc/group": GROUP.format(members=""), f"{WANTS}/ModemManager.service": "-> /lib/systemd/system/ModemManager.service",
    "/usr/lib/udev/rules.d/85-brltty.rules": "", "/proc/1/comm": "systemd\n",
}  # fmt: skip


def build(root: Path, files: dict[str, str]) -> Path:
    """Write a tree; a text that begins with "-> " is a link. Everything is closed to others, as devices are."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.unlink(missing_ok=True)
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)
            path.chmod(0o660 if name.startswith("/dev/") else 0o644)
    return root


def gid_of_files(root: Path) -> int:
    """The group files below here belong to: whoever runs the tests."""
    root.mkdir(parents=True, exist_ok=True)
    return os.stat(root).st_gid  # noqa: PTH116 - one call, as the checks see it
