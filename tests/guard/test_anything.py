"""Whatever the worker and the base say, what goes out stays inside the limits."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge_vla.guard.types import STILL, Twist
from edge_vla.guard.watch import PortHealth, Worker


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a class
@given(st.integers(0, 2**32 - 1))
def test_any_worker_and_any_base_bytes_leave_every_frame_inside_the_limits(make_bench, seed: int) -> None:
    rng = random.Random(seed)
    bench = make_bench().armed()

    def wander() -> None:
        twist = Twist(rng.choice([0.0, 0.3, 1.0, -0.4]), 0.0, rng.uniform(-2.0, 2.0))
        look = replace(bench.look(age_ms=rng.randint(0, 80)), clear_m=rng.choice([None, 0.2, 9.0]))
        bench.local.send(twist, look, ttl_ms=rng.choice([60, 150, 500]))

    def misbehave() -> None:
        wander()
        bench.line.noise = rng.randbytes(rng.randint(0, 40)) if rng.random() < 0.3 else b""
        match rng.randrange(120):
            case 0:
                bench.local.disarm()
            case 1:
                bench.local.stop()
            case 2:
                bench.local._wire.push(rng.randbytes(rng.randint(0, 200)))
            case 3:
                bench.worker = rng.choice([Worker.RUNNING, Worker.STOPPED])
            case 4:
                bench.port = rng.choice([PortHealth.OK, PortHealth.BUSY])
            case 5:
                bench.local.send(rng.choice([Twist(math.nan), Twist(1.1), Twist(0.1, 0.1)]), bench.look())
            case n if n < 30:
                bench.local.send(STILL)
                bench.local.reset(bench.status.fault_id)
                bench.local.arm()

    bench.run(1000, wander)
    bench.run(4000, misbehave)
    assert sum(twist != STILL for _, twist in bench.frames) > 40
    for (t_a, a), (t_b, b) in pairwise(bench.frames):
        assert abs(b.linear_x) <= 0.5 + 1e-4
        assert abs(b.angular_z) <= 1.0 + 2e-4 / 0.172
        if b != STILL:  # a stop may be sudden, a start may not
            dt_s = min((t_b - t_a) * 1e-9, 0.1)
            assert abs(b.linear_x - a.linear_x) <= 1.5 * dt_s + 2e-4
            assert abs(b.angular_z - a.angular_z) <= 6.0 * dt_s + 4e-4 / 0.172
