"""`python -m tests.bench.plots`: the bench page's tables and plots, from the result files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from tests.bench.charts import Chart, svg
from tests.bench.ground import KAFKA_CPU, POSTGRES_CPU, WORKER_CPU
from tests.bench.results import RESULTS, Result, read

MIB = 1 << 20

PAGE = Path(__file__).parent / "README.md"
PLOTS = "plots"
CPU = "CPU seconds per million events"
COSTS = {
    "events": "events",
    WORKER_CPU: "worker CPU s per million",
    POSTGRES_CPU: "PostgreSQL",
    KAFKA_CPU: "Kafka",
    "events_per_second": "events/s",
}

Columns = Mapping[str, str]
"""The columns of a table: a field's name in the result and in the heading."""


OPEN = {"held": "in memory", "events_a_write": "events a write"}


class Curve(NamedTuple):
    """How a part of `growth.json` is shown."""

    title: str
    grows: str
    more: Columns = {}
    logarithmic: bool = True


CURVES = {
    "open": Curve("Open conversations", "open conversations", OPEN),
    "spread": Curve("Open conversations, all of them spoken in", "open conversations", OPEN),
    "length": Curve("Length of a conversation, as a backlog", "messages a conversation"),
    "one-by-one": Curve("Length of a conversation, message by message", "messages a conversation has"),
    "workers": Curve("Workers", "workers"),
    "ledger": Curve("Size of the ledger", "session records", {"database_gib": "database, GiB"}),
    "late": Curve("Late events", "late events, %", {"late": "late events"}, logarithmic=False),
}
MEMORIES = {
    "in-blocks": "Memory of an open conversation, one after another",
    "in-turns": "Memory of an open conversation, all speaking in turn",
}
MEMORY = {
    "conversations": "open conversations",
    "held": "of them in memory",
    "empty_mib": "empty worker, MiB",
    "rss_mib": "with them, MiB",
    "bytes_a_conversation": "bytes a conversation",
    "bytes_a_further_one": "bytes a further one",
}
WINDOWS = {
    "rate": "events/s",
    "held": "held",
    "lag_growth_seconds": "lag grew by, s",
    "lag_seconds": "lag, s",
    "worker_cores": "worker, cores",
    "postgres_cores": "PostgreSQL",
    "kafka_cores": "Kafka",
    "publisher_cores": "publisher",
    "publisher_behind_seconds": "publisher behind, s",
}
FRESHNESS = {
    "share_percent": "% of live capacity",
    "rate": "events/s",
    "p50_seconds": "p50, s",
    "p99_seconds": "p99, s",
    "most_seconds": "longest, s",
    "probes": "probes",
}
STORAGE = {
    "what": "of it",
    "table_before": "table, before",
    "table_after": "after sealing",
    "indexes_before": "indexes, before",
    "indexes_after": "indexes, after",
}
INVOICES = {
    "accounts": "accounts",
    "records": "records in the ledger",
    "feed_records_per_second": "feed, records/s",
    "run_seconds": "run, s",
    "run_cpu_seconds": "of it CPU, s",
    "invoices_per_second": "invoices/s",
    "idle_run_seconds": "a run with nothing to do, s",
    "usage_p50_ms": "usage, p50 ms",
    "usage_p99_ms": "p99 ms",
}


def draw(results: Path, page: Path) -> None:
    """Rewrite the page's tables, and the plots beside it, of which there are results."""
    text = page.read_text()
    plots = page.parent / PLOTS
    plots.mkdir(exist_ok=True)
    for name, lines, chart in _sections(results):
        if chart:
            (plots / f"{name}.svg").write_text(svg(chart))
            lines = [f"![{chart.title}]({PLOTS}/{name}.svg)", "", *lines]
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = "".join([before, begin, *(f"{line}\n" for line in lines), end, after])
    page.write_text(text)


def _sections(results: Path) -> Iterator[tuple[str, list[str], Chart | None]]:
    """Each section's name, its lines and its plot."""
    growth, memory = read("growth", results), read("memory", results)
    for name, curve in CURVES.items():
        if part := growth.get(name):
            yield name, _growth_lines(curve, part), _growth_chart(curve, part["points"])
    for name, title in MEMORIES.items():
        if part := memory.get(name):
            yield (
                name,
                [*_table(MEMORY, part["points"]), _made_on(part)],
                _memory_chart(title, part["points"]),
            )
    yield from _freshness(read("freshness", results))
    yield from _catch_up(read("catch-up", results))
    if part := read("invoices", results).get("invoices"):
        yield "invoices", [*_table(INVOICES, part["points"]), _made_on(part)], None
    if part := read("storage", results).get("storage"):
        yield "storage", [*_table(STORAGE, part["points"]), _made_on(part)], None


def _growth_lines(curve: Curve, part: Result) -> list[str]:
    exponent = "" if part["exponent"] is None else f"Exponent of the worker's cost: {part['exponent']:+.3f}. "
    return [*_table({"x": curve.grows, **COSTS, **curve.more}, part["points"]), exponent + _made_on(part)]


def _growth_chart(curve: Curve, points: Sequence[Result]) -> Chart:
    series = {
        name: [(point["x"], point[field]) for point in points]
        for name, field in (("worker", WORKER_CPU), ("PostgreSQL", POSTGRES_CPU), ("Kafka", KAFKA_CPU))
    }
    return Chart(curve.title, curve.grows, CPU, series, curve.logarithmic)


def _memory_chart(title: str, points: Sequence[Result]) -> Chart:
    series = {"all": [(point["conversations"], point["bytes_a_conversation"]) for point in points]}
    return Chart(title, "open conversations", "bytes", series)


def _freshness(found: Result) -> Iterator[tuple[str, list[str], Chart | None]]:
    if capacity := found.get("capacity"):
        lines = [
            f"Live capacity: **{capacity['events_per_second']:,} events/s**; "
            f"a backlog: {capacity['backlog']['events_per_second']:,} events/s. "
            f"Windows of {capacity['window_seconds']:.0f} s:",
            "",
            *_table(WINDOWS, capacity["windows"]),
            _made_on(capacity),
        ]
        yield "capacity", lines, None
    if part := found.get("freshness"):
        points = [point | {"share_percent": round(100 * point["share"])} for point in part["points"]]
        points.sort(key=lambda point: point["share"])
        series = {
            name: [(point["share_percent"], point[f"{name}_seconds"]) for point in points]
            for name in ("p50", "p99")
        }
        chart = Chart(
            "From publishing to the record", "% of live capacity", "seconds", series, logarithmic=False
        )
        yield "freshness", [*_table(FRESHNESS, points), _made_on(part)], chart


def _catch_up(found: Result) -> Iterator[tuple[str, list[str], None]]:
    rows = [
        found[name] | {"name": title}
        for name, title in (("catch-up", "a day's backlog"), ("replay", "all of it again"))
        if name in found
    ]
    if rows:
        columns = {"name": "read", **COSTS, "seconds": "seconds"}
        yield "catch-up", [*_table(columns, rows), _made_on(rows[0])], None
    if disk := found.get("disk"):
        names = [name for name in disk if name.endswith("_bytes")]
        rows = [
            {
                "what": name.removesuffix("_bytes").replace("_", " "),
                "mib": disk[name] / MIB,
                "an event": disk[name] / disk["events"],
                "a record": disk[name] / disk["records"],
            }
            for name in names
        ]
        columns = {"what": "what", "mib": "MiB", "an event": "bytes an event", "a record": "bytes a record"}
        yield "disk", [*_table(columns, rows), _made_on(disk)], None


def _table(columns: Columns, rows: Sequence[Result]) -> list[str]:
    lines = [[_shown(row.get(field)) for field in columns] for row in rows]
    head = [list(columns.values()), ["---"] * len(columns)]
    return [f"| {' | '.join(cells)} |" for cells in (*head, *lines)] + [""]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return value if isinstance(value, str) else f"{value:,}"


def _made_on(part: Result) -> str:
    """Where figures come from."""
    machine = part["machine"]
    return (
        f"(commit {part['commit']}, {machine['cores']} cores of {machine['processor']}, "
        f"Python {machine['python']}, Kafka {machine['kafka']}, PostgreSQL {machine['postgresql']})"
    )


@click.command()
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS)
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), default=PAGE)
def main(results: Path, page: Path) -> None:
    """Rewrite the bench page's tables and plots from the result files."""
    draw(results, page)


if __name__ == "__main__":
    main()
