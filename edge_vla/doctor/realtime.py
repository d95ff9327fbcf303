"""May the guard and the 30 Hz loop come before everything else?"""

from __future__ import annotations

from edge_vla.doctor.finding import Finding, check, ok, warn
from edge_vla.doctor.host import Host
from edge_vla.guard.system import FIFO_PRIORITY

LIMITS = "/etc/security/limits.d/90-edge_vla.conf"


@check("real time")
def real_time(host: Host) -> Finding:
    if host.realtime >= FIFO_PRIORITY:
        return ok(f"SCHED_FIFO up to {host.realtime}")
    told = f"SCHED_FIFO up to {host.realtime}" if host.realtime else "no SCHED_FIFO"
    if host.tree.exists("/.dockerenv"):
        return warn(f"{told}: in a container that has to be allowed", "docker run --cap-add SYS_NICE --ulimit rtprio=20 ...")
    lines = r"@dialout - rtprio 20\n@dialout - memlock unlimited\n"
    return warn(f"{told}: ticks are late while other work runs", f"printf '{lines}' | sudo tee {LIMITS}, then log out and in")
