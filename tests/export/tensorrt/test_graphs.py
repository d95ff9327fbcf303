"""The graphs themselves: what goes in and comes out, where keys and values lie, what is refused. Under the doubles."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.onnx import OnnxGraphs
from edge_vla.errors import EngineError
from tests.export.tensorrt.conftest import Nvidia, pretended

Built = Callable[..., Path]
Feed = dict[str, NDArray[Any]]
HIDDEN = 88  # of the tiny bundle; its prefill has at most 11 positions, 17 are kept


def feed(new: int, past: int, seed: int = 0) -> Feed:
    """A step of random rows that attend to everything but the first position."""
    rng = np.random.default_rng((seed, new, past))
    mask = np.zeros((1, 1, new, past + new), np.float32)
    mask[..., 0] = -1e9 if past else 0
    positions = np.arange(past, past + new, dtype=np.int64)[None]
    return {"embeddings": rng.standard_normal((1, new, HIDDEN), np.float32), "positions": positions, "mask": mask}


def picture(seed: int = 0) -> Feed:
    return {"image": np.random.default_rng(seed).random((1, 3, 16, 32), np.float32)}


@pytest.fixture(params=["dynamic", "static"])
def kv(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["one memory", "two memories"])
def machine(request: pytest.FixtureRequest) -> Iterator[Nvidia]:
    with pretended(integrated=request.param) as found:
        yield found


def conversation(graphs: Any, first: int, later: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Logits of a prefill and so many steps."""
    graphs.begin()
    return [graphs.step(feed(1 if k else first, graphs.past, seed))["logits"].copy() for k in range(later + 1)]


def test_every_step_is_onnx_runtimes(tiny: Path, built: Built, machine: Nvidia, kv: str) -> None:
    """Of three conversations in a row: what the first left in a buffer is not seen by the next."""
    ours, theirs = machine.graphs(built("--kv", kv)), OnnxGraphs(Bundle(tiny))
    for first, later, seed in ((10, 6, 0), (5, 7, 1), (1, 2, 2), (11, 6, 3)):
        got, want = conversation(ours, first, later, seed), conversation(theirs, first, later, seed)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=0 if kv == "dynamic" else 1e-5, atol=0)
        assert ours.past == theirs.past == first + later
    assert max(float(np.abs(a - b).max()) for a, b in zip(conversation(ours, 5, 3, 1), conversation(ours, 5, 3, 2), strict=True)) > 1e-3


def test_vision_is_onnx_runtimes(tiny: Path, built: Built, machine: Nvidia) -> None:
    ours, theirs = machine.graphs(built()), OnnxGraphs(Bundle(tiny))
    for seed in range(4):
        got, want = ours.run("vision", picture(seed)), theirs.run("vision", picture(seed))
        assert list(got) == ["tokens", "free_distance"]
        for name, value in want.items():
            np.testing.assert_array_equal(got[name], value)


def test_what_the_host_gets_is_float32_and_keys_stay_inside(built: Built, nvidia: Nvidia) -> None:
    graphs = nvidia.graphs(built())
    graphs.begin()
    outputs = graphs.step(feed(4, 0))
    assert list(outputs) == ["logits"]
    assert outputs["logits"].dtype == np.float32
    assert graphs.past == 4
    graphs.begin()
    assert graphs.past == 0


def addresses(nvidia: Nvidia, graphs: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """What every pass of lm_step reads and writes from here on."""
    seen: list[dict[str, int]] = []
    for each in graphs.passes["lm_step"]:
        run = each.run

        def tapped(shapes: Any, kept: Any, run: Any = run) -> Any:
            seen.append(dict(kept))
            return run(shapes, kept)

        monkeypatch.setattr(each, "run", tapped)
    return seen


def test_growing_caches_change_places_at_every_step(built: Built, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = nvidia.graphs(built())
    seen = addresses(nvidia, graphs, monkeypatch)
    conversation(graphs, 5, 4)
    for now, then in itertools.pairwise(seen):
        assert (then["past_keys"], then["past_values"]) == (now["keys"], now["values"])
        assert (then["keys"], then["values"]) == (now["past_keys"], now["past_values"])
    assert all(len(set(each.values())) == 4 for each in seen)  # nothing is written where it is read
    first = seen[0]
    conversation(graphs, 5, 3)  # an odd number of steps before: it starts on the same side all the same
    assert seen[5] == first


def test_the_same_length_on_the_other_side_is_another_place(tiny: Path, built: Built, nvidia: Nvidia) -> None:
    """Six behind five and one are where six behind a prefill of six are not."""
    ours, theirs = nvidia.graphs(built()), OnnxGraphs(Bundle(tiny))
    for first, later in ((5, 2), (6, 1), (5, 2), (6, 1)):
        for a, b in zip(conversation(ours, first, later, first), conversation(theirs, first, later, first), strict=True):
            np.testing.assert_array_equal(a, b)


def test_plans_that_need_no_memory_between_layers_run(built: Built, machine: Nvidia) -> None:
    machine.gpu.scratch = 0
    graphs = machine.graphs(built())
    assert np.isfinite(graphs.run("vision", picture())["tokens"]).all()
    graphs.close()


def test_slots_stay_where_they_are(built: Built, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = nvidia.graphs(built("--kv", "static"))
    seen = addresses(nvidia, graphs, monkeypatch)
    conversation(graphs, 5, 4)
    assert all(each == seen[0] for each in seen)
    assert len(set(seen[0].values())) == 4


def test_nothing_is_allocated_after_it_has_opened(built: Built, machine: Nvidia, kv: str) -> None:
    graphs = machine.graphs(built("--kv", kv))
    before = (set(machine.memory.device), set(machine.memory.host))
    conversation(graphs, 9, 5)
    graphs.run("vision", picture())
    assert (set(machine.memory.device), set(machine.memory.host)) == before


def test_closing_gives_everything_back(built: Built, machine: Nvidia, kv: str) -> None:
    graphs = machine.graphs(built("--kv", kv))
    conversation(graphs, 9, 5)
    assert machine.memory.device
    graphs.close()
    graphs.close()
    assert not machine.memory.device
    assert not machine.memory.host
    assert not machine.cudart.HANDLES


def test_where_memory_is_one_nothing_is_copied(built: Built) -> None:
    with pretended(integrated=True) as machine:
        machine.graphs(built()).run("vision", picture())
        assert machine.gpu.copied == 0
    with pretended(integrated=False) as machine:
        graphs = machine.graphs(built())
        before = machine.gpu.copied
        graphs.run("vision", picture())
        assert machine.gpu.copied - before == 4 * (3 * 16 * 32 + 4 * HIDDEN + 4)  # the picture there, tokens and free distances back


# -- refusals


def test_a_full_cache_is_refused(built: Built, nvidia: Nvidia, kv: str) -> None:
    graphs = nvidia.graphs(built("--kv", kv, "--max-past", "14"))
    most = 15 if kv == "dynamic" else 14
    assert len(conversation(graphs, 11, most - 11)) == most - 10
    with pytest.raises(EngineError, match=f"the cache is full: {most + 1} positions; these plans keep {most}"):
        graphs.step(feed(1, graphs.past))
    assert len(conversation(graphs, 3, 2)) == 3  # and can be begun again


def test_a_prefill_that_is_too_long_is_refused(built: Built, nvidia: Nvidia, kv: str) -> None:
    graphs = nvidia.graphs(built("--kv", kv))
    graphs.begin()
    with pytest.raises(EngineError, match="12 positions at once; these plans read at most 11"):
        graphs.step(feed(12, 0))


def causal(new: int, past: int) -> Feed:
    fed = feed(new, past)
    fed["mask"] = np.where(np.arange(past + new)[None] <= np.arange(past, past + new)[:, None], np.float32(0), np.finfo(np.float32).min)[
        None, None
    ]
    return fed


def test_several_positions_behind_others_are_read_one_by_one(tiny: Path, built: Built, nvidia: Nvidia, kv: str) -> None:
    """Plans read one at a time there; where none looks ahead that makes no difference."""
    ours, theirs = nvidia.graphs(built("--kv", kv)), OnnxGraphs(Bundle(tiny))
    for graphs in (ours, theirs):
        conversation(graphs, 4, 1)
    done = nvidia.gpu.executed
    got, want = (graphs.step(causal(3, 5))["logits"].copy() for graphs in (ours, theirs))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert nvidia.gpu.executed - done == 3
    assert ours.past == theirs.past == 8
    np.testing.assert_allclose(ours.step(feed(1, 8))["logits"], theirs.step(feed(1, 8))["logits"], rtol=1e-5)


def test_several_positions_that_look_ahead_are_refused(built: Built, nvidia: Nvidia, kv: str) -> None:
    graphs = nvidia.graphs(built("--kv", kv))
    conversation(graphs, 4, 0)
    with pytest.raises(EngineError, match="2 positions behind 4 that attend to later ones; these plans read one at a time there"):
        graphs.step(feed(2, 4))
    assert graphs.past == 4


@pytest.mark.parametrize(
    ("fed", "why"),
    [
        ({"image": np.zeros((1, 3, 32, 32), np.float32)}, r"vision.plan takes image of \[1, 3, 16, 32\] to .*, got \[1, 3, 32, 32\]"),
        ({"image": np.zeros((3, 16, 32), np.float32)}, r"vision.plan takes image of .*, got \[3, 16, 32\]"),
        ({"picture": np.zeros((1, 3, 16, 32), np.float32)}, r"vision.plan wants image float32\[1, 3, 16, 32\], got picture"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(built: Built, nvidia: Nvidia, fed: Feed, why: str) -> None:
    graphs = nvidia.graphs(built())
    done = nvidia.gpu.executed
    with pytest.raises(EngineError, match=why):
        graphs.run("vision", fed)
    assert nvidia.gpu.executed == done


@pytest.mark.parametrize("output", ["tokens", "free_distance"])
def test_an_output_that_is_no_number_is_an_error(built: Built, nvidia: Nvidia, output: str) -> None:
    graphs = nvidia.graphs(built())
    nvidia.gpu.nan_output = output
    with pytest.raises(EngineError, match=f"vision.plan: output '{output}' is not finite"):
        graphs.run("vision", picture())


def test_a_key_that_is_no_number_shows_in_the_next_answer(built: Built, nvidia: Nvidia, kv: str) -> None:
    """Nobody looks at keys and values; what they do to the logits is looked at."""
    graphs = nvidia.graphs(built("--kv", kv))
    nvidia.gpu.nan_output = "values"
    with pytest.raises(EngineError, match="output 'logits' is not finite"):
        conversation(graphs, 4, 1)
    nvidia.gpu.nan_output = ""
    assert len(conversation(graphs, 4, 3)) == 4  # it does not stay in the buffers


def test_a_pass_that_fails_is_an_error_and_the_next_one_works(built: Built, nvidia: Nvidia) -> None:
    graphs = nvidia.graphs(built("--no-cuda-graphs"))
    nvidia.gpu.execute_fails = True
    with pytest.raises(EngineError, match=r"vision\.plan failed: the double was told to fail"):
        graphs.run("vision", picture())
    nvidia.gpu.execute_fails = False
    assert np.isfinite(graphs.run("vision", picture())["tokens"]).all()
