"""What a signed bundle can still get wrong is found when the engine is made, not at the first tick."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.onnx import OnnxEngine, session
from edge_vla.errors import ConfigError, EngineError

MakeEngine = Callable[..., OnnxEngine]


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["vision.onnx", "lm_step.onnx"])
def test_a_signed_file_that_is_no_graph_is_an_engine_error(make_engine_of: MakeEngine, name: str) -> None:
    with pytest.raises(EngineError, match=name):
        make_engine_of(files={name: b"not a graph"})


def rename(tensor: dict[str, Any]) -> None:
    tensor["name"] = "picture"


def reshape(tensor: dict[str, Any]) -> None:
    tensor["shape"][1] = 4


def retype(tensor: dict[str, Any]) -> None:
    tensor["dtype"] = "uint8"


@pytest.mark.parametrize(
    ("edit", "said"), [(rename, "picture float32[1, 3, "), (reshape, "image float32[1, 4, "), (retype, "image uint8[1, 3, ")]
)
def test_a_graph_that_is_not_what_its_manifest_says_is_refused(
    make_engine_of: MakeEngine, edit: Callable[[dict[str, Any]], None], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        make_engine_of(lambda manifest: edit(manifest["graphs"]["vision"]["inputs"][0]))
    assert "vision.onnx has the inputs image float32[1, 3, " in str(refused.value)
    assert f"its manifest says {said}" in str(refused.value)


def test_an_output_too_many_is_refused(make_engine_of: MakeEngine) -> None:
    with pytest.raises(ConfigError, match=r"lm_step\.onnx has the outputs .*; its manifest says .*, more float32\[1\]"):
        make_engine_of(lambda m: m["graphs"]["lm_step"]["outputs"].append({"name": "more", "dtype": "float32", "shape": [1]}))


def test_a_dynamic_axis_may_have_another_name(make_engine_of: MakeEngine) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        for tensor in manifest["graphs"]["lm_step"]["inputs"]:
            tensor["shape"] = [n if isinstance(n, int) else f"other_{n}" for n in tensor["shape"]]

    make_engine_of(edit)


def test_embeddings_that_are_a_pickle_are_not_loaded(make_engine_of: MakeEngine) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return pytest.fail, ("the pickle was run",)

    with pytest.raises(EngineError, match=r"embeddings\.npy"):
        make_engine_of(files={"embeddings.npy": npy(np.array([Bomb()], dtype=object))})


def test_embeddings_of_another_width_are_not_loaded(make_engine_of: MakeEngine) -> None:
    with pytest.raises(EngineError, match=r"embeddings\.npy: .*\(rows, 88\), got \(85, 87\)"):
        make_engine_of(files={"embeddings.npy": npy(np.eye(85, 87, dtype=np.float16))})


def test_a_tokenizer_that_is_none_is_an_engine_error(make_engine_of: MakeEngine) -> None:
    with pytest.raises(EngineError, match=r"tokenizer\.json"):
        make_engine_of(files={"tokenizer.json": b"{}"})


@pytest.mark.parametrize("threads", [1, 2])
def test_its_sessions_take_the_threads_they_are_given_and_do_not_spin(tiny: Path, threads: int) -> None:
    options = session(tiny / "vision.onnx", threads).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_closing_twice_is_no_error(tiny: Path) -> None:
    engine = OnnxEngine(Bundle(tiny))
    engine.close()
    engine.close()
