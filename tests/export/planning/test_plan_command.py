"""The command: what it prints, what it refuses and what it names instead, and that it needs no torch."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.plan import main
from export.planning.devices import find_device
from export.planning.footprint import footprint
from export.planning.nearest import Wish, instead, lower_precision, smaller_model
from export.planning.number_formats import PRECISIONS
from export.planning.policy_shapes import Policy
from export.planning.published import published
from export.planning.workload import Workload

NANO = ["--device", "orin-nano"]


def as_json(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    assert main([*words, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def row(plan: dict[str, Any], precision: str) -> dict[str, Any]:
    return next(row for row in plan["precisions"] if row["precision"] == precision)


def test_every_precision_of_the_board_with_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    plan = as_json(capsys, "PaliGemma 3B", *NANO)
    assert [row["precision"] for row in plan["precisions"]] == ["fp32", "fp16", "w8", "w8a8", "w4"]
    assert plan["fits"] == ["w4"]
    assert (plan["parameters"], plan["measured"], plan["batch"], plan["refused"]) == (2_923_466_480, False, 1, None)
    thor = as_json(capsys, "PaliGemma 3B", "--device", "thor")
    assert thor["fits"] == ["fp32", "fp16", "w8", "w8a8", "fp8", "fp4", "w4"]


def test_a_row_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    plan = as_json(capsys, "PaliGemma 3B", "--device", "agx-orin", "--new-tokens", "9")
    for found in plan["precisions"]:
        parts = sum(found["weight_bytes"].values()) + found["embedding_bytes"] + found["kv_bytes"] + sum(found["activation_bytes"].values())
        assert found["run_bytes"] == parts + int(0.75 * 2**30)
        assert found["embedding_bytes"] == 257216 * 2048 * 2
        stages = {stage["name"]: stage for stage in found["stages"]}
        assert list(stages) == ["vision", "prefill", "head", "step"]
        assert stages["step"]["times"] == 8
        assert found["look_floor_ms"] == pytest.approx(sum(s["floor_ms"] * s["times"] for s in stages.values()))
        assert all(s["floor_ms"] == max(s["compute_ms"], s["memory_ms"]) for s in stages.values())


def test_the_sheet_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["KosMos-2", *NANO, "--power-mode", "15w"]) == 0
    said = capsys.readouterr().out
    assert "KosMos-2 on Jetson Orin Nano 8 GB, 15w: predicted, not measured on a device" in said
    assert "batch 1, 64 image tokens, 16 of prompt, 6 new tokens; 7.4 GiB visible, 1.5 in use; 68 GB/s" in said
    for title in ("weights", "embeddings", "KV", "activations", "build peak", "ONNX export", "vision", "prefill", "head", "step × 5"):
        assert title in said


def test_the_default_bundle(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    plan = as_json(capsys, str(checkout / "engines" / "default"), *NANO)
    assert [row["precision"] for row in plan["precisions"]] == ["int8"]
    assert plan["precisions"][0]["notes"] == [
        "TensorRT's parser has no DynamicQuantizeLinear, MatMulInteger, MatMulNBits: this bundle runs with ONNX Runtime"
    ]
    assert plan["precisions"][0]["export_bytes"] is None


# -- refusals

REFUSED = [
    ("PaliGemma 3B", *NANO, "--precision", "fp16"), ("LLaVA 1.5 7B", "--device", "orin-nx", "--precision", "fp16"),
    ("LLaVA 1.5 7B", "--device", "agx-orin", "--precision", "fp16", "--prompt", "12000"),
    ("Qwen2.5-VL 7B", *NANO), ("KosMos-2", "--device", "orin-nx", "--precision", "fp32", "--output", "lstm", "--used", "4"),
    ("OpenFlamingo 9B", "--device", "orin-nx", "--precision", "w8a8", "--output", "discrete"),
    ("PaliGemma 2 3B", "--device", "orin-nx", "--precision", "w8a8", "--sequence", "200000"),
]  # fmt: skip


def suggestions(message: str) -> list[list[str]]:
    """What a refusal names, each as the words that ask for it."""
    found = []
    for said in message.partition("; nearest that fits: ")[2].split(", or "):
        model = re.fullmatch(r"the smaller model '(.*)'", said)
        found.append(["MODEL", model[1]] if model else shlex.split(said))
    return found


def applied(words: tuple[str, ...], change: list[str]) -> list[str]:
    """The command line with a suggestion put into it."""
    if change[0] == "MODEL":
        return [change[1], *words[1:]]
    kept = list(words)
    if change[0] == "--prompt" and "--sequence" in kept:
        del kept[kept.index("--sequence") :][:2]
    if change[0] in kept:
        kept[kept.index(change[0]) + 1] = change[1]
        return kept
    return [*kept, *change]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_is_named_instead_fits(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    plan = as_json(capsys, *words, code=2)
    found = suggestions(plan["refused"])
    assert found, plan["refused"]
    for change in found:
        instead = applied(words, change)
        precision = instead[instead.index("--precision") + 1] if "--precision" in instead else plan["precisions"][-1]["precision"]
        assert precision in as_json(capsys, *instead)["fits"], (change, plan["refused"])


def test_a_build_that_cannot_fit_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["PaliGemma 3B", *NANO, "--precision", "fp16"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "plan: PaliGemma 3B pt-224 at fp16 does not fit orin-nano: building it takes 15.8 GiB, 5.9 GiB are free (7.4 visible, 1.5 in use); "
        "nearest that fits: --precision w4, or the smaller model 'uform-gen2-qwen-500m, -dpo', or --device agx-orin\n"
    )


def test_without_a_precision_one_that_fits_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["PaliGemma 3B", *NANO]) == 0
    assert capsys.readouterr().err == ""
    assert main(["PaliGemma 3B", *NANO, "--used", "5"]) == 2
    assert "at w4 does not fit orin-nano" in capsys.readouterr().err


def wish(model: str, precision: str = "fp16", device: str = "orin-nx", **load: Any) -> Wish:
    return Wish(published(model), Workload(**load), PRECISIONS[precision], find_device(device))


def test_the_nearest_of_each_kind() -> None:
    """Where all would fit: the next precision, the largest of the smaller models of its kind, the next board."""
    assert instead(wish("Qwen2.5-VL 7B"), lambda _: True) == [
        "--precision w8", "--prompt 15", "the smaller model 'Qwen2.5-VL 3B'", "--device agx-orin",
    ]  # fmt: skip
    assert instead(wish("uform", "w4", "thor", prompt=1), lambda _: True) == ["the smaller model 'Moondream 0.5B, layout D'"]
    assert lower_precision(wish("uform"), lambda w: w.precision.name in {"w8a8", "w4"}) == "--precision w8a8"
    assert lower_precision(wish("uform", device="thor"), lambda w: w.precision.name in {"fp4", "w4"}) == "--precision fp4"
    assert lower_precision(wish("uform"), lambda w: w.precision.name == "fp4") == ""  # Orin has it not


def test_a_smaller_model_is_asked_what_it_can_be_asked() -> None:
    """A policy head of its own width, no more rows than it has words, its own image tokens; one that cannot be asked is passed over."""
    asked: list[Wish] = []
    policy = Policy("LSTMDecoder", 4096)
    smaller_model(wish("LLaVA 1.5 7B", policy=policy, rows=60000, image_tokens=1152), lambda w: bool(asked.append(w)))
    assert all(w.load.policy == replace(policy, in_features=w.model.hidden) for w in asked)
    assert all(w.load.rows == min(60000, w.model.vocabulary) and w.load.image_tokens is None for w in asked)
    assert {w.model.name for w in asked} >= {"KosMos-2", "PaliGemma 3B pt-224", "LLaVA-Lightning-MPT-7B-preview"}
    short = smaller_model(wish("LLaVA 1.5 7B", sequence=300), lambda w: bool(footprint(w.model, w.load, w.precision)))
    assert short == "the smaller model 'LLaVA-Lightning-MPT-7B-preview'"
    assert smaller_model(wish("Qwen2.5-VL 7B", sequence=90), lambda w: bool(footprint(w.model, w.load, w.precision))) == (
        "the smaller model 'OpenFlamingo 9B'"
    )


def test_a_shorter_sequence_is_the_longest_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("PaliGemma 2 3B", "--device", "orin-nx", "--precision", "w8a8")
    refused = as_json(capsys, *words, "--sequence", "200000", code=2)["refused"]
    longest = int(re.search(r"--sequence (\d+)", refused)[1])  # type: ignore[index]
    assert row(as_json(capsys, *words, "--sequence", str(longest)), "w8a8")["fits"]
    assert as_json(capsys, *words, "--sequence", str(longest + 1), code=2)["refused"]


def test_nothing_fits_and_nothing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    plan = as_json(capsys, "uform", "--device", "thor", "--used", "122.7", code=2)
    assert plan["refused"].endswith("nothing smaller or bigger that is known fits either")


def test_a_bundle_that_does_not_fit(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    plan = as_json(capsys, str(checkout / "engines" / "default"), *NANO, "--used", "7", code=2)
    assert plan["refused"].startswith("default at int8 does not fit orin-nano: running it takes 0.8 GiB, 0.4 GiB are free")
    assert plan["refused"].endswith("nearest that fits: --device orin-nx, or its model exported at a lower precision")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("PaliGemma 3B", *NANO, "--precision", "fp8"), "orin-nano has SM 8.7, fp8 wants 8.9 or later; nearest it has: w8a8"),
        (("PaliGemma 3B", "--device", "orin"), "device 'orin': want one of"),
        (("PaliGemma 3B", *NANO, "--power-mode", "50w"), "power mode '50w': orin-nano has figures for super, 15w"),
        (("PaliGemma 3B", *NANO, "--used", "7.4"), "used 7.4 GiB: orin-nano has 7.4 visible; want 0 up to less than that"),
        (("PaliGemma 3B", *NANO, "--used", "nan"), "used nan GiB"), (("PaliGemma 3B", *NANO, "--used", "-1"), "used -1 GiB"),
        (("PaliGemma 3B", *NANO, "--workspace", "0"), "workspace 0 MiB"),
        (("PaliGemma 3B", *NANO, "--window", "4"), "--window: only a policy head"),
        (("PaliGemma 3B", *NANO, "--output", "gpt", "--window", "0"), "window 0: want 1 to 4096"),
        (("PaliGemma 3B", *NANO, "--prompt", "0"), "prompt 0: want 1 to 100000"),
        (("PaliGemma 3B",), "the following arguments are required: --device"),
        (("PaliGemma 3B", *NANO, "--dev", "thor"), "unrecognized arguments: --dev thor"),
        (("engines/default", *NANO, "--precision", "fp16"), "bundle 'default' is int8, in its graphs; export it again"),
        (("engines/default", *NANO, "--output", "lstm", "--window", "3"), "--output, --window: a bundle has what it was exported with"),
    ],
)  # fmt: skip
def test_command_lines_that_mean_nothing(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    monkeypatch.chdir(checkout)
    assert said in as_json(capsys, *words, code=2)["refused"]
    assert main(list(words)) == 2
    assert said in capsys.readouterr().err


# -- what the options change


def test_a_policys_row(capsys: pytest.CaptureFixture[str]) -> None:
    text, policy = (
        row(as_json(capsys, "KosMos-2", *NANO, *more), "w8a8") for more in ((), ("--output", "lstm", "--window", "8", "--latent", "1"))
    )
    assert [stage["name"] for stage in policy["stages"]] == ["vision", "prefill", "head"]
    assert policy["kv_bytes"] == 0 < text["kv_bytes"]
    assert set(policy["weight_bytes"]) == {"vision", "lm_step", "head"}
    assert text["weight_bytes"]["lm_step"] - policy["weight_bytes"]["lm_step"] == 65037 * (2048 + 4)


def test_a_cut_head_and_discrete_actions(capsys: pytest.CaptureFixture[str]) -> None:
    whole, boxes, bins = (
        row(as_json(capsys, "PaliGemma 3B", "--device", "orin-nx", *more), "fp16")
        for more in ((), ("--output", "boxes"), ("--output", "discrete"))
    )
    assert whole["weight_bytes"]["lm_step"] - boxes["weight_bytes"]["lm_step"] == (257216 - 1088) * 2048 * 2
    assert boxes["weight_bytes"]["lm_step"] - bins["weight_bytes"]["lm_step"] == (1088 - 256) * 2048 * 2
    assert [stage["times"] for stage in bins["stages"]] == [1, 1, 1, 6]


def test_a_smaller_module_of_a_kind(capsys: pytest.CaptureFixture[str]) -> None:
    usual, half = (as_json(capsys, "KosMos-2", "--device", "orin-nx", *more) for more in ((), ("--memory", "8")))
    assert half["visible_bytes"] == pytest.approx(usual["visible_bytes"] / 2, abs=1)
    assert set(half["fits"]) < set(usual["fits"])


# -- the door


def loaded_by(statement: str, checkout: Path) -> set[str]:
    """Top-level modules that a fresh interpreter has after `statement`."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


HEAVY = {"torch", "transformers", "safetensors", "onnxruntime", "peft", "onnxscript"}


def test_a_model_is_planned_without_torch_and_without_onnx(checkout: Path) -> None:
    plan = "from export.plan import main; assert main(['PaliGemma 3B', '--device', 'thor', '--output', 'gpt']) == 0"
    assert not loaded_by(plan, checkout) & {*HEAVY, "onnx"}


def test_a_bundle_is_planned_without_torch(checkout: Path) -> None:
    plan = "from export.plan import main; assert main(['engines/default', '--device', 'thor']) == 0"
    loaded = loaded_by(plan, checkout)
    assert not loaded & HEAVY
    assert "onnx" in loaded  # so that the line above would see what is there


def test_a_bundle_without_onnx_is_refused_in_one_line(checkout: Path) -> None:
    script = "import sys; sys.modules['onnx'] = None; from export.plan import main; sys.exit(main(['engines/default', '--device', 'thor']))"
    result = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "plan: bundle engines/default: its graphs are read with onnx, which is not installed: pip install onnx\n"


def test_the_door_imports_what_is_asked_for(checkout: Path) -> None:
    """`export.default` begins with torch; naming it must not load it."""
    asked = "import runpy; sys.argv = ['export', 'plan', 'KosMos-2', '--device', 'thor']\n"
    asked += "try: runpy.run_module('export', run_name='__main__')\nexcept SystemExit as end: assert end.code == 0, end.code"
    assert not loaded_by(asked, checkout) & HEAVY
    assert "torch" in loaded_by("import export.default", checkout)


@pytest.mark.parametrize(
    ("words", "code"), [(["plan", "KosMos-2", *NANO], 0), (["plan", "KosMos-2", *NANO, "--precision", "fp4"], 2), ([], 1)]
)
def test_exit_codes_of_the_module(words: list[str], code: int, checkout: Path) -> None:
    result = subprocess.run([sys.executable, "-m", "export", *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    if not words:
        assert re.fullmatch(r"usage: python -m export \{default,.*\} \[options\]\n", result.stderr)
