"""Running the fuzz in a process of its own, and what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from schemas.outcomes import Outcome
from schemas.reasons import Reason
from tests.fuzz.session import AT_HAND

ROOT = Path(__file__).resolve().parents[2]
_MAIN = "from tests.fuzz.session import main; main()"
SEALED = {Reason.TOO_OLD}
"""Given where facts are merged, by a seal that nothing sets yet: no value can have it."""


@dataclass(frozen=True)
class Result:
    """What a run saw; `broken` says what did not hold, and `file` has the inputs that show it."""

    inputs: int
    seconds: float
    outcomes: Counter[str]
    reasons: Counter[str]
    verdicts: int
    """Different reasons, fields and kinds of syntax error that were met."""
    slowest_ms: float
    slowest_bytes: int
    peak_rss_bytes: int
    broken: str
    file: Path | None

    @property
    def never_given(self) -> list[str]:
        """The reasons that no input had."""
        return [reason.value for reason in Reason if reason not in SEALED and not self.reasons[reason.value]]

    @property
    def passed(self) -> bool:
        """Whether all held, and every reason was given."""
        return not self.broken and not self.never_given


def run(inputs: int, seed: int) -> Result:
    """Fuzz with so many inputs; the same seed makes the same ones."""
    folder = Path(mkdtemp(prefix="quarterhour-fuzz-"))
    command = (sys.executable, "-c", _MAIN, str(inputs), str(seed), str(folder))
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    findings = _findings(ended)
    file = folder / AT_HAND if findings["broken"] else None
    if file is None:
        rmtree(folder)
    counts = {name: Counter(findings.pop(name)) for name in ("outcomes", "reasons")}
    return Result(**findings, **counts, file=file)


def _findings(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the process printed; it prints nothing if it died."""
    try:
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        numbers = dict.fromkeys(("inputs", "verdicts", "slowest_bytes", "peak_rss_bytes"), 0)
        broken = f"the process ended with status {ended.returncode}: {ended.stderr[-4000:]}"
        return {**numbers, "seconds": 0.0, "slowest_ms": 0.0, "outcomes": {}, "reasons": {}, "broken": broken}
    return found


def report(result: Result) -> list[str]:
    """The lines that people read."""
    dead = result.outcomes[Outcome.DEAD_LETTER]
    lines = [
        f"inputs {result.inputs:,}, seconds {result.seconds:.1f}, crashes {int(bool(result.broken))}",
        f"events {result.inputs - dead:,}: "
        + ", ".join(f"{name} {count:,}" for name, count in _sorted(result.outcomes) if name != "dead_letter"),
        f"dead letters {dead:,}: "
        + ", ".join(f"{name} {count:,}" for name, count in _sorted(result.reasons)),
        f"reasons never given: {', '.join(result.never_given) or 'none'}",
        f"different verdicts {result.verdicts}",
        f"slowest input {result.slowest_ms:.1f} ms of {result.slowest_bytes:,} bytes, "
        f"peak memory {result.peak_rss_bytes / 2**20:.0f} MB",
    ]
    if result.broken:
        lines += ["", result.broken, f"again: python -m tests.fuzz --replay {result.file}"]
    return lines


def _sorted(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])
