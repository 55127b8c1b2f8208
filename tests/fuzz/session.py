"""What the process that fuzzes does, with INPUTS SEED FOLDER as its arguments.

A process of its own, because a parser that overflows its stack or never ends takes its process with it: the
inputs at hand lie in the folder then. It prints its findings as JSON when it has come to an end.

Inputs come of the corpus, and of all that met with something new: a reason, a field, a kind of syntax error.
Why no library leads it: atheris sees the branches of our own checks and not the parser, which is Rust, so its
inputs drift to junk (with these very mutations under 2 % of 60,000 were events, and not every reason came);
Hypothesis, which tests/schemas has, makes some 150 inputs a second, and this makes some 5,000.
"""

from __future__ import annotations

import faulthandler
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from schemas.outcomes import Outcome
from schemas.reasons import Reason
from tests.fuzz.checking import Broken, Seen, check
from tests.fuzz.corpus import corpus
from tests.fuzz.inputs import MOST_VALUE_BYTES, Input
from tests.fuzz.mutations import mutate

GROUP = 100
MOST_SECONDS = 60
MOST_RSS_BYTES = 512 << 20
AT_HAND = "inputs-at-hand"


def save_inputs(file: Path, inputs: Iterable[Input]) -> None:
    """Write inputs, each after its length."""
    packed = [given.pack() for given in inputs]
    file.write_bytes(b"".join(len(each).to_bytes(4, "big") + each for each in packed))


def load_inputs(file: Path) -> list[Input]:
    """Read what `save_inputs` wrote."""
    data = file.read_bytes()
    inputs, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        inputs.append(Input.unpack(data[at + 4 : end]))
        at = end
    return inputs


def narrowed(inputs: Sequence[Input], broken: Broken) -> Sequence[Input]:
    """The one input that breaks it alone, if one does."""
    if broken.place is None:
        return inputs
    alone = [inputs[broken.place]]
    try:
        check(alone)
    except Broken:
        return alone
    return inputs[: broken.place + 1]


class Session:
    """What has been seen so far."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.inputs = 0
        self._dice = Random(seed)
        self._folder = folder
        self._pool = corpus()
        self._started = perf_counter()
        self._verdicts: set[tuple[str, ...]] = set()
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._slowest = (0.0, 0)

    def step(self, count: int) -> None:
        """Make so many inputs and check them. Raises `Broken`, and has kept the inputs that show it then."""
        choice = self._dice.choice
        group = [mutate(self._dice, choice(self._pool), choice(self._pool)) for _ in range(count)]
        save_inputs(self._folder / AT_HAND, group)
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        try:
            for given, seen in zip(group, check(group), strict=True):
                self._count(given, seen)
        except Broken as broken:
            save_inputs(self._folder / AT_HAND, narrowed(group, broken))
            raise

    def findings(self) -> dict[str, Any]:
        """What was seen, for `running.Result`."""
        return {
            "inputs": self.inputs,
            "seconds": perf_counter() - self._started,
            "outcomes": self._outcomes,
            "reasons": self._reasons,
            "verdicts": len(self._verdicts),
            "slowest_ms": self._slowest[0],
            "slowest_bytes": self._slowest[1],
            "peak_rss_bytes": _peak_rss_bytes(),
        }

    def _count(self, given: Input, seen: Seen) -> None:
        self.inputs += 1
        self._outcomes[seen.outcome] += 1
        if seen.outcome == Outcome.DEAD_LETTER:
            self._reasons[seen.reason] += 1
        self._slowest = max(self._slowest, (seen.cpu_ms, seen.value_bytes))
        syntax = re.sub("[0-9]+", "#", seen.detail) if seen.reason == Reason.NOT_JSON else ""
        verdict = (seen.outcome, seen.reason, seen.field, syntax)
        if verdict not in self._verdicts:
            self._verdicts.add(verdict)
            if seen.value_bytes <= MOST_VALUE_BYTES:
                self._pool.append(given)


def fuzz(session: Session, inputs: int) -> str:
    """Go on until so many inputs were checked, or one broke something: return what."""
    while session.inputs < inputs:
        try:
            session.step(min(GROUP, inputs - session.inputs))
        except Broken as broken:
            return str(broken)
    peak_rss_bytes = _peak_rss_bytes()
    if peak_rss_bytes > MOST_RSS_BYTES:
        return f"{peak_rss_bytes} bytes of memory, at most {MOST_RSS_BYTES} are allowed"
    return ""


def _peak_rss_bytes() -> int:
    # Not what getrusage says: a process takes over the peak of the one that started it, there.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """See the module."""
    inputs, seed, folder = sys.argv[1:]
    session = Session(int(seed), Path(folder))
    broken = fuzz(session, int(inputs))
    print(json.dumps(session.findings() | {"broken": broken}))
