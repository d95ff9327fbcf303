"""Room to work in: memory, swap, disk."""

from __future__ import annotations

import re

from edge_vla.doctor.finding import Finding, check, fail, ok, warn
from edge_vla.doctor.host import Host
from edge_vla.machine.board import memory_kib

GIB = 2**30
SMALL_GIB = 17  # a Jetson of 16 GB or less: the build of an engine needs several times its weights
SWAP_GIB = 4
MAKE_SWAP = (
    "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile && "
    "echo '/swapfile none swap sw 0 0' | sudo tee -a /etc/fstab"
)


@check("memory")
def memory(host: Host) -> Finding:
    kib = memory_kib(host.tree, "MemAvailable")
    if kib is None:
        return ok("the kernel does not say")
    told = f"{kib / 2**20:.1f} of {host.board.memory_gib:g} GiB available"
    if kib >= 2**20:
        return ok(told)
    fix = "ps aux --sort=-rss | head"
    if host.board.is_jetson:
        fix = "sudo systemctl set-default multi-user.target && sudo reboot  # without a desktop; or look: ps aux --sort=-rss | head"
    return (warn if kib >= 2**19 else fail)(told, fix)


@check("swap")
def swap(host: Host) -> Finding:
    rows = [line.split() for line in (host.tree.text("/proc/swaps") or "").splitlines()[1:]]
    sizes = [(row[0], int(row[2]) / 2**20) for row in rows if len(row) >= 3 and row[2].isdigit()]
    on_disk = sum(gib for name, gib in sizes if not re.search(r"zram", name))
    told = f"{on_disk:.1f} GiB on disk, {sum(gib for _, gib in sizes) - on_disk:.1f} GiB compressed memory" if sizes else "none"
    if host.board.is_jetson and host.board.memory_gib < SMALL_GIB and on_disk < SWAP_GIB:
        return warn(f"{told}: building an engine may be killed", MAKE_SWAP)
    return ok(told)


@check("disk")
def disk(host: Host) -> Finding:
    told = f"{host.disk_free / GIB:.1f} GiB free here"
    if host.disk_free >= 5 * GIB:
        return ok(told)
    return (warn if host.disk_free >= GIB // 2 else fail)(
        f"{told}; recordings and engines go here", "du -xh --max-depth=2 . | sort -h | tail"
    )
