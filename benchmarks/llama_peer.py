"""llama.cpp beside us: a text model of Gemma-2B's shape with random weights in Q4_0, run by its own package. Imports nothing of ours.

Run by benchmarks.paligemma_3b in an environment that has `llama-cpp-python` and `gguf`. Lines of JSON go in, lines of JSON come out.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

HIDDEN, INNER, LAYERS, HEADS, HEAD_DIM, ROWS = 2048, 16384, 18, 8, 256, 257216
BLOCK, BLOCK_BYTES = 32, 18  # of Q4_0: a float16 scale, then 32 levels of 4 bits
LEVELS_STD = math.sqrt((16**2 - 1) / 12)
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")


def q4_0(outputs: int, inputs: int, rng: np.random.Generator) -> np.ndarray:
    """(outputs, bytes) of a matrix that keeps lengths."""
    blocks = rng.integers(0, 256, (outputs, inputs // BLOCK, BLOCK_BYTES), np.uint8)
    blocks[..., :2] = np.frombuffer(np.float16(1 / (LEVELS_STD * math.sqrt(inputs))).tobytes(), np.uint8)
    return blocks.reshape(outputs, -1)


def write_model(path: Path) -> None:
    import gguf

    out, rng = gguf.GGUFWriter(path, "gemma"), np.random.default_rng(0)
    out.add_context_length(8192)
    out.add_embedding_length(HIDDEN)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(1)
    out.add_key_length(HEAD_DIM)
    out.add_value_length(HEAD_DIM)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    out.add_tokenizer_model("llama")
    out.add_token_list([*SPECIAL, *(f"word{row}" for row in range(len(SPECIAL), ROWS))])
    out.add_token_scores([-float(row) for row in range(ROWS)])
    out.add_token_types([3] * len(SPECIAL) + [1] * (ROWS - len(SPECIAL)))
    out.add_bos_token_id(2)
    out.add_eos_token_id(1)
    wide = HEADS * HEAD_DIM
    matrices = {
        "attn_q": (wide, HIDDEN), "attn_k": (HEAD_DIM, HIDDEN), "attn_v": (HEAD_DIM, HIDDEN), "attn_output": (HIDDEN, wide),
        "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER),
    }  # fmt: skip
    kind = gguf.GGMLQuantizationType.Q4_0
    out.add_tensor("token_embd.weight", q4_0(ROWS, HIDDEN, rng), raw_dtype=kind)
    out.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(HIDDEN, np.float32))
        for name, shape in matrices.items():
            out.add_tensor(f"blk.{layer}.{name}.weight", q4_0(*shape, rng), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def serve(path: Path, threads: int) -> None:
    """For each line {"prompt": n, "steps": k}: milliseconds of the prefill and of each of k steps of one token."""
    import llama_cpp

    model = llama_cpp.Llama(str(path), n_ctx=1024, n_batch=512, n_threads=threads, n_threads_batch=threads, n_gpu_layers=0, verbose=False)
    print(json.dumps({"ready": llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        model.reset()
        start = time.perf_counter()
        model.eval([2, *range(1000, 999 + asked["prompt"])])
        prefill = time.perf_counter() - start
        steps = []
        for k in range(asked["steps"]):
            start = time.perf_counter()
            model.eval([5000 + k])
            steps.append(1e3 * (time.perf_counter() - start))
        print(json.dumps({"prefill_ms": 1e3 * prefill, "step_ms": steps}), flush=True)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("model", type=Path)
    cli.add_argument("--threads", type=int, default=1)
    args = cli.parse_args()
    if not args.model.exists():
        write_model(args.model)
    serve(args.model, args.threads)
