"""What Moondream is asked and answers: prompts of every release, words, places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.moondream import RoboMoonDream
from edge_vla.learn.backbones.moondream_layout import RegionShape
from edge_vla.learn.backbones.moondream_region import RegionModel
from edge_vla.learn.speaker import answer_ids
from tests.learn.backbones.tiny_moondream import CROP, END, PATCH, REGION, weights, write_moondream

RGB = (np.random.default_rng(0).random((60, 70, 3)) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("moondream")
    for layout in "BCD":
        write_moondream(root / layout, layout)
    return {layout: root / layout for layout in "BCD"}


def speaker(folder: Path, **vlm: str) -> RoboMoonDream:
    return RoboMoonDream({"vlm": {"pretrained_model_name_or_path": str(folder), **vlm}}).eval()


@pytest.mark.parametrize(
    ("layout", "revision", "before", "after"),
    [
        ("B", "2024-03-06", END + "<image>", "</image>\n\nQuestion: where is it?\n\nAnswer: "),
        ("B", "2024-03-13", END, "\n\nQuestion: where is it?\n\nAnswer:"),
        ("B", "", END, "\n\nQuestion: where is it?\n\nAnswer:"),
        ("C", "2024-08-26", END, "\n\nQuestion: where is it?\n\nAnswer:"),
    ],
)
def test_questions_of_b_and_c_are_those_of_their_code(
    folders: dict[str, Path], layout: str, revision: str, before: str, after: str
) -> None:
    model = speaker(folders[layout], revision=revision)
    ids, lead = model.question_ids("where is it?"), model.question_lead()
    assert [model.tokenizer.decode(part) for part in (ids[:lead], ids[lead:])] == [before, after]
    assert model.tokenizer.decode(model.tokenizer(model.instruction.format(text="go")).input_ids) == "<|endoftext|>go"


def test_the_first_releases_end_on_their_own_mark(folders: dict[str, Path]) -> None:
    marks = {token: speaker(folders["B"]).tokenizer(token).input_ids[0] for token in "<END>"}
    assert speaker(folders["B"], revision="2024-03-13").end_ids() == {0, *marks.values()}
    assert speaker(folders["B"], revision="2024-04-02").end_ids() == {0}


@pytest.mark.parametrize(("revision", "suffix"), [("2025-05-31", [3]), ("2025-06-21", [3, 3]), ("", [3, 3])])
def test_questions_of_d_are_token_ids_around_the_words(folders: dict[str, Path], revision: str, suffix: list[int]) -> None:
    model = speaker(folders["D"], revision=revision)
    cup = model.tokenizer("a cup", add_special_tokens=False).input_ids
    spaced = model.tokenizer(" a cup", add_special_tokens=False).input_ids
    assert model.question_ids("a cup") == [0, 1, 15381, 2, *cup, *suffix]
    assert model.question_lead() == 1
    assert model.place_ids("detect", "a cup") == [0, 1, 7235, 476, 2, *spaced, 3]
    assert model.place_ids("point", "a cup") == [0, 1, 2581, 2, *spaced, 3]


def test_templates_in_the_configuration_come_first(folders: dict[str, Path], tmp_path: Path) -> None:
    """As moondream/config/config_md2.json gives CodeGen's."""
    write_moondream(tmp_path, "D")
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["tokenizer"] = {"bos_id": 0, "eos_id": 7, "templates": {"query": {"prefix": [5], "suffix": [6]}, "point": None}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = speaker(tmp_path, revision="2025-05-31")
    assert model.question_ids("a")[:2] == [0, 5]
    assert model.question_ids("a")[-1] == 6
    assert 7 in model.end_ids()
    for kind in ("detect", "point"):
        with pytest.raises(ConfigError, match=f"no template for '{kind}'"):
            model.place_ids(kind, "cup")


def test_a_codegen_tokenizer_with_a_release_that_wants_starmie_is_refused(tmp_path: Path) -> None:
    write_moondream(tmp_path, "D")
    text = (tmp_path / "tokenizer.json").read_text()
    found: dict[str, Any] = json.loads(text)
    for vocabulary in (found["model"]["vocab"],):
        vocabulary[END], vocabulary["filler"] = 50256, 0
    for token in found["added_tokens"]:
        token["id"] = 50256 if token["content"] == END else token["id"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(found))
    with pytest.raises(ConfigError, match=r"those from 2025-05-31 the tokenizer\.json of moondream/starmie-v1"):
        speaker(tmp_path, revision="2025-06-21")
    codegen = speaker(tmp_path, revision="2025-04-14")
    assert codegen.question_ids("")[:5] == [50256, 198, 198, 24361, 25]
    assert codegen.question_ids("")[-4:] == [198, 198, 33706, 25]
    spaces = codegen.tokenizer(" a", add_special_tokens=False).input_ids
    assert codegen.question_ids("a")[5 : 5 + len(spaces)] == spaces
    january = speaker(tmp_path, revision="2025-01-09")
    assert january.question_ids("a")[5:-4] == january.place_ids("point", "a")[5:-1] == spaces[1:]


@pytest.mark.parametrize("layout", ["B", "C", "D"])
def test_answers_are_the_greedy_ones(folders: dict[str, Path], layout: str) -> None:
    """Every token again from the whole sequence, with no cache."""
    model = speaker(folders[layout])
    ids, lead = model.question_ids("find the cup"), model.question_lead()
    image = model.encode_images(model.preprocess(RGB)[None])[0, 0]
    words = model.word_embedding(torch.tensor(ids))
    sequence = torch.cat([words[:lead], image, words[lead:]])[None]
    said: list[int] = []
    with torch.no_grad():
        for _ in range(6):
            n = sequence.shape[1]
            hidden = model.run_text(sequence, torch.ones(1, n).bool(), torch.arange(n)[None]).hidden
            token = int(model.logits(hidden)[0, -1].argmax())
            if token in model.end_ids():
                break
            said.append(token)
            sequence = torch.cat([sequence, model.word_embedding(torch.tensor([[token]]))], 1)
    assert said
    assert answer_ids(model, "find the cup", RGB, len(said)) == said
    assert model.generate("find the cup", RGB, len(said)) == model.decode(said)


def numpy_mlp(tensors: dict[str, torch.Tensor], name: str, x: np.ndarray) -> np.ndarray:
    t = {n.removeprefix("model.region."): v.double().numpy() for n, v in tensors.items()}
    inner = x @ t[name + ".fc1.weight"].T + t[name + ".fc1.bias"]
    inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    return inner @ t[name + ".fc2.weight"].T + t[name + ".fc2.bias"]


def region(*, log_sizes: bool = True) -> RegionModel:
    model = RegionModel(RegionShape(**REGION), log_sizes=log_sizes)
    model.load_state_dict({n.removeprefix("model.region."): t for n, t in weights("D").items() if n.startswith("model.region.")})
    return model


def test_places_and_sizes_equal_a_second_derivation() -> None:
    model, tensors, random = region(), weights("D"), np.random.default_rng(1)
    hidden = random.normal(size=(20, REGION["dim"])) * 3
    at = torch.from_numpy(hidden).float()
    logits = numpy_mlp(tensors, "coord_decoder", hidden)
    np.testing.assert_allclose(model.decode_coordinate(at)[:, 0].detach(), logits.argmax(1) / 64)
    sizes = numpy_mlp(tensors, "size_decoder", hidden).reshape(-1, 2, 64).argmax(-1)
    np.testing.assert_allclose(model.decode_size(at).detach(), 2.0 ** (sizes / 63 * 10 - 10), rtol=1e-5)
    np.testing.assert_allclose(region(log_sizes=False).decode_size(at).detach(), sizes / 64, rtol=1e-6)
    values = random.random((5, 2))
    for name, encode, width in (("coord", model.encode_coordinate, 1), ("size", model.encode_size, 2)):
        waves = 2 * np.pi * values[:, :width] @ tensors[f"model.region.{name}_features"].double().numpy()
        want = np.concatenate([np.cos(waves), np.sin(waves)], 1) @ tensors[f"model.region.{name}_encoder.weight"].double().numpy().T
        want += tensors[f"model.region.{name}_encoder.bias"].double().numpy()
        found = encode(torch.from_numpy(values[:, :width]).float())
        np.testing.assert_allclose(found.detach(), want, atol=1e-4)


def test_detect_feeds_every_number_back(folders: dict[str, Path]) -> None:
    """The first box again, from whole sequences with no cache."""
    model = speaker(folders["D"])
    ids = model.place_ids("detect", "cup")
    parts = model.backbone.region_model
    assert parts is not None
    words = model.word_embedding(torch.tensor(ids))
    sequence = torch.cat([words[:1], model.encode_images(model.preprocess(RGB)[None])[0, 0], words[1:]])[None]
    values: list[torch.Tensor] = []
    with torch.no_grad():
        for k in range(3):
            n = sequence.shape[1]
            hidden = model.run_text(sequence, torch.ones(1, n).bool(), torch.arange(n)[None]).hidden[:, -1:]
            values.append(parts.decode_size(hidden) if k == 2 else parts.decode_coordinate(hidden))
            fed = parts.encode_size(values[-1]) if k == 2 else parts.encode_coordinate(values[-1])
            sequence = torch.cat([sequence, fed], 1)
    x, y, width, height = torch.cat(values, -1).flatten().tolist()
    box = model.detect("cup", RGB)[0]
    assert box == pytest.approx({"x_min": x - width / 2, "y_min": y - height / 2, "x_max": x + width / 2, "y_max": y + height / 2})
    assert model.point("cup", RGB)[0].keys() == {"x", "y"}
    assert len(model.point("cup", RGB)) <= 50
    assert model.prefix == (CROP // PATCH) ** 2 + 1


def test_releases_before_2025_have_no_places(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="detect and point need layout D"):
        speaker(folders["C"]).detect("cup", RGB)
