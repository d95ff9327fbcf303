"""How fast the machine may be: power mode, clocks, heat, and the gauge that reads them."""

from __future__ import annotations

from importlib import util

from edge_vla.doctor.finding import Finding, check, ok, warn
from edge_vla.doctor.host import Host
from edge_vla.machine.jetson_stats import INSTALL, NOT_A_JETSON
from edge_vla.machine.power import read_clocks, read_heat, read_power_mode, read_throttle_events


@check("power mode")
def power_mode(host: Host) -> Finding:
    if not host.board.is_jetson:
        return ok(NOT_A_JETSON)
    mode = read_power_mode(host.tree)
    if mode is None:
        return warn("nvpmodel has never said in which mode it is", "sudo nvpmodel -q")
    number, fastest = mode.fastest
    if mode.number != number:
        return warn(f"{mode.name}; the fastest is {fastest}", f"sudo nvpmodel -m {number}")
    return ok(mode.name)


@check("clocks")
def clocks(host: Host) -> Finding:
    found = read_clocks(host.tree)
    cpu = "" if found.cpu_mhz is None else f"CPU {found.cpu_mhz} MHz" + (f" of {found.cpu_most_mhz}" if found.cpu_most_mhz else "")
    gpu = "" if found.gpu_mhz is None else f"GPU {found.gpu_mhz} MHz"
    told = ", ".join(filter(None, (cpu, gpu, found.governor))) or "the kernel does not say"
    if host.board.is_jetson and found.locked is False:
        return warn(f"{told}: free to fall, so the first answers after a pause are slow", "sudo jetson_clocks")
    return ok(told)


@check("heat")
def heat(host: Host) -> Finding:
    found, events = read_heat(host.tree), read_throttle_events(host.tree)
    if found is None:
        return ok("no thermal zone answers")
    told = f"{found.zone} {found.celsius:g} °C" + (f", throttled {events} times since it was switched on" if events else "")
    if found.throttles:
        fan = "sudo jetson_clocks --fan" if host.board.is_jetson else "watch -n 1 cat /sys/class/thermal/thermal_zone*/temp"
        return warn(f"{told}: hot enough for lower clocks", f"{fan}  # and see to the cooling")
    return ok(told)


@check("jetson-stats")
def jetson_stats(host: Host) -> Finding:
    if not host.board.is_jetson:
        return ok(NOT_A_JETSON)
    if util.find_spec("jtop") is None:
        return warn("not installed: no power and temperature in benchmarks", INSTALL)
    if not host.tree.exists("/run/jtop.sock"):
        return warn("its service does not run", "sudo systemctl restart jtop")
    return ok("its service runs")
