"""What a plan is made of: folders as they lie on disk, and one clear error for each that is not what it says."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_vla.errors import ConfigError
from edge_vla.layout import History
from export.files.headers import stored
from export.planning.policy_shapes import Policy
from export.planning.subject import clip_tower, find_subject
from tests.learn.backbones.conftest import write_kosmos  # noqa: F401 - a fixture
from tests.learn.backbones.tiny_moondream import write_moondream

POLICY: dict[str, Any] = {
    "robovlm_name": "RoboKosMos", "vlm": {"pretrained_model_name_or_path": "vlm"}, "window_size": 5, "fwd_pred_next_n": 4,
    "act_head": {"type": "GPTDecoder", "hidden_size": 16, "latent": 2, "action_dim": 3, "action_space": "continuous"},
}  # fmt: skip


@pytest.fixture
def policy(write_kosmos: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:  # noqa: F811
    """policy(**changes): a folder as the trainer writes it, but for the weights that a plan does not read."""
    write_kosmos(tmp_path / "vlm")

    def write(**changes: Any) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(POLICY | changes))
        return tmp_path

    return write


def test_a_policys_folder_says_head_window_and_latents(policy: Callable[..., Path]) -> None:
    subject = find_subject(str(policy()))
    assert subject.model is not None
    assert subject.load.policy == Policy("GPTDecoder", 32, 16, 4, 2, 5, 4, 3)
    assert subject.load.prefill(subject.model) == 4 + 16 + 2
    assert (subject.load.history, subject.load.pictures, subject.load.resampled) == (History.POST, 1, False)


def test_a_policys_cameras_history_and_resampler(policy: Callable[..., Path]) -> None:
    head = POLICY["act_head"] | {"history_type": "pre"}
    load = find_subject(str(policy(use_hand_rgb=True, use_vision_resampler=True, act_head=head))).load
    assert (load.history, load.pictures, load.resampled) == (History.PRE, 2, True)


def test_without_act_tokens_the_sequence_has_none(policy: Callable[..., Path]) -> None:
    subject = find_subject(str(policy(act_head=POLICY["act_head"] | {"action_space": "down_sample"})))
    assert subject.model is not None
    assert subject.load.prefill(subject.model) == 4 + 16


def test_a_configuration_without_a_head_is_its_backbone(policy: Callable[..., Path]) -> None:
    assert find_subject(str(policy(act_head=None))).load.policy is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vlm": {}}, r"vlm\.pretrained_model_name_or_path None: want the backbone's folder"),
        ({"vlm": {"pretrained_model_name_or_path": "gone"}}, r"gone.config\.json: No such file"),
        ({"act_head": {"type": "LSTMDecoder"}}, "act_head has no action_dim"),
        ({"act_head": {"type": "Decoder", "action_dim": 3}}, r"act_head\.type 'Decoder'"),
        ({"window_size": 0}, r"window_size 0: want a whole number of at least 1"),
    ],
)
def test_a_policys_folder_that_says_nothing_usable(policy: Callable[..., Path], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_subject(str(policy(**changes)))


def test_names_in_any_case_and_beginnings_that_only_one_has() -> None:
    assert find_subject("kosmos-2").name == "KosMos-2"
    assert find_subject("PaliGemma 3b").name == "PaliGemma 3B pt-224"
    with pytest.raises(ConfigError, match="which of PaliGemma 3B pt-224; PaliGemma 2 3B"):
        find_subject("PaliGemma")
    with pytest.raises(ConfigError, match="no such folder, and none of"):
        find_subject("MPT-7B-preview")
    with pytest.raises(ConfigError, match="did you mean 'KosMos-2'"):
        find_subject("CosMos-2")


def test_folders_that_are_none(tmp_path: Path) -> None:
    for named in (str(tmp_path), str(tmp_path / "gone")):
        with pytest.raises(ConfigError, match=r"no folder with a config\.json \(a model\) or a manifest\.json \(a bundle\)"):
            find_subject(named)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="holds a list, want an object"):
        find_subject(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        find_subject(str(tmp_path))


def test_weights_of_another_model_are_refused(write_kosmos: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    folder = write_kosmos(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"its safetensors hold [\d,]+ weights, its config\.json describes [\d,]+; one of the two"):
        find_subject(str(folder))


def test_packed_weights_count_as_what_they_stand_for(tmp_path: Path) -> None:
    """Moondream's int4: two to a byte, a scale and a zero point for 128."""
    tensors = {
        "a.weight.packed": np.zeros((3, 128), np.uint8), "a.weight.scale": np.zeros((6, 1), np.float16),
        "a.weight.zero_point": np.zeros((6, 1), np.float16), "a.bias": np.zeros(6, np.float16),
    }  # fmt: skip
    save_file(tensors, tmp_path / "model.safetensors")
    found = stored(tmp_path)
    assert found is not None
    assert (found.parameters, found.nbytes) == (2 * 3 * 128 + 6, 3 * 128 + 3 * 12)


def test_a_moondream_without_weights_or_with_others(tmp_path: Path) -> None:
    write_moondream(tmp_path, "C")
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="not of a Moondream"):
        find_subject(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="only its safetensors tell"):
        find_subject(str(tmp_path))


def test_a_tower_by_its_weights_or_by_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"hidden_size": 128, "patch_size": 8, "image_size": 64}}))
    tower = clip_tower(tmp_path)
    assert (tower.width, tower.inner, tower.layers, tower.patch, tower.px) == (128, 3072, 12, 8, 64)
    save_file({"vision_model.embeddings.class_embedding": np.zeros(4, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"not the weights of a CLIP image tower, lacks 'embeddings\.patch_embedding\.weight'"):
        clip_tower(tmp_path)


def header(entries: object, body: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a whole safetensors file"), (b"\x05\x00", "not a whole safetensors file"),
        (struct.pack("<Q", 2**60) + b"{}", "not a whole safetensors file"),
        (struct.pack("<Q", 2) + b"{]", "its header is not one of safetensors"),
        (header([]), "its header is not one of safetensors"), (header({"a": {"shape": [2]}}), "its header is not one of safetensors"),
        (header({"a": {"shape": [2], "dtype": "F32", "data_offsets": [0, 8]}}, b"1234567"), "its header wants"),
        (header({"a": {"shape": ["x"], "dtype": "F32", "data_offsets": [0, 8]}}, b"12345678"), "its header is not one of safetensors"),
    ],
)  # fmt: skip
def test_a_damaged_file_of_weights(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        stored(tmp_path)


def test_shards_that_are_missing_or_not_listed(tmp_path: Path) -> None:
    assert stored(tmp_path) is None
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    save_file({"a": np.zeros((2, 3), np.float32)}, tmp_path / "one.safetensors")
    with pytest.raises(ConfigError, match=r"1 of 2 shards are missing: two\.safetensors"):
        stored(tmp_path)
    save_file({"b": np.zeros(5, np.float16)}, tmp_path / "two.safetensors")
    found = stored(tmp_path)
    assert found is not None
    assert (dict(found.shapes), found.nbytes) == ({"a": (2, 3), "b": (5,)}, 34)
    index.write_text(json.dumps({"weight_map": {"a": "../one.safetensors"}}))
    with pytest.raises(ConfigError, match="has to name files of its own folder"):
        stored(tmp_path)
    index.write_text(json.dumps({"weight_map": [1]}))
    with pytest.raises(ConfigError, match="not an index of shards"):
        stored(tmp_path)
