"""The registry of checks: each told once and in its place, none able to hide the others."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from edge_vla.doctor.checks import FILES, examine
from edge_vla.doctor.finding import CHECKS, Finding, Level, check, fail, ok, warn
from edge_vla.doctor.host import Host
from tests.doctor.machines import GROUP

Found = Callable[..., Finding]
MakeHost = Callable[..., Host]


def test_checks_are_told_file_by_file(make_host: MakeHost) -> None:
    names = [name for name, _ in examine(make_host("desktop", engine="engines/none"))]
    assert names == [name for file in FILES for name, function in CHECKS.items() if function.__module__ == file.__name__]
    assert len(names) == len(CHECKS)


def test_a_check_that_breaks_is_a_line_and_the_others_are_told(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(host: Host) -> Finding:
        return ok(str(1 // (host.uid * 0)))

    monkeypatch.setitem(CHECKS, "swap", broken)
    broken.__module__ = "edge_vla.doctor.space"
    told = dict(examine(make_host("desktop", engine="engines/none")))
    assert told["swap"].level is Level.FAIL
    assert told["swap"].text.startswith("the check itself broke: ZeroDivisionError")
    assert len(told) == len(CHECKS)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="two checks are called 'swap'"):
        check("swap")(lambda _host: ok("x"))


@pytest.mark.parametrize("make", [lambda: warn("x", ""), lambda: fail("x", ""), lambda: Finding(Level.OK, "x", "do something")])
def test_what_is_not_ok_has_a_fix(make: Callable[[], Finding]) -> None:
    with pytest.raises(ValueError, match="has a fix"):
        make()


def test_groups_are_read_as_they_stand(make_host: MakeHost) -> None:
    host = make_host("orin", {"/etc/group": GROUP.format(members="a,robot") + "broken\nempty:x::\n"})
    assert (host.joined("dialout"), host.joined("root"), host.joined("none")) == (True, False, False)
    assert os.getgid() in {host.tree.path("/etc/group").stat().st_gid, *os.getgroups()}
