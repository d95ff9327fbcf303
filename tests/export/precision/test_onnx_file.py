"""Reading a graph's weights one at a time, and writing a file that is there whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_vla.errors import ConfigError
from export.files import weight_store
from export.files.onnx_file import Names, OnnxFile
from export.files.weight_store import rest, storing
from tests.export.precision.makers import decoder, feed, node, run, weights, write

EYE = np.eye(4, dtype=np.float32)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    return decoder(tmp_path / "step.onnx", beside=True)


def copy(source: Path, out: Path) -> None:
    file = OnnxFile(source)
    with storing(out, beside=file.beside) as store:
        rest(file, file.nodes, store)


def edit(path: Path, change: object) -> Path:
    """change(model), its weights not looked at."""
    model = onnx.load(str(path), load_external_data=False)
    change(model)
    onnx.save(model, str(path))
    return path


class TestReading:
    def test_weights_wherever_they_are(self, tmp_path: Path, beside: Path) -> None:
        inside = OnnxFile(decoder(tmp_path / "inside.onnx"))
        outside = OnnxFile(beside)
        assert (inside.beside, outside.beside) == (False, True)
        assert isinstance(outside.values("w_q"), np.memmap)
        for name in inside.tensors:
            np.testing.assert_array_equal(inside.values(name), outside.values(name))
            assert outside.shape(name) == inside.values(name).shape

    def test_constants_are_weights(self, tmp_path: Path) -> None:
        made = [
            helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(EYE)),
            helper.make_node("Constant", [], ["f"], value_float=2.5), helper.make_node("Constant", [], ["i"], value_ints=[1, 4]),
            node("MatMul", "x k", "m"), node("Mul", "m f", "n"), node("Reshape", "n i", "y"),
        ]  # fmt: skip
        file = OnnxFile(write(tmp_path / "c.onnx", made, {"x": ["T", 4]}, ["y"], {}))
        assert [each.op_type for each in file.nodes] == ["MatMul", "Mul", "Reshape"]
        np.testing.assert_array_equal(file.values("k"), EYE)
        assert (float(file.values("f")), file.values("i").tolist()) == (2.5, [1, 4])
        copy(file.path, tmp_path / "out.onnx")
        x = {"x": np.arange(4, dtype=np.float32)[None]}
        np.testing.assert_array_equal(run(tmp_path / "out.onnx", x)["y"], run(file.path, x)["y"])

    def test_types_and_axes_of_every_value(self, beside: Path) -> None:
        file = OnnxFile(beside)
        assert (file.types["positions"], file.types["whole"], file.types["w_q"]) == (
            TensorProto.INT64,
            TensorProto.FLOAT,
            TensorProto.FLOAT,
        )
        assert (file.axes("n1"), file.axes("positions"), file.axes("there")) == (2, 1, None)

    def test_nodes_have_names_of_their_own(self, tmp_path: Path) -> None:
        made = [
            helper.make_node("Neg", ["x"], ["a"]),
            helper.make_node("Neg", ["a"], ["b"], "same"),
            helper.make_node("Neg", ["b"], ["y"], "same"),
        ]
        file = OnnxFile(write(tmp_path / "n.onnx", made, {"x": [1]}, ["y"], {}))
        assert [each.name for each in file.nodes] == ["Neg_0", "same", "same_2"]
        names = Names(file)
        assert [names.fresh(name) for name in ("a", "a", "same", "new", "new")] == ["a_", "a__", "same_", "new", "new_"]

    def test_the_largest_magnitude(self, tmp_path: Path) -> None:
        values = np.linspace(-7, 3, 100, dtype=np.float32)
        file = OnnxFile(write(tmp_path / "p.onnx", [node("Add", "x w", "y")], {"x": [100]}, ["y"], {"w": values}))
        assert file.peak("w") == 7

    def test_a_lone_minus_infinity_is_a_mask(self, tmp_path: Path) -> None:
        for values, fine in ((np.float32(-np.inf), True), (np.float32(np.inf), False), (np.array([1, -np.inf], np.float32), False)):
            file = OnnxFile(write(tmp_path / "m.onnx", [node("Add", "x w", "y")], {"x": [2]}, ["y"], {"w": values}))
            if fine:
                assert file.peak("w") == np.inf
            else:
                with pytest.raises(ConfigError, match="weight w holds nan or inf"):
                    file.peak("w")


class TestRefusals:
    def test_what_is_no_onnx_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no such file"):
            OnnxFile(tmp_path / "none.onnx")
        for data in (b"no model", b""):
            (tmp_path / "bad.onnx").write_bytes(data)
            with pytest.raises(ConfigError, match=r"not an ONNX file|a graph without nodes"):
                OnnxFile(tmp_path / "bad.onnx")

    def test_a_file_cut_short(self, tmp_path: Path) -> None:
        path = decoder(tmp_path / "step.onnx")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ConfigError, match="not an ONNX file"):
            OnnxFile(path)

    def test_weights_that_are_missing_or_cut_short(self, beside: Path) -> None:
        data = beside.with_name("step.onnx.data")
        whole = data.read_bytes()
        data.write_bytes(whole[:-1])
        with pytest.raises(ConfigError, match=f"{len(whole) - 1} bytes, .* ends at {len(whole)}"):
            OnnxFile(beside)
        data.unlink()
        with pytest.raises(ConfigError, match=r"its weights are missing, there is no step.onnx.data beside it"):
            OnnxFile(beside)

    @pytest.mark.parametrize("place", ["../weights.data", "/etc/passwd", ""])
    def test_weights_in_other_folders(self, beside: Path, place: str) -> None:
        def move(model: onnx.ModelProto) -> None:
            tensor = next(tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL)
            tensor.external_data[0].value = place

        with pytest.raises(ConfigError, match="want a file of the graph's own folder"):
            OnnxFile(edit(beside, move))

    def test_control_flow_and_functions(self, tmp_path: Path) -> None:
        path = decoder(tmp_path / "step.onnx")
        inner = helper.make_graph([node("Neg", "hidden", "n")], "b", [], [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)])
        choice = helper.make_node("If", ["c"], ["d"], "choice", then_branch=inner, else_branch=inner)
        with pytest.raises(ConfigError, match="If 'choice' has a graph inside"):
            OnnxFile(edit(path, lambda model: model.graph.node.append(choice)))
        path = decoder(tmp_path / "step.onnx")
        own = helper.make_function("own", "F", ["x"], ["y"], [node("Neg", "x", "y")], [helper.make_opsetid("", 20)])
        with pytest.raises(ConfigError, match="local function F"):
            OnnxFile(edit(path, lambda model: model.functions.append(own)))

    @pytest.mark.parametrize(("opset", "fine"), [(12, False), (13, True), (20, True), (21, False)])
    def test_opsets(self, tmp_path: Path, opset: int, fine: bool) -> None:
        path = write(tmp_path / "o.onnx", [node("Neg", "x", "y")], {"x": [1]}, ["y"], {}, opset=opset)
        if fine:
            assert len(OnnxFile(path).nodes) == 1
        else:
            with pytest.raises(ConfigError, match=f"opset {opset}; want 13 to 20"):
                OnnxFile(path)


class TestWriting:
    def test_what_is_read_is_what_was_written(self, beside: Path, tmp_path: Path) -> None:
        copy(beside, tmp_path / "out.onnx")
        for name, values in weights(beside).items():
            np.testing.assert_array_equal(weights(tmp_path / "out.onnx")[name], values)
        np.testing.assert_array_equal(run(tmp_path / "out.onnx", feed())["hidden"], run(beside, feed())["hidden"])

    def test_many_weights_go_beside_the_graph_of_themselves(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source, out = decoder(tmp_path / "step.onnx"), tmp_path / "out.onnx"
        copy(source, out)
        assert not out.with_name("out.onnx.data").exists()
        monkeypatch.setattr(weight_store, "INSIDE_BYTES", 1000)
        copy(source, out)
        assert out.with_name("out.onnx.data").is_file()
        monkeypatch.undo()
        copy(source, out)
        assert not out.with_name("out.onnx.data").exists(), "the weights of a file that is gone"

    def test_a_tensor_that_was_not_filled_is_no_file(self, tmp_path: Path) -> None:
        def half_filled() -> None:
            with storing(tmp_path / "x.onnx") as store:
                store.add("w", TensorProto.FLOAT, (4,)).put(np.zeros(2, np.float32))
                store.finish(onnx.ModelProto())

        with pytest.raises(ValueError, match="w: 8 of 16 bytes"):
            half_filled()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ConfigError])
    def test_what_is_broken_off_leaves_what_was_there(self, tmp_path: Path, error: type[BaseException]) -> None:
        source, out = decoder(tmp_path / "step.onnx", beside=True), tmp_path / "out.onnx"
        copy(source, out)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}

        def broken_off() -> None:
            with storing(out) as store:
                store.put("w", np.zeros(10**6, np.float32))
                raise error

        with pytest.raises(error):
            broken_off()
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_folder_there_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="not written, No such file or directory"), storing(tmp_path / "none" / "x.onnx"):
            pass


# A limit on the size of files is what a full disk looks like: write() comes back with an error in the middle.
FULL = """
import resource, sys
from pathlib import Path
from edge_vla.errors import ConfigError
source, out = Path(sys.argv[1]), Path(sys.argv[2])
import numpy as np
from export.precision.half import halve
from export.precision.nbits import quantise_weights
from export.precision.qdq import quantise_qdq
feed = {"x": np.ones((1, 1024), np.float32)}
passes = {
    "half": lambda: halve(source, out, [feed], 0.1),
    "nbits": lambda: quantise_weights(source, out, 8),
    "qdq": lambda: quantise_qdq(source, out, {"x": (-1, 1)}),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    passes[sys.argv[3]]()
except ConfigError as err:
    print(err)
"""


@pytest.mark.parametrize("name", ["half", "nbits", "qdq"])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path, checkout: Path, name: str) -> None:
    w = np.ones((1024, 1024), np.float32)
    source = write(tmp_path / "w.onnx", [node("MatMul", "x w", "y")], {"x": ["T", 1024]}, ["y"], {"w": w}, beside=True)
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "out.onnx"
    out.write_bytes(b"what was there")
    command = [sys.executable, "-c", FULL, str(source), str(out), name]
    asked = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    assert asked.stdout == f"{out}: not written, File too large\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.onnx": b"what was there"}
