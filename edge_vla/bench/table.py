"""A report as a person wants to read it: what was measured on what, the stages, what has changed."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edge_vla.bench.conditions import warnings_of
from edge_vla.bench.report import Change, Checked, Conditions, Range, Report, Stage

COLOURS = {"slower": "red", "unclear": "yellow", "faster": "green", "same": "dim", "new": "dim", "gone": "yellow"}
RESULTS = {"measured": "green", "same": "green", "slower": "red", "changed": "red"}


def render(report: Report) -> RenderableType:
    """The result and the figures."""
    head = Text.assemble((report.result, f"bold {RESULTS[report.result]}"), f"  {verdict(report)}")
    return Group(head, "", _facts(report), "", _stages(report))


def lines(report: Report) -> list[Text]:
    """What else is to be said, one line each: paths and answers are not broken into lines."""
    changed = [Text(f"changed  {line}", style="red") for line in report.changed]
    return changed + [Text(f"note  {line}", style="yellow") for line in remarks(report)]


def verdict(report: Report) -> str:
    """The result in a sentence."""
    said = [f"{len(report.changed)} answers are other ones"] if report.changed else []
    comparison = report.comparison
    if comparison is None:
        return "; ".join(said) or f"{len(report.answers)} answers, {len(report.stages)} stages"
    if comparison.slower:
        said.append(f"slower by more than {comparison.max_regression:.0%}: " + ", ".join(map(change_told, comparison.slower)))
    if not said:
        said.append(f"no stage slower by more than {comparison.max_regression:.0%}, the same {comparison.answers.answers} answers")
    return "; ".join(said)


def remarks(report: Report) -> list[str]:
    """What a reader of the figures has to know besides them."""
    found = warnings_of(report.conditions, report.machine.usable_cores)
    if report.unsteady:
        found.append(f"{report.unsteady} answers differed from the first to the same question")
    if report.comparison:
        found += report.comparison.notes
        if unclear := report.comparison.unclear:
            found.append(f"unclear, for noise hides it: {', '.join(map(change_told, unclear))}; measure longer: --rounds")
    return found


def change_told(change: Change) -> str:
    """A change in words."""
    if change.ratio is None or change.base_ms is None or change.new_ms is None:
        return f"{change.stage} {change.word}"
    return f"{change.stage} {change.statistic} {change.base_ms:.2f} to {change.new_ms:.2f} ms ({change.ratio - 1:+.0%})"


def facts(report: Report) -> list[tuple[str, str]]:
    """(name, value) of what the figures depend on."""
    engine, machine, conditions, method = report.engine, report.machine, report.conditions, report.method
    runs_on = f"{engine.backend} on {', '.join(engine.providers) or 'unknown'}, {engine.threads} thread{'s' if engine.threads > 1 else ''}"
    cores = f"{machine.usable_cores} of {machine.cores} cores"
    packages = {"python": report.versions.python, **report.versions.packages}
    warm = report.stages["answer"].warm_up if "answer" in report.stages else 0
    return [
        ("engine", f"{engine.name} ({engine.folder}), {engine.precision}, {runs_on}"),
        (
            "board",
            " · ".join(filter(None, (machine.board, machine.jetson, machine.processor, cores, machine.gpu, f"{machine.memory_gib:g} GiB"))),
        ),
        ("power", _power(conditions)),
        ("clocks", _clocks(conditions)),
        ("versions", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ("commit", report.versions.commit or ""),
        ("questions", f"{method.questions}, {method.source}; {method.rounds} rounds after 1 cold and {warm} warm-up answers"),
        ("guard ticks", report.guard_ticks),
        ("reference", "" if report.reference is None else _reference(report.reference)),
    ]


def _reference(checked: Checked) -> str:
    agree = checked.answers - len(checked.changed)
    return f"{agree} of {checked.answers} answers as at export, within {checked.tolerance}"


def _power(conditions: Conditions) -> str:
    watts = f"{_told(conditions.power_w)} W" if conditions.power_w else ""
    heat = f"{_told(conditions.celsius)} °C" if conditions.celsius else ""
    throttled = {True: "THROTTLED", False: "not throttled", None: ""}[conditions.throttled]
    return ", ".join(dict.fromkeys(filter(None, (conditions.power_mode, watts, heat, throttled, conditions.jetson_stats))))


def _clocks(conditions: Conditions) -> str:
    cpu = f"CPU {_told(conditions.cpu_mhz)} MHz" if conditions.cpu_mhz else ""
    gpu = f"GPU {_told(conditions.gpu_mhz)} MHz" if conditions.gpu_mhz else ""
    locked = {True: "locked", False: "free", None: ""}[conditions.clocks_locked]
    waited = "" if conditions.waited is None else f"waited for a core {conditions.waited:.1%} of the time"
    return ", ".join(filter(None, (cpu, gpu, conditions.governor, locked, f"load before {conditions.load_before:g}", waited)))


def _told(seen: Range) -> str:
    return f"{seen.median:g}" if seen.least == seen.most else f"{seen.least:g} to {seen.most:g}"


def _facts(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in facts(report):
        if value:
            table.add_row(name, Text(value))
    return table


def _stages(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    compared = report.comparison is not None
    columns = ["stage", "cold", "p50", "p95", "p99", "max ms", "n", *(["p50 was", "change", "p95 was", "change"] if compared else [])]
    for name in columns:
        table.add_column(name, justify="left" if name == "stage" else "right")
    changes = {(c.stage, c.statistic): c for c in report.comparison.changes} if report.comparison else {}
    for name, stage in report.stages.items():
        cells: list[str | Text] = [Text(name), *row(stage)]
        for statistic in ("p50", "p95") if compared else ():
            cells += _change(changes.get((name, statistic)))
        table.add_row(*cells)
    return table


def row(stage: Stage) -> list[str]:
    """A stage's figures as texts: cold, p50, p95, p99, max, n."""
    figures = (stage.cold_ms, stage.p50_ms, stage.p95_ms, stage.p99_ms, stage.max_ms)
    return ["" if value is None else f"{value:.2f}" for value in figures] + [str(stage.n) if stage.n else ""]


def _change(change: Change | None) -> list[str | Text]:
    if change is None:
        return ["", ""]
    base = "" if change.base_ms is None else f"{change.base_ms:.2f}"
    ratio = "" if change.ratio is None else f"{change.ratio - 1:+.0%} "
    return [base, Text(f"{ratio}{change.word}", style=COLOURS[change.word])]
