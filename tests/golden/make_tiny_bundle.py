"""Writes tests/golden/tiny_bundle: an engine small enough to read, for tests that must not need torch. Needs onnx.

    .venv/bin/python tests/golden/make_tiny_bundle.py [FOLDER]

Its weights are rules. It sees a 16 x 32 frame as four tokens of mean colour and sums up, unscaled, all it may attend to.
Asked for a cup it looks for red, for a ball for blue: REDNESS below is 8 on a pure red frame, 0 on grey, -8 on blue.
Every later word follows from the one before it. Its keys are the positions it was given, its values the embeddings.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

BINS = 64
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
WORDS = "detect is there a an ? . drive describe go forward yes no cup ball acorn".split()
ROWS = [*SPECIAL, "\n", *WORDS]
LOC = len(ROWS)
VOCAB = LOC + BINS
RED, GREEN, BLUE = VOCAB, VOCAB + 1, VOCAB + 2
HIDDEN = VOCAB + 3
HEIGHT, WIDTH, IMAGE_TOKENS, COLUMNS = 16, 32, 4, 4
FIRST_BIN = {"cup": 12, "ball": 30}
STRIDE = 7  # from one corner's bin to the next
OUTPUTS = {"vision": ("tokens", "free_distance"), "lm_step": ("logits", "keys", "values")}


def row(word: str) -> int:
    return ROWS.index(word)


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(ROWS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    made.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    made.add_tokens([AddedToken("\n", normalized=False)])
    made.add_tokens([AddedToken(f"<loc{k:04d}>", normalized=False) for k in range(BINS)])
    return made


def rules() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(what is noticed (HIDDEN, F), its threshold (F,), what follows a notice (F, VOCAB), what follows a row (HIDDEN, VOCAB))."""
    notice, follow = np.zeros((HIDDEN, 6), np.float32), np.zeros((6, VOCAB), np.float32)
    threshold = np.array([20, 20, 20, 20, 9, 9], np.float32)
    after = np.zeros((HIDDEN, VOCAB), np.float32)
    for i, (verb, thing, sign) in enumerate([("detect", "cup", 1), ("detect", "ball", -1), ("is", "cup", 1), ("is", "ball", -1)]):
        notice[[row(verb), row(thing)], i] = 10
        notice[RED, i], notice[BLUE, i] = sign, -sign
        if verb == "detect":  # a hill of seven bins
            for d in range(-3, 4):
                follow[i, LOC + FIRST_BIN[thing] + d] = 5 - 0.1 * abs(d)
        else:
            follow[i, row("yes")] = 5
    notice[row("drive"), 4], follow[4, row("go")] = 10, 50
    notice[row("describe"), 5], follow[5, row("a")] = 10, 50
    after[row("\n"), row("<eos>")], after[row("\n"), row("no")] = 20, 10
    for one, two in [("go", "forward"), ("forward", "."), ("a", "cup"), ("cup", "."), (".", "<eos>")]:
        after[row(one), row(two)] = 200
    for k in range(BINS):
        after[LOC + k, LOC + min(BINS - 1, k + STRIDE)] = 200
    return notice, threshold, follow, after


def vision() -> onnx.ModelProto:
    colour = np.zeros((3, HIDDEN), np.float32)
    colour[[0, 1, 2], [RED, GREEN, BLUE]] = 1
    nodes = [
        helper.make_node("AveragePool", ["image"], ["quarters"], kernel_shape=[8, 16], strides=[8, 16]),
        helper.make_node("Reshape", ["quarters", "as_rows"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["patches", "colour"], ["tokens"]),
        helper.make_node("AveragePool", ["image"], ["strips"], kernel_shape=[16, 8], strides=[16, 8]),
        helper.make_node("ReduceMean", ["strips", "channel"], ["light"], keepdims=0),
        helper.make_node("Reshape", ["light", "as_columns"], ["columns"]),
        helper.make_node("Mul", ["columns", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "two"], ["free_distance"]),  # white is 4 m, black is 0 m
    ]
    constants = {
        "as_rows": np.array([1, 3, IMAGE_TOKENS]), "channel": np.array([1]), "as_columns": np.array([1, COLUMNS]),
        "colour": colour, "two": np.array(2, np.float32),
    }  # fmt: skip
    inputs = [("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])]
    return model("vision", nodes, constants, inputs, [[1, IMAGE_TOKENS, HIDDEN], [1, COLUMNS]])


def lm_step() -> onnx.ModelProto:
    notice, threshold, follow, after = rules()
    nodes = [
        helper.make_node("Cast", ["positions"], ["places"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["places", "axes_0_3"], ["places4"]),
        helper.make_node("Mul", ["places4", "wide"], ["new_keys"]),
        helper.make_node("Unsqueeze", ["embeddings", "axis_0"], ["new_values"]),
        helper.make_node("Concat", ["past_keys", "new_keys"], ["keys"], axis=2),
        helper.make_node("Concat", ["past_values", "new_values"], ["values"], axis=2),
        helper.make_node("Exp", ["mask"], ["open"]),
        helper.make_node("MatMul", ["open", "values"], ["sums"]),
        helper.make_node("Gather", ["sums", "last"], ["seen"], axis=2),
        helper.make_node("Gather", ["embeddings", "last"], ["word"], axis=1),
        helper.make_node("Reshape", ["seen", "flat"], ["seen_flat"]),
        helper.make_node("Reshape", ["word", "flat"], ["word_flat"]),
        helper.make_node("MatMul", ["seen_flat", "notice"], ["noticed"]),
        helper.make_node("Sub", ["noticed", "threshold"], ["above"]),
        helper.make_node("Relu", ["above"], ["facts"]),
        helper.make_node("MatMul", ["facts", "follow"], ["from_facts"]),
        helper.make_node("MatMul", ["word_flat", "after"], ["from_word"]),
        helper.make_node("Add", ["from_facts", "from_word"], ["logits"]),
    ]
    constants = {
        "axes_0_3": np.array([0, 3]), "axis_0": np.array([0]), "wide": np.ones((1, 1, 1, HIDDEN), np.float32), "last": np.array(-1),
        "flat": np.array([1, HIDDEN]), "notice": notice, "threshold": threshold, "follow": follow, "after": after,
    }  # fmt: skip
    inputs = [
        ("embeddings", TensorProto.FLOAT, [1, "T", HIDDEN]), ("positions", TensorProto.INT64, [1, "T"]),
        ("mask", TensorProto.FLOAT, [1, 1, "T", "N"]), ("past_keys", TensorProto.FLOAT, [1, 1, "P", HIDDEN]),
        ("past_values", TensorProto.FLOAT, [1, 1, "P", HIDDEN]),
    ]  # fmt: skip
    return model("lm_step", nodes, constants, inputs, [[1, VOCAB], [1, 1, "N", HIDDEN], [1, 1, "N", HIDDEN]])


def model(name: str, nodes: list, constants: dict, inputs: list, out_shapes: list) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, shape) for out, shape in zip(OUTPUTS[name], out_shapes, strict=True)],
        [numpy_helper.from_array(value, constant) for constant, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made


def graph_entry(made: onnx.ModelProto) -> dict:
    kinds = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64"}

    def tensors(values: list) -> list[dict]:
        types = [(v.name, v.type.tensor_type) for v in values]
        return [{"name": n, "dtype": kinds[t.elem_type], "shape": [d.dim_param or d.dim_value for d in t.shape.dim]} for n, t in types]

    return {"file": f"{made.graph.name}.onnx", "inputs": tensors(made.graph.input), "outputs": tensors(made.graph.output)}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {"vision": vision(), "lm_step": lm_step()}
    for name, made in graphs.items():
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))
    np.save(folder / "embeddings.npy", np.eye(VOCAB, HIDDEN, dtype=np.float16))
    tokenizer().save(str(folder / "tokenizer.json"))
    files = ["vision.onnx", "lm_step.onnx", "embeddings.npy", "tokenizer.json"]
    manifest = {
        "schema_version": 1, "name": "tiny", "kind": "vlm", "domain": "sim", "backend": "onnx", "precision": "fp32",
        "graphs": {name: graph_entry(made) for name, made in graphs.items()},
        "preprocess": {"height": HEIGHT, "width": WIDTH, "resize": "area", "colour": "rgb", "mean": [0.5] * 3, "std": [0.5] * 3},
        "tokens": {
            "file": "tokenizer.json", "bos": 2, "eos": 1, "pad": 0, "unk": 3, "newline": row("\n"),
            "loc_start": LOC, "loc_bins": BINS, "words": [row(word) for word in WORDS],
        },
        "language": {
            "layers": 1, "kv_heads": 1, "head_dim": HIDDEN, "hidden": HIDDEN, "image_tokens": IMAGE_TOKENS,
            "embeddings": "embeddings.npy", "max_new_tokens": 6,
        },
        "prompts": {"detect": "detect {thing}", "presence": "is there {thing}?", "sentences": ["drive", "describe"]},
        "targets": ["cup", "ball", "acorn"], "free_distance_columns": COLUMNS, "free_distance_cap_m": 4.0,
        "max_linear_mps": 0.35, "max_angular_rps": 1.0,
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tiny_bundle")
