"""Hold a bundle against the model it was made of, or against a fresh look at that model, and write what was found into its manifest.

python -m export verify BUNDLE [--model MODEL_DIR]

Without --model nothing of torch is needed: the bundle brings fixed inputs and what its model made of them, so a device can verify itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edge_vla.backends.bundle import Bundle, sha256
from edge_vla.backends.manifest import Manifest
from edge_vla.errors import ConfigError, EdgeVLAError
from export.bundle.manifest import write_manifest
from export.bundle.verifying import BOUNDS, verify


def main(argv: list[str] | None = None) -> int:
    """0 where it agrees, 1 where it does not, 2 for a bundle that cannot be verified."""
    cli = argparse.ArgumentParser(prog="python -m export verify", description="Hold a bundle against the model it was made of.")
    cli.add_argument("bundle", type=Path)
    cli.add_argument("--model", type=Path, help="make the numbers anew from this checkpoint directory, with torch")
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    args = cli.parse_args(argv)
    if args.threads < 1:
        cli.error(f"--threads {args.threads}: want at least 1")
    try:
        bundle = Bundle(args.bundle)
        if args.model is not None:
            _refresh(bundle, args.model)
            bundle = Bundle(args.bundle)
        found = verify(bundle, threads=args.threads, say=lambda line: print(f"  differs: {line}", file=sys.stderr))
        write_manifest(args.bundle, bundle.manifest.model_copy(update={"verified": found}))
    except EdgeVLAError as err:
        print(f"verify: {err}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(found.model_dump()))
    else:
        print(_table(bundle.manifest, found.graphs, f"{found.agreeing} of {found.answers} answers as the model's, want {found.share:.0%}"))
    print(f"verify: {args.bundle} {'agrees with' if found.passed else 'DIFFERS from'} {found.peer} on {found.runtime}", file=sys.stderr)
    return 0 if found.passed else 1


def _table(manifest: Manifest, worst: dict[str, float], answers: str) -> str:
    bound = BOUNDS[manifest.precision]
    kind = "of a tensor's root mean square" if bound.relative else "at most"
    lines = [f"{name:<20} {off:9.2e}{'' if off <= bound.tensor else '   too far'}" for name, off in worst.items()]
    return "\n".join([f"{manifest.name}: {manifest.precision}, allowed {bound.tensor:g} {kind}", *lines, answers])


def _refresh(bundle: Bundle, model: Path) -> None:
    """Probes and answers anew. The bundle's own weights stay what they are. Raises ConfigError for another model's folder."""
    from export.bundle.refreshing import refresh

    found = refresh(bundle, model)
    m = bundle.manifest.model_copy(update={"sha256": bundle.manifest.sha256 | {name: sha256(bundle.path(name)) for name in found}})
    write_manifest(bundle.folder, m)
    if not found:
        raise ConfigError(f"engine {bundle.folder}: nothing to make anew")
