"""Turns results into the tables printed at the end; a ratio is only made of figures of one run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.results import Metric, Result


@dataclass(frozen=True)
class Column:
    """One compared metric: its title, and whether more of it is better."""

    metric: str
    title: str
    more_is_better: bool = False
    per_n: bool = False
    """The figure grows with n, so it is compared only where n is equal."""


COLUMNS: dict[str, tuple[Column, ...]] = {
    "W1": (Column("runs_per_s", "runs/s", True), Column("cpu_us_per_run", "CPU us/run")),
    "W2": (Column("p50_ms", "p50 ms"), Column("p99_ms", "p99 ms")),
    "W3": (Column("first_result_s", "first result s"), Column("process_s", "whole process s")),
    "W4": (Column("total_ms", "ms", per_n=True), Column("runs_per_s", "runs/s", True)),
    "W6": (Column("total_ms", "ms", per_n=True), Column("cpu_ms", "CPU ms", per_n=True)),
    "W8": (Column("runs_per_s", "runs/s", True), Column("client_bytes_per_run", "client bytes/run")),
}
# What is compared when a peer has no variant of the same name.
_NEAREST = {"map": "submit", "submit": "map", "down-new-home": "down"}
_OWN = "taskyard"
_DETAILED = ("W6", "W6-uploads", "W7", "W9")


def report(results: Sequence[Result], console: Console) -> None:
    """Print the comparison, the CPU per role, the drain, the details and what was skipped."""
    measured = [result for result in results if not result.skipped]
    for table in (_comparison(measured), _cpu_by_role(measured), _drain(measured), _details(measured)):
        if table.row_count:
            console.print(table)
    _print_settings(results, console)


def _comparison(results: Sequence[Result]) -> Table:
    table = Table(title="Taskyard and its peers (x: how many times better Taskyard is; below 1, the peer is)")
    peers = [name for name in _systems(results) if name != _OWN]
    for heading in ("workload", "variant", "metric", _OWN, *peers):
        table.add_column(heading, justify="left" if heading in ("workload", "variant", "metric") else "right")
    for workload, variant in _rows(results):
        own = _find(results, workload, _OWN, variant)
        for column in COLUMNS.get(workload, ()):
            cells = [_cell(own, _nearest(results, workload, peer, variant), column) for peer in peers]
            table.add_row(workload, variant, column.title, _figure(own, column), *cells)
    return table


def _rows(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Taskyard's variants; those of the peers where Taskyard was not measured."""
    own = [result for result in results if result.system == _OWN]
    have = {result.workload for result in own}
    chosen = own + [result for result in results if result.workload not in have]
    return sorted({(result.workload, result.variant) for result in chosen if result.workload in COLUMNS})


def _systems(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(result.system for result in results))


def _find(results: Iterable[Result], workload: str, system: str, variant: str) -> Result | None:
    wanted = (workload, system, variant)
    return next((each for each in results if (each.workload, each.system, each.variant) == wanted), None)


def _nearest(results: Sequence[Result], workload: str, system: str, variant: str) -> Result | None:
    found = _find(results, workload, system, variant)
    return found or _find(results, workload, system, _NEAREST.get(variant, variant))


def _figure(result: Result | None, column: Column) -> str:
    value = None if result is None else _number(result.metrics.get(column.metric))
    return "-" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _cell(own: Result | None, peer: Result | None, column: Column) -> str:
    if peer is None:
        return "-"
    text = _figure(peer, column)
    if own is None:
        return text
    if own.n != peer.n:
        text += f" (n={peer.n:,})"
    if column.per_n and own.n != peer.n:
        return text
    ratio = times_better(own, peer, column)
    return text if ratio is None else f"{text}  {ratio:.3g}x"


def times_better(own: Result, peer: Result, column: Column) -> float | None:
    """Return how many times better the first result is, whichever direction better is."""
    mine, theirs = _number(own.metrics.get(column.metric)), _number(peer.metrics.get(column.metric))
    if not mine or not theirs:
        return None
    return mine / theirs if column.more_is_better else theirs / mine


def _number(value: Metric) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _cpu_by_role(results: Sequence[Result]) -> Table:
    prefix = "cpu_us_per_run_"
    table = Table(title="W1: CPU per run by process, us (median of the rounds)")
    bulk = [result for result in results if result.workload == "W1"]
    found = dict.fromkeys(key for result in bulk for key in result.metrics if key.startswith(prefix))
    roles = [key for key in found if not key.endswith(("_min", "_max"))]
    for heading in (
        "system",
        "variant",
        "runs/s",
        "min",
        "max",
        "all",
        *(key[len(prefix) :] for key in roles),
    ):
        table.add_column(heading, justify="left" if heading in ("system", "variant") else "right")
    metrics = ("runs_per_s", "runs_per_s_min", "runs_per_s_max", "cpu_us_per_run", *roles)
    for result in bulk:
        table.add_row(result.system, result.variant, *(_figure(result, Column(each, "")) for each in metrics))
    return table


def _drain(results: Sequence[Result]) -> Table:
    table = Table(
        title="W5: drain of a queue filled before the agent came (share: of the shortest queue's rate)"
    )
    for heading in ("queued", "runs/s", "share", "drain s", "CPU us/run", "idle MB", "queued MB"):
        table.add_column(heading, justify="right")
    drains = sorted((result for result in results if result.workload == "W5"), key=lambda result: result.n)
    metrics = ("drain_s", "cpu_us_per_run", "control_plane_rss_mb_idle", "control_plane_rss_mb_queued")
    rate = Column("runs_per_s", "runs/s", True)
    for result in drains:
        share = times_better(result, drains[0], rate)
        figures = [_figure(result, Column(each, "")) for each in metrics]
        table.add_row(
            f"{result.n:,}", _figure(result, rate), "-" if share is None else f"{share:.0%}", *figures
        )
    return table


def _details(results: Sequence[Result]) -> Table:
    """Tell everything of the workloads that measure more than is compared."""
    table = Table(title="What else was measured")
    for heading in ("workload", "system", "variant", "n", "figures"):
        table.add_column(heading, justify="right" if heading == "n" else "left")
    for result in (result for result in results if result.workload in _DETAILED):
        figures = ", ".join(f"{name} {_figure(result, Column(name, ''))}" for name in result.metrics)
        table.add_row(result.workload, result.system, result.variant, f"{result.n:,}", figures)
    return table


def _print_settings(results: Sequence[Result], console: Console) -> None:
    for system in _systems(results):
        of_system = [result for result in results if result.system == system]
        measured = [result for result in of_system if not result.skipped and result.settings]
        if measured:
            best = max(measured, key=lambda result: len(result.settings))
            said = "; ".join(f"{key}: {value}" for key, value in best.settings.items())
            versions = ", ".join(f"{name} {number}" for name, number in best.versions.items())
            console.print(f"{system}: {said} ({versions})", markup=False, highlight=False)
        for reason in dict.fromkeys(result.skipped for result in of_system if result.skipped):
            console.print(f"{system}: no figure: {reason}", markup=False, highlight=False)
