"""The robot profile and the engine: do they load, do they fit, does the engine say what it said at export?"""

from __future__ import annotations

from edge_vla import places
from edge_vla.doctor.finding import Finding, check, fail, ok, warn
from edge_vla.doctor.host import Host
from edge_vla.doctor.python import PIP
from edge_vla.errors import ConfigError, EdgeVLAError, EngineError
from edge_vla.opening import find_engine, open_engine
from edge_vla.parts import make_base, verify_engine

DEFAULT = "engines/default"


@check("robot profile")
def robot_profile(host: Host) -> Finding:
    where = host.profile_path or "built in"
    if host.profile is None:
        return fail(host.profile_error, f"edit {where}; launch/waveshare_ugv.toml is an example")
    base = host.profile.base
    try:
        make_base(base)
    except ConfigError as err:
        return fail(f"{where}: {err}", f"edit base.kind or base.options in {where}")
    if host.simulated:
        return ok(f"simulated: {host.profile.robot.name}, {where}")
    if not host.tree.exists(base.port):
        there = ", ".join(host.serial_ports()) or "none"
        return fail(f"{where}: base.port {base.port} is not there; there is {there}", f"edit base.port in {where}, or plug in the base")
    return ok(f"{host.profile.robot.name}, {where}: {base.kind} on {base.port}")


@check("engine")
def engine(host: Host) -> Finding:
    if host.profile is None:
        return warn(f"{host.engine}: not tried without a robot profile", "see robot profile")
    ours = host.engine == DEFAULT and (places.HOME / ".git").exists()
    restore = f"git -C {places.HOME} checkout -- {DEFAULT}" if ours else "export it again, or name another bundle with --engine"
    try:
        folder = find_engine(host.engine)
        opened = open_engine(folder, host.profile, allow_domain=True)
    except ConfigError as err:
        needs = f"{PIP} install 'edge_vla[cpu]'" if "edge_vla[cpu]" in str(err) else restore
        return fail(str(err), needs)
    try:
        manifest = getattr(opened, "manifest", None)
        told = f"{host.engine} ({manifest.precision}, {manifest.domain})" if manifest else host.engine
        agree = verify_engine(opened, folder)
    except EngineError as err:
        return fail(str(err), restore)
    except EdgeVLAError as err:
        return warn(f"{host.engine} loads, but: {err}", "export it again, which adds reference answers")
    finally:
        opened.close()
    domain = host.profile.robot.domain
    if manifest and manifest.domain != domain:
        return warn(f"{told} answers, but this robot is {domain!r}: a run refuses it", "name another bundle with --engine")
    return ok(f"{told}: {agree} of {agree} answers as at export")
