"""The datagrams: exact bytes, every refusal with its reason, and no byte string that raises anything else."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.guard.link import STATUS_BYTES, Command, Count, Gate, Kind, Refused, Status, pack_counts
from edge_vla.guard.state import FaultCode, GuardState, Refusal, StopCause
from edge_vla.guard.types import Hazard, Pose, Twist

COMMAND = Command(
    session=0x1122334455667788, seq=9, kind=Kind.COMMAND, twist=Twist(0.25, 0.0, -0.5), t_issue_ns=1_000, ttl_ms=150,
    t_capture_ns=900, evidence_deadline_ns=5_000, max_turn_rad=1.5, max_travel_m=0.75, clear_m=2.0, fault_id=3,
)  # fmt: skip
GOLDEN = (
    "45564743" "0200" "01" "01" "8877665544332211" "0900000000000000"
    "000000000000d03f" "0000000000000000" "000000000000e0bf" "e803000000000000" "96000000"
    "8403000000000000" "8813000000000000" "000000000000f83f" "000000000000e83f" "0000000000000040" "03000000"
)  # fmt: skip
floats = st.floats(allow_nan=False)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
uint32 = st.integers(0, (1 << 32) - 1)
uint64 = st.integers(0, (1 << 64) - 1)
twists = st.builds(Twist, floats, floats, floats)
commands = st.builds(
    Command, uint64, uint64, st.sampled_from(Kind), twists, int64, uint32, int64, int64, floats, floats, st.none() | floats, uint32
)
poses = st.builds(Pose, int64, floats, floats, floats)
statuses = st.builds(
    Status, session=uint64, t_ns=int64, state=st.sampled_from(GuardState), fault=st.sampled_from(FaultCode), fault_id=uint32,
    cause=st.sampled_from(StopCause), refusal=st.sampled_from(Refusal), last_seq=uint64, applied=twists,
    measured=st.none() | twists, hazards=st.integers(0, 31).map(Hazard), battery_v=st.none() | floats, still=st.booleans(),
    held=st.booleans(),
    poses=st.lists(poses, max_size=16).map(tuple), counts=st.tuples(*[uint32] * len(Count)),
)  # fmt: skip


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def reason(data: bytes) -> Count:
    with pytest.raises(Refused) as caught:
        Gate(COMMAND.session).admit(data)
    return caught.value.count


def test_a_command_is_these_bytes() -> None:
    assert COMMAND.pack() == sealed(bytes.fromhex(GOLDEN))
    assert Command.unpack(COMMAND.pack()) == COMMAND


@given(commands)
def test_commands_round_trip(command: Command) -> None:
    assert Command.unpack(command.pack()) == command


@given(statuses)
def test_statuses_round_trip_at_one_size(status: Status) -> None:
    assert len(status.pack()) == STATUS_BYTES
    assert Status.unpack(status.pack()) == status


def test_a_nan_crosses_the_link_so_that_the_guard_can_judge_it() -> None:
    assert math.isnan(Command.unpack(replace(COMMAND, twist=Twist(math.nan)).pack()).twist.linear_x)


def test_no_clear_distance_is_a_flag_not_a_number() -> None:
    assert Command.unpack(replace(COMMAND, clear_m=None).pack()).clear_m is None
    assert Command.unpack(replace(COMMAND, clear_m=0.0).pack()).clear_m == 0.0


def test_only_the_newest_sixteen_poses_travel() -> None:
    many = tuple(Pose(t, 0.0, 0.0, 0.0) for t in range(20))
    assert Status.unpack(Status(1, 2, GuardState.BOOT, poses=many).pack()).poses == many[4:]


def test_tally_names_what_was_counted() -> None:
    counts = [0] * len(Count)
    counts[Count.REJECT_CRC] = 2
    assert Status(1, 2, GuardState.BOOT, counts=tuple(counts)).tally == {"reject_crc": 2}


def test_counters_stick_at_the_top() -> None:
    assert pack_counts([0, 1 << 32, (1 << 32) - 1]) == (0, (1 << 32) - 1, (1 << 32) - 1)


def test_the_codes_on_the_wire_do_not_move() -> None:
    """A worker and a guard of two releases must not take one fault for another: a new meaning gets a new number or a new VERSION."""
    wire = {kind.__name__: [member.name for member in kind] for kind in (GuardState, FaultCode, StopCause, Refusal, Kind)}
    assert wire == {
        "GuardState": ["BOOT", "DISARMED", "ARMED_IDLE", "MOVING", "SOFT_STOP", "FAULT_LATCHED", "ESTOP_LATCHED"],
        "FaultCode": [
            "NONE", "OPERATOR_STOP", "WORKER_DEAD", "WORKER_STOPPED", "PORT_LOST", "WRITE_STALLED", "FEEDBACK_GAP", "FEEDBACK_CONTRADICTS",
            "BASE_REBOOT", "TICK_OVERRUN", "SOFT_STOPS", "INVALID_COMMANDS", "SELF_CHECK", "TERMINATED", "WORKER_FAULT",
            "BUMPER", "CLIFF", "WHEEL_DROP", "OVER_CURRENT", "BASE_TRIPPED", "FEEDBACK_FROZEN", "LOW_BATTERY",
        ],
        "StopCause": ["NONE", "TTL", "EVIDENCE", "INVALID", "BATTERY", "OVER_CURRENT", "DEADMAN"],
        "Refusal": [
            "NONE", "WRONG_STATE", "NOT_STILL", "NO_FEEDBACK", "VELOCITY_REQUESTED", "WRONG_FAULT_ID", "TRIGGER_RECENT", "LOW_BATTERY",
            "HAZARD", "DEADMAN",
        ],
        "Kind": ["COMMAND", "ARM", "DISARM", "STOP", "RESET", "BYE", "FAULT"],
    }  # fmt: skip
    for kind, first in ((GuardState, 0), (FaultCode, 0), (StopCause, 0), (Refusal, 0), (Kind, 1), (Count, 0)):
        assert [int(member) for member in kind] == list(range(first, first + len(kind)))


# -- refusals, each by its own name


@pytest.mark.parametrize("data", [b"", b"EVGC", b"EVGS" + COMMAND.pack()[4:], COMMAND.pack()[:-1], COMMAND.pack() + b"\0", bytes(2048)])
def test_wrong_magic_or_length(data: bytes) -> None:
    assert reason(data) is Count.REJECT_MALFORMED


def test_wrong_version_is_named_even_at_another_length() -> None:
    assert reason(sealed(b"EVGC\x01\x00" + bytes(200))) is Count.REJECT_VERSION


@pytest.mark.parametrize("bit", [0, 7, 8 * 10, 8 * 50 + 3])
def test_a_flipped_bit(bit: int) -> None:
    data = bytearray(COMMAND.pack())
    data[6 + bit // 8] ^= 1 << bit % 8
    assert reason(bytes(data)) is Count.REJECT_CRC


@pytest.mark.parametrize(("offset", "value"), [(6, 0), (6, 8), (6, 255), (7, 2), (7, 0x81)])
def test_unknown_kind_or_flag(offset: int, value: int) -> None:
    body = bytearray.fromhex(GOLDEN)
    body[offset] = value
    assert reason(sealed(bytes(body))) is Count.REJECT_MALFORMED


def test_another_session() -> None:
    assert reason(replace(COMMAND, session=1).pack()) is Count.REJECT_SESSION


def test_each_seq_is_admitted_once_and_in_order() -> None:
    gate = Gate(COMMAND.session)
    assert gate.admit(COMMAND.pack()) == COMMAND
    for seq in (9, 8, 0):
        with pytest.raises(Refused) as caught:
            gate.admit(replace(COMMAND, seq=seq).pack())
        assert caught.value.count is Count.REJECT_SEQ
    gate.admit(replace(COMMAND, seq=100).pack())
    assert gate.last_seq == 100


def test_a_stop_is_admitted_whatever_its_seq_and_renews_none() -> None:
    gate = Gate(COMMAND.session)
    gate.admit(replace(COMMAND, seq=50).pack())
    gate.admit(replace(COMMAND, seq=1, kind=Kind.STOP).pack())
    assert gate.last_seq == 50


@pytest.mark.parametrize(("offset", "value"), [(6, 7), (7, 99), (8, 7), (9, 10), (11, 32), (12, 17)])
def test_a_status_with_an_unknown_code_or_too_many_poses(offset: int, value: int) -> None:
    body = bytearray(Status(1, 2, GuardState.BOOT).pack()[:-4])
    body[offset] = value
    with pytest.raises(Refused):
        Status.unpack(sealed(bytes(body)))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    for unpack in (Command.unpack, Status.unpack):
        with pytest.raises(Refused):
            unpack(data)


@given(st.binary(min_size=len(GOLDEN) // 2 - 6, max_size=len(GOLDEN) // 2 - 6))
def test_any_well_sealed_command_is_read_or_refused(body: bytes) -> None:
    data = sealed(b"EVGC\x02\x00" + body)
    kind, flags = body[0], body[1]
    if 1 <= kind <= len(Kind) and flags in (0, 1):
        assert Command.unpack(data).kind == kind
    else:
        assert reason(data) is Count.REJECT_MALFORMED
