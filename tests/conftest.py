"""What holds for every test: reproducible hypothesis in CI, and no skip that nobody has agreed to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A reason a test may be skipped for in CI, as it starts. Anything else skipped there fails the run.
AGREED_SKIPS: tuple[str, ...] = ()

settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[1]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    reasons = [
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in reporter.getreports("skipped") if isinstance(report.longrepr, tuple)
    ]
    unagreed = sorted({reason for reason in reasons if not reason.startswith(AGREED_SKIPS)})
    if unagreed and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"\nskipped for reasons not in AGREED_SKIPS (tests/conftest.py): {unagreed}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
