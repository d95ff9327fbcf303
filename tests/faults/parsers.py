"""`python -m tests.faults.parsers --minutes 10`: what the parsers of text and of `<locNNNN>` make of anything, led by what is new to them.

Not a test file. Atheris changes a reply wherever that reaches a branch no reply has reached; unsafe is what `fuzz.py` calls unsafe.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edge_vla.parse", "edge_vla.validate"]):
    from tests.faults.fuzz import SEEDS, WORDS, Reader

LONGEST_BYTES = 400  # of a reply; engines are stopped far before


def fuzz(corpus: Path, seconds: int, seed: int) -> None:
    """Never returns: libFuzzer ends the process."""
    reader = Reader()
    for number, text in enumerate(SEEDS):
        (corpus / f"seed{number}").write_text(text)
    words = corpus.parent / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))

    def one(data: bytes) -> None:
        reader.read(data.decode("utf-8", "surrogateescape"))

    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST_BYTES}", f"-dict={words}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus.parent}/", str(corpus)], one)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    """As libFuzzer's dictionaries write bytes."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def main() -> int:
    cli = argparse.ArgumentParser(prog="python -m tests.faults.parsers")
    cli.add_argument("--minutes", type=float, default=10.0)
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--out", type=Path, help="where the counts go, as JSON")
    cli.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)  # the fuzzer's own process
    args = cli.parse_args()
    seconds = round(60 * args.minutes)
    if args.corpus is not None:
        fuzz(args.corpus, seconds, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        words = [sys.executable, "-m", "tests.faults.parsers", "--minutes", str(args.minutes), "--seed", str(args.seed)]
        process = subprocess.Popen([*words, "--corpus", str(corpus)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        said = []
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            said.append(line)
        code = process.wait()
        kept = len(list(corpus.iterdir()))
    tried = re.search(r"stat::number_of_executed_units:\s+(\d+)", "".join(said))
    result = {
        "engine": "atheris", "minutes": args.minutes, "seed": args.seed, "replies": int(tried[1]) if tried else 0, "corpus": kept,
        "unsafe": int(code != 0),
    }  # fmt: skip
    print(json.dumps(result))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
