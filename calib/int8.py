"""`python -m calib int8 collect|ranges`: pictures and prompts to calibrate with, and an engine's ranges over them.

python -m calib int8 collect runs/A runs/B --out data/calib --prompt describe
python -m calib int8 ranges --set data/calib --bundle engines/fp32
"""

from __future__ import annotations

import sys
from pathlib import Path

from calib import toml
from calib.choice import Picture, distinct, spread
from calib.picture_set import PictureSet, write_set
from calib.sources import candidates
from edge_vla.arguments import Arguments
from edge_vla.errors import ConfigError

PERCENT = 99.99
EPILOG = "`collect` makes a set of pictures and prompts; `ranges` runs an fp32 bundle over it; see docs/calibration.md"


def main(words: list[str]) -> None:
    """Raises ConfigError."""
    steps = {"collect": collect, "ranges": ranges}
    if not words or words[0] not in steps:
        if words and words[0] in {"-h", "--help"}:
            print(__doc__)
            return
        raise ConfigError(f"int8 {words[0] if words else ''}: want one of {', '.join(steps)}")
    steps[words[0]](words[1:])


def collect(words: list[str]) -> None:
    cli = Arguments("python -m calib int8 collect", "Choose pictures and prompts from recorded runs or image folders.", EPILOG)
    cli.add_argument("folders", type=Path, nargs="+", help="what runs wrote (runs/...), or folders of images")
    cli.add_argument("--out", type=Path, required=True, help="the new set's folder")
    cli.add_argument("--count", type=int, help="pictures; default 64, or all that differ where there are fewer")
    cli.add_argument("--seed", type=int, default=0, help="of the choice")
    cli.add_argument("--prompt", action="append", default=[], help="a question to add, in turn from picture to picture; repeatable")
    args = cli.parse_args(words)
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: want 0 or more")
    if len({folder.resolve() for folder in args.folders}) < len(args.folders):
        raise ConfigError(f"a folder is named twice among {', '.join(map(str, args.folders))}")
    sources = [candidates(folder) for folder in args.folders]
    found = distinct(sources)
    there = sum(map(len, found.sources))
    chosen = spread(found, min(64, there) if args.count is None else args.count, args.seed)
    prompts = questions(chosen, args.prompt)
    write_set(args.out, chosen, prompts, {"seed": args.seed, "seen": sum(map(len, sources)), "repeated": found.repeated})
    seen = sum(map(len, sources))
    print(f"{args.out}: {len(chosen)} of {seen} pictures ({found.repeated} repeat another), {sum(map(len, prompts))} questions")


def questions(pictures: list[Picture], added: list[str]) -> list[list[str]]:
    """Of each picture: what it was asked in its run, and one of the added questions in turn. Raises ConfigError for none at all."""
    asked = []
    for k, picture in enumerate(pictures):
        prompts = [picture.candidate.prompt] if picture.candidate.prompt else []
        if added and added[k % len(added)] not in prompts:
            prompts.append(added[k % len(added)])
        if not prompts:
            raise ConfigError(f"nobody asked anything about {picture.candidate.source}: add questions, for example --prompt describe")
        asked.append(prompts)
    return asked


def ranges(words: list[str]) -> None:
    from calib.activations import watch
    from calib.ranges import FILE, describe
    from calib.report import draw, table
    from edge_vla.backends.bundle import Bundle

    cli = Arguments("python -m calib int8 ranges", "Run an fp32 bundle over a set and read its activations' ranges off.", EPILOG)
    cli.add_argument("--set", type=Path, required=True, help="a folder of `collect`")
    cli.add_argument("--bundle", type=Path, required=True, help="an engine exported with --precision fp32")
    cli.add_argument("--out", type=Path, help=f"default: {FILE} in the set, with .md and .png beside it")
    cli.add_argument("--percent", type=float, default=PERCENT, help="of all values that the percentile method keeps")
    cli.add_argument("--threads", type=int, default=1)
    args = cli.parse_args(words)
    if not 50 < args.percent < 100:
        raise ConfigError(f"--percent {args.percent}: want more than 50 and less than 100")
    if not 1 <= args.threads <= 64:
        raise ConfigError(f"--threads {args.threads}: want 1 to 64")
    pictures, bundle = PictureSet(args.set), Bundle(args.bundle)
    found = watch(bundle, pictures, args.threads, _progress)
    document = describe(found, bundle, pictures, args.percent)
    out = args.out or args.set / FILE
    toml.write(out, document)
    out.with_suffix(".md").write_text(table(found, document), "utf-8")
    draw(found, document, out.with_suffix(".png"))
    tensors = {name: len(graph["tensors"]) for name, graph in document["graphs"].items()}
    print(f"{out}: {', '.join(f'{n} tensors of {name}' for name, n in tensors.items())}; table {out.with_suffix('.md')}")


def _progress(text: str) -> None:
    """On the terminal alone, over the last one."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\x1b[K")
