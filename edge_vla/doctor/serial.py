"""The serial line to the base: is it there, may it be opened, who else wants it."""

from __future__ import annotations

from pathlib import Path

from edge_vla.doctor.cameras import joining
from edge_vla.doctor.finding import Finding, check, fail, ok, warn
from edge_vla.doctor.host import Host

UNITS = "/etc/systemd/system/multi-user.target.wants"
BRLTTY_RULES = ("/usr/lib/udev/rules.d/*brltty*.rules", "/lib/udev/rules.d/*brltty*.rules", "/etc/udev/rules.d/*brltty*.rules")


@check("serial ports")
def serial_ports(host: Host) -> Finding:
    ports = host.serial_ports()
    if not ports:
        if not host.has_robot:
            return ok("none; the simulator brings its own")
        return warn("no ttyUSB, ttyACM, ttyTHS or ttyAMA", "plug in the base, then: ls -l /dev/serial/by-id; sudo dmesg | grep tty | tail")
    links = {path.readlink().name: f"/dev/serial/by-id/{path.name}" for path in host.tree.glob("/dev/serial/by-id/*") if path.is_symlink()}
    told = ", ".join(f"{links[port.removeprefix('/dev/')]} -> {port}" if port.removeprefix("/dev/") in links else port for port in ports)
    usb = [port for port in ports if port.startswith(("/dev/ttyUSB", "/dev/ttyACM"))]
    if len(usb) > 1 and not links:
        return warn(
            f"{told}: numbers change at the next boot, and nothing in /dev/serial/by-id", "sudo udevadm trigger --subsystem-match=tty"
        )
    return ok(told)


@check("serial permission")
def serial_permission(host: Host) -> Finding:
    ports = host.serial_ports()
    closed = [port for port in ports if not host.may_use(port)]
    if not closed:
        return ok(f"{host.user} may open {', '.join(ports)}" if ports else "no port to open")
    level = fail if not host.simulated else warn
    return level(f"{host.user} may not open {', '.join(closed)}", joining(host, host.group_of(closed[0])))


@check("serial busy")
def serial_busy(host: Host) -> Finding:
    ports = set(host.serial_ports())
    holders = [(pid, port) for pid, port in _open_files(host) if port in ports]
    told = ", ".join(f"{port} by {_name(host, pid)} (process {pid})" for pid, port in holders)
    if any("edge_vla.guard" in (host.tree.text(f"/proc/{pid}/cmdline") or "") for pid, _ in holders):
        return ok(f"in use by a run: {told}")
    if holders:
        return warn(f"in use: {told}", f"sudo kill {' '.join(dict.fromkeys(pid for pid, _ in holders))}")
    return ok("free" if host.uid == 0 else f"free, as far as {host.user} can see")


@check("modemmanager")
def modemmanager(host: Host) -> Finding:
    enabled = host.tree.exists(f"{UNITS}/ModemManager.service")
    if enabled and _matters(host):
        return warn("ModemManager talks to every new serial port for seconds", "sudo systemctl disable --now ModemManager")
    return ok("enabled, but there is no serial port to disturb" if enabled else "not enabled")


@check("brltty")
def brltty(host: Host) -> Finding:
    rules = [path for pattern in BRLTTY_RULES for path in host.tree.glob(pattern)]
    if rules and _matters(host):
        return warn("brltty takes CH340 and CP210x adapters away from their port", "sudo apt-get remove -y brltty")
    return ok("installed, but there is no serial port to take" if rules else "not installed")


@check("serial console")
def serial_console(host: Host) -> Finding:
    if not host.board.is_jetson:
        return ok("not a Jetson")
    if host.tree.exists(f"{UNITS}/nvgetty.service"):
        return warn("nvgetty holds a login on the header's UART", "sudo systemctl disable --now nvgetty && sudo udevadm trigger")
    return ok("no login on the header's UART")


def _matters(host: Host) -> bool:
    return host.has_robot or bool(host.serial_ports())


def _open_files(host: Host) -> list[tuple[str, str]]:
    """(pid, path) of every open file of the processes this user may look into."""
    return [(link.parts[-3], target) for link in host.tree.glob("/proc/[0-9]*/fd/*") if (target := _target(link))]


def _target(link: Path) -> str:
    """Where a link points; "" for one that went away meanwhile, or belongs to somebody else."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _name(host: Host, pid: str) -> str:
    return host.tree.text(f"/proc/{pid}/comm") or "unknown"
