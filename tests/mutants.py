"""Break the sessionizer one line at a time, and see which test notices: `python -m tests.mutants`.

Each mutant is tried on a temporary copy of the tree, so the tree itself is never touched. The status is 1 if
any survives.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("schemas", "sessionizer", "tests/sessionizer")
PYTEST = (sys.executable, "-m", "pytest", "tests/sessionizer", "-x", "-p", "no:cacheprovider")


class Mutant(NamedTuple):
    """A line of the sessionizer, and what it is changed to."""

    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "facts.py", "if self._rank(fact) < self._rank(winner):", "if self._rank(winner) < self._rank(fact):"
    ),
    Mutant("facts.py", 'self._by_index[fact & INDEX_MASK].split("|")', "[self._by_index[fact & INDEX_MASK]]"),
    Mutant("facts.py", "fact & ~INDEX_MASK | indexes[fact & INDEX_MASK]", "fact"),
    Mutant("packed.py", "while at >= 0 and at % FACT_BYTES:", "while False:"),
    Mutant("packed.py", "facts.is_large or place in doubtful", "facts.is_large"),
    Mutant("packed.py", "facts.is_large or place in doubtful", "place in doubtful"),
    Mutant("packed.py", "self.all_win = False", "pass"),
    Mutant("packed.py", "_set_indexes(rows, line_of[of])", "pass"),
    Mutant("packed.py", "elif first == fact or self._holds(fact):", "elif first == fact:"),
    Mutant("sealing.py", "*_handoffs(facts), ", ""),
    Mutant("sealing.py", "span.latest_end_ms", "span.start_ms"),
    Mutant("sealing.py", "> through_ms]", ">= through_ms]"),
    Mutant("tails.py", "> self.from_ms", ">= self.from_ms"),
    Mutant("tails.py", '(rows["kind"][time_ms <= first.started_ms] > USER_MESSAGE).any()', "False"),
    Mutant("tails.py", "and blocks[0].session_started_ms == self.begun.session_started_ms", ""),
    Mutant("tails.py", "and blocks[0].settles_ms >= settled_before_ms", ""),
    Mutant("bills.py", "spoken[member[begins] - 1]", "spoken[member[begins]]"),
    Mutant("bills.py", "_shifted(_latest(place, step == CLOSE)) < before", "before >= 0"),
    Mutant("bills.py", "(bot_ms <= bot_ms[before]", "(bot_ms < bot_ms[before]"),
    Mutant("bills.py", "may_engage = is_user | (step == EDGE)", "may_engage = is_user"),
    Mutant(
        "bills.py", "_latest(place, opens | (may_engage & belongs))", "_latest(place, opens | may_engage)"
    ),
    Mutant("bills.py", "is_linked & (_shifted(_latest(place, is_user)) >= chain_from)", "is_linked"),
    Mutant(
        "bills.py",
        "session_settles_ms[sessions.number[sessions.closing]] = activity.time_ms[sessions.closing]",
        "pass",
    ),
    Mutant("bills.py", "before_ms -= before_ms[np.searchsorted(of_set, of_set)]", "pass"),
    Mutant("bills.py", "is_any & (time_ms < self.end_ms[begun])", "is_any & (time_ms <= self.end_ms[begun])"),
    Mutant("bills.py", "np.flatnonzero(~stands_still | (step == CLOSE))", "np.flatnonzero(~stands_still)"),
    Mutant("bills.py", "(span.start_ms, span.latest_end_ms)", "(span.start_ms, span.end_ms)"),
    Mutant(
        "bills.py",
        "np.maximum(clocks.earliest_wall_ms(of_set[of], to_ms), started_ms)",
        "clocks.earliest_wall_ms(of_set[of], to_ms)",
    ),
    Mutant(
        "bills.py",
        "-((first_ms[of] - bot_ms) // length_ms[of])",
        "(bot_ms - first_ms[of]) // length_ms[of] + 1",
    ),
    Mutant("bills.py", "np.minimum(from_ms + length_ms[of], last_ms[of])", "from_ms + length_ms[of]"),
    Mutant("bills.py", "min(table[index].split", "max(table[index].split"),
    Mutant("spans.py", "opens_from_ms = span.end_ms", "opens_from_ms = span.end_ms + 1"),
    Mutant("spans.py", "timeout_ms if closed_ms is None else min(closed_ms, timeout_ms)", "timeout_ms"),
    Mutant("spans.py", "start_ms <= separate[-1][1]", "start_ms < separate[-1][1]"),
    Mutant("spans.py", "bisect_left(times, from_ms)", "bisect_left(times, from_ms + 1)"),
    Mutant("clock.py", "time_ms < self.intervals[begun - 1][1]", "time_ms <= self.intervals[begun - 1][1]"),
    Mutant("clock.py", "bisect_left(self._shown_ms, bot_ms)", "bisect_right(self._shown_ms, bot_ms)"),
    Mutant("sessions.py", "bot_ms > belongs_until_ms", "bot_ms >= belongs_until_ms"),
    Mutant("sessions.py", "if step != BOT:", "if True:"),
    Mutant("sessions.py", "elif session is not None or step == USER:", "else:"),
    Mutant("sessions.py", "uncut_clock.latest_wall_ms(", "uncut_clock.earliest_wall_ms("),
    Mutant("blocks.py", "-((first_ms - bot_ms) // block_ms) or 1", "(bot_ms - first_ms) // block_ms + 1"),
    Mutant(
        "blocks.py",
        "clock.latest_wall_ms(from_ms)",
        "clock.earliest_wall_ms(from_ms)",
    ),
    Mutant("blocks.py", "max(clock.earliest_wall_ms(to_ms), started_ms)", "clock.earliest_wall_ms(to_ms)"),
    Mutant("bill.py", "(span.start_ms, span.latest_end_ms)", "(span.start_ms, span.end_ms)"),
    Mutant("rules.py", "((account_id, bot_id), _FOR_ALL)", "(_FOR_ALL, (account_id, bot_id))"),
    Mutant("alerts.py", "return min(self.reports)", "return max(self.reports)"),
    Mutant("ids.py", "|{start_ms}|{block}", "|{start_ms}"),
    Mutant("ids.py", "made[:, 6] & 0x0F", "made[:, 6]"),
)


def first_failure(tree: Path) -> str:
    """Return the first test that fails in a tree; empty if all of them pass."""
    run = subprocess.run(
        [*PYTEST, "--hypothesis-seed=0"], cwd=tree, capture_output=True, text=True, check=False
    )
    if run.returncode == 0:
        return ""
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if not failed:
        raise RuntimeError(run.stdout + run.stderr)
    return failed[0].split("::", 1)[-1].split(" - ")[0]


def try_mutant(mutant: Mutant, tree: Path) -> str:
    """Return the test that notices the mutant in this copy of the tree, and make the copy whole again."""
    path = tree / "sessionizer" / mutant.file
    whole = path.read_text()
    if whole.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} does not hold this line of a mutant: {mutant.old}")
    path.write_text(whole.replace(mutant.old, mutant.new))
    try:
        return first_failure(tree)
    finally:
        path.write_text(whole)


def main() -> int:
    """Try every mutant, print the table, and return the exit status."""
    survivors = 0
    with TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        (tree / "tests" / "__init__.py").touch()
        if first_failure(tree):
            raise RuntimeError("the tests fail before anything is broken")
        for mutant in MUTANTS:
            noticed = try_mutant(mutant, tree)
            survivors += not noticed
            print(f"{mutant.file}: {mutant.old}\n  -> {mutant.new}\n  {noticed or 'SURVIVES'}", flush=True)
    print(f"{len(MUTANTS)} mutants, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
