"""The file of ranges: what it holds, who may read it, and the report beside it."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.activations import Activations, watch
from calib.graph import fingerprint
from calib.histogram import Histogram, Span
from calib.int8 import main
from calib.ranges import METHODS, joined, load_ranges
from calib.report import draw, table
from edge_vla.backends.bundle import Bundle
from edge_vla.errors import ConfigError


@pytest.fixture
def made(tiny: Path, small_set) -> Path:
    """The set's folder, with the tiny bundle's ranges in it."""
    main(["ranges", "--set", str(small_set.folder), "--bundle", str(tiny), "--percent", "99"])
    return small_set.folder


def spoil(folder: Path, old: str, new: str) -> Path:
    path = folder / "ranges.toml"
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text, count=1))
    return path


def test_every_tensor_has_its_ranges_by_every_method(made: Path, tiny: Path, small_set) -> None:
    found, file = watch(Bundle(tiny), small_set), load_ranges(made).file
    assert {(graph, name) for graph, each in file.graphs.items() for name in each.tensors} == set(found.operators)
    for (graph, tensor), phases in {("vision", "patches"): ["whole"], ("lm_step", "from_word"): ["prefill", "decode"]}.items():
        histograms = [found.histograms[graph, phase, tensor] for phase in phases]
        ranges = file.graphs[graph].tensors[tensor]
        assert ranges.min_max == [min(h.span.low for h in histograms), max(h.span.high for h in histograms)]
        assert ranges.percentile == [min(h.percentile(99)[0] for h in histograms), max(h.percentile(99)[1] for h in histograms)]
        assert ranges.entropy == [min(h.entropy()[0] for h in histograms), max(h.entropy()[1] for h in histograms)]


def test_the_file_says_what_it_was_made_of(made: Path, tiny: Path, small_set) -> None:
    file = load_ranges(made).file
    assert (file.bundle, file.set_sha256, file.pictures, file.questions, file.percent) == ("tiny", small_set.sha256, 3, 5, 99.0)
    assert file.graphs["lm_step"].runs == {"prefill": 5, "decode": 9}
    for name in ("vision", "lm_step"):
        assert file.graphs[name].sha256 == fingerprint(tiny / f"{name}.onnx") == Bundle(tiny).manifest.sha256[f"{name}.onnx"]
    assert {"edge_vla", "onnxruntime", "python"} <= set(file.versions)


def test_a_quantiser_gets_the_ranges_it_asks_for(made: Path, tiny: Path) -> None:
    ranges = load_ranges(made / "ranges.toml")
    for method in METHODS:
        got = ranges.of("vision", tiny / "vision.onnx", ["tokens", "patches"], method)
        assert list(got) == ["tokens", "patches"]
        assert got["patches"] == tuple(getattr(ranges.file.graphs["vision"].tensors["patches"], method))


def test_a_phase_that_is_rare_is_not_cut_by_one_that_is_common() -> None:
    """Half a percent of all values, and the words come from them: a range over both together would clip every one of them."""
    common, rare = np.random.default_rng(0).normal(size=200_000), 30.0 + np.arange(1000) / 1000
    both = [drawn(common), drawn(rare)]
    ends = joined(both, 99.0)
    assert ends["percentile"][1] > 30.9
    assert ends["entropy"][1] > 30.9
    assert ends["percentile"][0] == pytest.approx(both[0].percentile(99.0)[0])


# -- refusals


def test_another_model_is_refused(made: Path, copy_bundle, tiny: Path) -> None:
    other = copy_bundle(files={"vision.onnx": (tiny / "lm_step.onnx").read_bytes()})
    with pytest.raises(ConfigError, match=r"was measured on another vision \(sha256 [0-9a-f]{12}\.\.\., this one [0-9a-f]{12}\.\.\.\)"):
        load_ranges(made).of("vision", other / "vision.onnx", ["tokens"], "entropy")


@pytest.mark.parametrize(
    ("graph", "tensors", "method", "message"),
    [
        ("head", ["tokens"], "entropy", r"has no ranges of graph 'head'; it has vision, lm_step"),
        ("vision", ["tokens", "tokns"], "entropy", r"graph vision has no range for tensor 'tokns'; did you mean 'tokens'\?"),
        ("vision", ["tokens"], "kl", r"method 'kl': want one of min_max, percentile, entropy"),
    ],
)
def test_what_was_not_measured_is_refused(made: Path, tiny: Path, graph: str, tensors: list[str], method: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_ranges(made).of(graph, tiny / "vision.onnx", tensors, method)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"entropy = \[[^,]*,", "entropy = [nan,", r"entropy\.0: Input should be a finite number"),
        (r"min_max = \[.*\]", "min_max = [-inf, inf]", r"min_max\.0: Input should be a finite number"),
        (r"percentile = \[.*\]", "percentile = [0.5, -0.5]", r"percentile = \[0\.5, -0\.5\]: want low <= high within min_max"),
        (r"percentile = \[.*\]", "percentile = [0.0, 1e9]", r"want low <= high within min_max"),
        (r"entropy = \[.*\]\n", "", r"entropy: Field required"),
        (r'kind = "int8_ranges"', 'kind = "int8_set"', r"kind = 'int8_set', want 'int8_ranges'"),
        (r"version = 1", "version = 3", r"version: Input should be 1, got '3'"),
        (r'\nsha256 = "[0-9a-f]{64}"', '\nsha256 = "x"', r"sha256: String should match"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(made: Path, old: str, new: str, message: str) -> None:
    path = spoil(made, old, new)
    with pytest.raises(ConfigError, match=message) as caught:
        load_ranges(made)
    assert str(path) in str(caught.value)


def test_a_set_without_ranges_says_which_command_makes_them(small_set) -> None:
    with pytest.raises(ConfigError, match=r"ranges\.toml: No such file or directory; `python -m calib int8` writes it"):
        load_ranges(small_set.folder)


@pytest.mark.parametrize(("option", "value"), [("--percent", "100"), ("--percent", "nan"), ("--percent", "50"), ("--threads", "0")])
def test_options_that_mean_nothing_are_refused(small_set, tiny: Path, option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"{option} {value}[.0]*: want"):
        main(["ranges", "--set", str(small_set.folder), "--bundle", str(tiny), option, value])


@pytest.mark.parametrize("words", [[], ["range"], ["--set", "x"]])
def test_what_to_do_has_to_be_said(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"want one of collect, ranges"):
        main(words)


# -- the report


def test_the_table_has_a_line_for_every_tensor_the_most_cut_first(made: Path) -> None:
    lines = (made / "ranges.md").read_text().splitlines()
    assert lines[0] == "# Ranges of tiny"
    assert "3 pictures, 5 questions, 5 different answers. Runs: vision: 5 whole; lm_step: 5 prefill, 9 decode." in lines[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| (vision|lm_step) ", line)]
    file = load_ranges(made).file
    assert len(rows) == sum(len(graph.tensors) for graph in file.graphs.values())
    cuts = [float(row[7]) for row in rows]
    assert cuts == sorted(cuts)
    (row,) = (row for row in rows if row[1] == "`from_word`")
    assert row[2] == "MatMul"
    assert row[4] == "0 .. 200"
    assert row[9] == "0 .. 200"  # of decoding alone


def drawn(values: np.ndarray) -> Histogram:
    span = Span()
    span.widen(values.astype(np.float32))
    histogram = Histogram(span)
    histogram.add(values.astype(np.float32))
    return histogram


def made_up(**tensors: np.ndarray) -> tuple[Activations, dict]:
    """Activations of these tensors in a prefill, and the document of their ranges."""
    histograms = {name: drawn(values) for name, values in tensors.items()}
    ranges = {name: {method: list(ends) for method, ends in joined([each], 99.0).items()} for name, each in histograms.items()}
    found = Activations(
        {("lm_step", "prefill", name): each for name, each in histograms.items()}, {("lm_step", name): "MatMul" for name in tensors},
        {"lm_step": {"prefill": 1}}, 1,
    )  # fmt: skip
    facts = {"bundle": "b", "pictures": 1, "questions": 1, "answers": 1, "percent": 99.0}
    return found, {**facts, "graphs": {"lm_step": {"tensors": ranges}}}


def test_what_entropy_cuts_the_most_comes_first() -> None:
    rng = np.random.default_rng(0)
    found, document = made_up(a=rng.uniform(-1, 1, 50_000), b=rng.laplace(size=50_000), c=rng.normal(size=50_000))
    rows = [line.split("|")[2].strip() for line in table(found, document).splitlines() if line.startswith("| lm_step")]
    assert rows == ["`b`", "`c`", "`a`"]


def test_the_picture_marks_where_ranges_end(tmp_path: Path) -> None:
    """A line in each method's colour in the column where its range ends; what is drawn later lies above."""
    found, document = made_up(x=np.random.default_rng(0).laplace(size=50_000))
    draw(found, document, tmp_path / "x.png")
    ranges, peak = document["graphs"]["lm_step"]["tensors"]["x"], found.histograms["lm_step", "prefill", "x"].span.peak
    image = cv2.imread(str(tmp_path / "x.png"))
    left, top = 24 + 34, 24 + 34 + 14 + 44  # margin, plot; margin, legend, gap, plot
    colours = {"min_max": (170, 162, 155), "percentile": (70, 190, 245), "entropy": (80, 220, 120)}
    want = {left + round((end + peak) / (2 * peak) * 382): colours[method] for method in METHODS for end in ranges[method]}
    assert len(want) == 6
    got = {x: tuple(int(channel) for channel in image[top - 6, x]) for x in range(left, left + 383)}
    assert {x: colour for x, colour in got.items() if colour in colours.values()} == want
