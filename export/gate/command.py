"""The command `gate`: every graph of a bundle, or one file, against one TensorRT or all."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_vla.backends.bundle import MANIFEST, Bundle
from edge_vla.errors import ConfigError
from export.files.operators import TABLES
from export.gate.check import check
from export.gate.finding import Finding

EXIT_REFUSED = 2
SHOWN = 3  # nodes named of one kind of finding; all are in the JSON

Verdict = Mapping[str, list[Finding]]  # by file


def graphs_of(subject: Path) -> list[Path]:
    """The file, or all graphs of the bundle. Raises ConfigError."""
    if subject.is_file():
        return [subject]
    if not (subject / MANIFEST).is_file():
        raise ConfigError(f"{subject}: want an ONNX file, or a bundle with its {MANIFEST}")
    bundle = Bundle(subject)
    if bundle.manifest.backend != "onnx":
        raise ConfigError(f"{subject}: a bundle of {bundle.manifest.backend}; the gate reads ONNX, from before plans are built")
    return [bundle.path(graph.file) for graph in bundle.manifest.graphs.values()]


def told(file: str, findings: Sequence[Finding]) -> list[str]:
    """Lines for a person: each kind of finding once, with the nodes that have it."""
    kinds: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        key = (finding.op, finding.rule, finding.allowed)
        kinds.setdefault(key, []).append(finding)
    lines = []
    for alike in kinds.values():
        more = f", and {len(alike) - 1} more: {', '.join(f.node for f in alike[1 : 1 + SHOWN])}" if len(alike) > 1 else ""
        lines.append(f"{file}: {alike[0]}{more}{' ...' if len(alike) > 1 + SHOWN else ''}")
    return lines


def report(verdicts: Mapping[str, Verdict]) -> list[str]:
    lines = []
    for target, verdict in verdicts.items():
        count = sum(len(findings) for findings in verdict.values())
        for file, findings in verdict.items():
            lines += told(f"TensorRT {target}: {file}", findings)
        lines.append(f"TensorRT {target}: {', '.join(verdict)}: {'passed' if not count else f'refused, {count} findings'}")
    return lines


def as_json(verdicts: Mapping[str, Verdict]) -> dict[str, object]:
    return {
        "passed": not any(findings for verdict in verdicts.values() for findings in verdict.values()),
        "tables": {target: TABLES[target].source for target in verdicts},
        "targets": {
            target: {
                file: {
                    "findings": [finding.as_json() for finding in findings],
                    "by_rule": dict(Counter(finding.rule.name.lower() for finding in findings)),
                }
                for file, findings in verdict.items()
            }
            for target, verdict in verdicts.items()
        },
    }


def arguments() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser("python -m export gate", description="What TensorRT's ONNX parser would refuse, by its published rules.")
    cli.add_argument("subject", type=Path, metavar="FILE_OR_BUNDLE", help="an ONNX file, or a bundle's folder")
    cli.add_argument("--tensorrt", choices=[*TABLES], help="one version; without it, all")
    cli.add_argument("--json", action="store_true", help="every finding, as JSON on standard output")
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when every graph passes, 2 when one is refused or cannot be read."""
    args = arguments().parse_args(argv)
    try:
        files = graphs_of(args.subject)
        targets = [args.tensorrt] if args.tensorrt else list(TABLES)
        verdicts = {target: {file.name: check(file, target) for file in files} for target in targets}
    except ConfigError as err:
        print(f"gate: {err}", file=sys.stderr)
        if args.json:
            print(json.dumps({"refused": str(err)}))
        return EXIT_REFUSED
    print("\n".join(report(verdicts)), file=sys.stderr if args.json else sys.stdout)
    found = as_json(verdicts)
    if args.json:
        print(json.dumps(found))
    return 0 if found["passed"] else EXIT_REFUSED
