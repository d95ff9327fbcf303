"""The machine, its user and the robot in question, as the checks see them. A test builds one on a folder of its own."""

from __future__ import annotations

import getpass
import os
import resource
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from edge_vla.config import RobotProfile, load_profile, profile_file
from edge_vla.errors import ConfigError
from edge_vla.machine.board import Board, read_board
from edge_vla.machine.tree import ROOT, Tree

ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Host:
    """Everything a check may look at."""

    tree: Tree
    board: Board
    user: str
    uid: int
    groups: frozenset[int]  # of this process: a group somebody joined a minute ago is not among them
    python: tuple[int, int]
    realtime: int  # the highest SCHED_FIFO priority this process may have, 0 for none
    disk_free: int  # bytes where runs are recorded
    engine: str = "engines/default"
    profile: RobotProfile | None = field(default_factory=RobotProfile)
    profile_path: Path | None = None  # None: built in
    profile_error: str = ""

    @property
    def simulated(self) -> bool:
        """No real robot is configured."""
        return self.profile is not None and self.profile.simulated

    @property
    def has_robot(self) -> bool:
        """What only a robot's computer needs matters here: a Jetson, or a profile of a real robot."""
        return self.board.is_jetson or not self.simulated

    def serial_ports(self) -> list[str]:
        """Device paths a base may hang on, as the machine names them."""
        kinds = ("ttyUSB*", "ttyACM*", "ttyTHS*", "ttyAMA*")
        return [f"/dev/{path.name}" for kind in kinds for path in self.tree.glob(f"/dev/{kind}")]

    def may_use(self, device: str) -> bool:
        """Read and write, by owner, group and mode; by the kernel's word where an access list decides."""
        path = self.tree.path(device)
        try:
            found = path.stat()
            if ACL in os.listxattr(path):
                return os.access(path, os.R_OK | os.W_OK)
        except OSError:
            return False
        if self.uid == 0:
            return True
        if found.st_uid == self.uid:
            return found.st_mode & 0o600 == 0o600
        if found.st_gid in self.groups:
            return found.st_mode & 0o060 == 0o060
        return found.st_mode & 0o006 == 0o006

    def group_of(self, device: str) -> str:
        """The name of the group a device belongs to."""
        gid = self.tree.path(device).stat().st_gid
        return next((name for name, number, _ in self._all_groups() if number == gid), str(gid))

    def joined(self, group: str) -> bool:
        """Whether the user is in that group as of the next login."""
        return any(name == group and self.user in members for name, _, members in self._all_groups())

    def _all_groups(self) -> list[tuple[str, int, list[str]]]:
        rows = [line.split(":") for line in (self.tree.text("/etc/group") or "").splitlines()]
        return [(row[0], int(row[2]), row[3].split(",")) for row in rows if len(row) == 4 and row[2].isdigit()]


def this_host(engine: str, robot: Path | None, root: Path = ROOT) -> Host:
    """The machine this runs on; with another `root` its files, judged for the user who asks."""
    tree = Tree(root)
    profile: RobotProfile | None = None
    error, path = "", robot
    try:
        path = robot or profile_file()
        profile = load_profile(path)
    except ConfigError as err:
        error = str(err)
    return Host(
        tree, read_board(tree), getpass.getuser(), os.getuid(), frozenset({os.getgid(), *os.getgroups()}),
        (sys.version_info[0], sys.version_info[1]), _realtime(), shutil.disk_usage(Path.cwd()).free, engine, profile, path, error,
    )  # fmt: skip


def _realtime() -> int:
    """By trying: a limit may allow what a container then forbids."""
    most = 99 if os.geteuid() == 0 else resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    for priority in sorted({min(most, 99), min(most, 10), 1}, reverse=True):
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        except (OSError, ValueError):
            continue
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return priority
    return 0
