"""A new version of the program takes over worker by worker while traffic flows, and its rule bills anew.

`python -m tests.drills.rolling_upgrade`: the next version is this tree with a rule that ends sessions
sooner, and a migration more. Its schema comes first: old workers must go on beside it, one that was killed
too. Then new workers take the places of old ones. At the end `recompute --plan` of the new version
must show just what the reference models of both versions say, `--apply` must make it so, with corrections
that consumers are told of, and the old version must refuse to do any of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from quarterhour.comparing import COMPARED, Comparison, compare
from quarterhour.parts import Parts
from sessionizer import reference
from sessionizer.bill import ALGORITHM
from sinks.migrate import migrations
from tests.drills.arena import Arena, arena
from tests.drills.stand import on_local_parts, parts_of_this_run
from tests.drills.supervisor import Slot
from tests.drills.verdict import SHOWN, Verdict, judge_totals, sort_out
from tests.streams.stage import PROGRAM, Json, Stage, until

ROOT = Path(__file__).parents[2]
PACKAGES = ("invoicing", "quarterhour", "schemas", "sessionizer", "sinks", "streams")
NEXT = ALGORITHM + 1
CONTENT = [name for name in COMPARED if name != "algorithm"]
CHANGES = ("changed", "void", "new", "back")
PUBLISH_LIMIT_SECONDS = 600.0
WHY = "sessions end sooner"
HAND = ("--reason", WHY, "--actor", "ada")

# Sessions now end after two thirds of the idle timeout. Each: a file, what stands there, what comes instead.
NEW_RULE = (
    ("sessionizer/bill.py", f"ALGORITHM: Final = {ALGORITHM}", f"ALGORITHM: Final = {NEXT}"),
    ("sessionizer/bill.py", "rules.idle_timeout_ms", "rules.idle_timeout_ms * 2 // 3"),
    ("sessionizer/bills.py", "rule.idle_timeout_ms", "rule.idle_timeout_ms * 2 // 3"),
    ("sessionizer/reference.py", "<= idle_timeout_ms:", "<= idle_timeout_ms * 2 // 3:"),
)
NEW_COLUMN = """\
-- serves programs that know {newest:04d}
alter table billing.session_record add column note text;
"""

RECORDS = """
select session_id::text, account_id, conversation_id, kind, status, algorithm, corrected_at,
       (select max(position) from billing.session_record_changes c
        where c.session_id = r.session_id) as position
from billing.session_records r
"""


@dataclass(frozen=True)
class Version:
    """A program, as a stage whose workers and commands are of it."""

    stage: Stage
    settings: Mapping[str, str] = field(default_factory=dict)
    reference: ModuleType = reference

    async def answer(self, *arguments: str) -> tuple[int | None, list[Json], str]:
        """Run a command of it."""
        return await self.stage.answer(*arguments, **self.settings)

    async def migrate(self) -> int | None:
        """Bring the schema to this version; the exit status."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self.stage.program, "migrate"),
            env={**os.environ, **self.stage.environment(**self.settings)},
        )
        return await process.wait()

    def slot(self, number: int) -> Slot:
        """Start a worker of it."""
        return Slot(self.stage, number, dict(self.settings))


@dataclass
class Report:
    """What became of it; findings are what is wrong."""

    events: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    before: Counter[int] = field(default_factory=Counter)
    """Records by algorithm once all workers were new."""
    expected: Counter[str] = field(default_factory=Counter)
    requested: int = 0
    recompute_seconds: float = 0.0
    corrections: int = 0
    comparison: Comparison | None = None
    compared: int = 0
    findings: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.findings.append(what)


def next_version(folder: Path, stage: Stage) -> Version:
    """This tree with another rule and a migration more."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in NEW_RULE:
        path = folder / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new))
    newest = migrations()[-1].version
    path = folder / "sinks" / "migrations" / f"{newest + 1:04d}_next_version.sql"
    path.write_text(NEW_COLUMN.format(newest=newest))
    # Without -P Python would look for the program in the folder that the drill runs in.
    its_stage = replace(stage, program=("-P", *PROGRAM))
    settings = {"PYTHONPATH": str(folder)}
    return Version(its_stage, settings, _loaded(folder / "sessionizer" / "reference.py"))


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("next_reference", path)
    assert spec and spec.loader
    module = sys.modules["next_reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def play(ring: Arena, old: Version, new: Version, events: int) -> Report:
    """Go through all of it."""
    report = Report()
    await _roll(ring, old, new, events, report)
    log = await ring.read_log()
    good, dead_letters = sort_out(log, ring.stand.topics, ring.stand.counts)
    report.events = len(log)
    bills, new_bills = (
        {record["session_id"]: record for record in version.reference.sessionize(good)}
        for version in (old, new)
    )
    await _recompute(old, new, bills, new_bills, report)
    records = [{**record, "algorithm": NEXT} for record in await new.stage.records()]
    report.comparison = compare(records, [{**it, "algorithm": NEXT} for it in new_bills.values()])
    report.expect(report.comparison.equal, "the ledger is not what the new version's reference says")
    verdict = Verdict()
    await judge_totals(ring.stage.dsn, reference.outcomes(good), dead_letters, verdict)
    report.compared, report.findings = verdict.compared, [*report.findings, *verdict.differences]
    return report


async def _roll(ring: Arena, old: Version, new: Version, events: int, report: Report) -> None:
    """Have new workers take the places of old ones."""
    ring.slots += [old.slot(number) for number in range(2)]
    for slot in ring.slots:
        await slot.ready()
    await _published(ring, events // 2)
    await ring.recovered()
    report.expect(await new.migrate() == 0, "the new version could not migrate")
    await ring.recovered()
    report.expect(not any(slot.exits for slot in ring.slots), "an old worker ended as the schema changed")
    victim = ring.slots[0]
    before = victim.worker
    victim.kill()
    await victim.restarted(before)
    await ring.recovered()
    for number, leaving in enumerate(list(ring.slots), len(ring.slots)):
        joining = new.slot(number)
        ring.slots.append(joining)
        await joining.ready()
        await ring.recovered()
        status = await leaving.stop()
        report.expect(status == 0, f"{leaving.worker.name} ended with {status} when asked to stop")
        report.exits += leaving.exits
        ring.slots.remove(leaving)
        await ring.recovered()
    await _published(ring, events)
    await ring.flow.end()
    await ring.recovered()


async def _recompute(
    old: Version, new: Version, bills: Mapping[str, Json], new_bills: Mapping[str, Json], report: Report
) -> None:
    """See what the new version would change, that the old one does not, and have it done."""
    before = {row["session_id"]: row for row in await old.stage.query(RECORDS)}
    report.before = Counter(row["algorithm"] for row in before.values())
    report.expect(len(report.before) == 2, "not both versions have billed")
    billed = {record["session_id"]: record for record in await old.stage.records()}
    report.findings += _of_neither(billed, bills, new_bills)
    expected = _expected(billed, new_bills)
    report.expected = sum(expected.values(), Counter())
    plan = await _planned(new, "--plan", report)
    report.expect(plan == expected, f"planned {plan}, and the references say {expected}")
    for arguments in (("--plan",), ("--apply", *HAND)):
        status, _, messages = await old.answer("recompute", *arguments)
        refused = status == 1 and f"algorithm {NEXT}, and this program has {ALGORITHM}" in messages
        report.expect(refused, f"the old version's recompute {arguments[0]} ended with {status}: {messages}")
    began = time.monotonic()
    applied = await _planned(new, "--apply", report, *HAND, "--wait")
    ((report.requested,),) = await new.stage.query("select conversations from billing.recomputation")
    report.recompute_seconds = time.monotonic() - began
    report.expect(applied == expected, f"applied {applied}, and the references say {expected}")
    again = await _planned(new, "--plan", report)
    report.expect(not again, f"a second plan still shows {again}")
    status, rows, messages = await new.answer("reconcile", "--deep")
    wrong = [row for row in rows if row["type"] == "difference"]
    report.expect(status == 0, f"reconcile --deep ended with {status}: {messages}{wrong[:SHOWN]}")
    await _check_corrections(new, before, billed, new_bills, report)


async def _planned(version: Version, act: str, report: Report, *more: str) -> dict[str, Counter[str]]:
    """What `recompute` says, by account."""
    status, rows, messages = await version.answer("recompute", act, *more)
    report.expect(status == 0, f"recompute {act} ended with {status}: {messages}")
    return {
        row["account_id"]: +Counter({name: row[name] for name in CHANGES})
        for row in rows
        if row["type"] == "account"
    }


def _expected(billed: Mapping[str, Json], bills: Mapping[str, Json]) -> dict[str, Counter[str]]:
    """What differs between the ledger and what it should be, by account."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for session_id, record in bills.items():
        row = billed.get(session_id)
        if row is None or row["status"] == "void":
            found[record["account_id"]]["new" if row is None else "back"] += 1
        elif _content(row) != _content(record):
            found[record["account_id"]]["changed"] += 1
    for session_id, row in billed.items():
        if session_id not in bills and row["status"] != "void":
            found[row["account_id"]]["void"] += 1
    return dict(found)


def _of_neither(
    billed: Mapping[str, Json], bills: Mapping[str, Json], new_bills: Mapping[str, Json]
) -> Iterable[str]:
    """Conversations that are billed neither all as the old version does nor all as the new one does."""
    told, *versions = (
        _by_conversation(it) for it in ([row for row in billed.values() if row["status"] != "void"],
                                        bills.values(), new_bills.values())
    )  # fmt: skip
    for name in set().union(told, *versions):
        if all(told.get(name) != version.get(name) for version in versions):
            yield f"conversation {name} is billed by neither version"


def _by_conversation(records: Iterable[Json]) -> dict[tuple[str, ...], set[tuple[Any, ...]]]:
    found = defaultdict(set)
    for record in records:
        subject = record.get("conversation_id") or record.get("delivery_id")
        found[record["account_id"], record["bot_id"], record["kind"], subject].add(_content(record))
    return found


def _content(record: Json) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in CONTENT)


async def _check_corrections(
    version: Version,
    before: Mapping[str, Any],
    billed: Mapping[str, Json],
    bills: Mapping[str, Json],
    report: Report,
) -> None:
    """What was final and differs is corrected, by the new algorithm, and consumers were told after that."""
    last = max(row["position"] or 0 for row in before.values())
    for row in await version.stage.query(RECORDS):
        session_id = row["session_id"]
        was, due = before.get(session_id), bills.get(session_id)
        is_told = (row["position"] or 0) > last
        if was is None or was["status"] != "final":
            is_new = row["status"] == "final" and (was is None or was["status"] == "void")
            report.expect(is_told or not is_new, f"nobody was told of {dict(row)}")
        elif due and _content(billed[session_id]) == _content(due):
            report.expect(row["algorithm"] == was["algorithm"], f"written without need: {dict(row)}")
        else:
            report.corrections += 1
            report.expect(is_told and row["corrected_at"] is not None, f"nobody was told of {dict(row)}")
            is_by_new = row["status"] == "void" or row["algorithm"] == NEXT
            report.expect(is_by_new, f"corrected by algorithm {row['algorithm']}: {dict(row)}")


async def _published(ring: Arena, events: int) -> None:
    async def acknowledged() -> bool:
        return len(ring.flow.acknowledged) >= events

    await until(acknowledged, f"{events:,} events were published", PUBLISH_LIMIT_SECONDS)


async def _main(parts: Parts, folder: Path, events: int, seed: int) -> Report:
    async with on_local_parts(parts, folder) as stand, arena(stand, folder, "upgrade", seed) as ring:
        old = Version(ring.stage)
        return await play(ring, old, next_version(folder / "next", ring.stage), events)


@click.command()
@click.option("--events", type=click.IntRange(min=10_000), default=60_000, help="How many at least.")
@click.option("--seed", type=int, default=1, help="Decides the traffic.")
def main(events: int, seed: int) -> None:
    """Upgrade worker by worker, and have the new rule's bills."""
    began = time.monotonic()
    with parts_of_this_run("upgrade") as (parts, folder):
        report = asyncio.run(_main(parts, folder, events, seed))
    print(f"{report.events:,} events; {time.monotonic() - began:.0f} s")
    print(f"old workers ended otherwise than asked to: {dict(report.exits)} (-9: killed, and came back)")
    print(f"records by algorithm once all workers were new: {dict(sorted(report.before.items()))}")
    print(f"would be others, by the references and by --plan: {dict(report.expected)}")
    print(f"conversations billed anew: {report.requested:,} in {report.recompute_seconds:.1f} s")
    print(f"corrections of final records, each told of: {report.corrections:,}")
    if report.comparison:
        print(report.comparison.report("ledger", "reference of the new version"))
    print(f"compared beside that: {report.compared:,} dead letters, counters, offsets and changes")
    for finding in report.findings:
        print(f"WRONG: {finding}")
    sys.exit(bool(report.findings))


if __name__ == "__main__":
    main()
