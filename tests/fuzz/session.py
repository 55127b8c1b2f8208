"""The process that fuzzes: `python -m tests.fuzz.session INPUTS SEED FOLDER`.

A process of its own, because a parser that overflows its stack or never ends takes its process with it: the
inputs at hand lie in the folder then. It prints its findings as JSON when it has come to an end.

Inputs come of the corpus, and of all that met with something new: a reason, a field, a kind of syntax error.
Why no library leads it: atheris sees the branches of our few checks and not the parser, which is Rust; with
the same mutations 0.5 to 1.4 % of its inputs were events, here it is an eighth and more, and in 60,000 it did
not meet every reason. Hypothesis makes some 150 inputs a second (tests/schemas has it), this some 5,000.
"""

from __future__ import annotations

import faulthandler
import json
import re
import resource
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from time import perf_counter

from schemas.outcomes import Outcome
from tests.fuzz.checking import Broken, Group, Seen, check
from tests.fuzz.corpus import corpus
from tests.fuzz.inputs import MOST_VALUE_BYTES, Input
from tests.fuzz.mutations import mutate

GROUP = 100
MOST_SECONDS = 60
MOST_RSS_BYTES = 512 << 20
AT_HAND = "inputs-at-hand"
BROKEN = "broken-inputs"


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

    def __init__(self, inputs: int, seed: int, folder: Path) -> None:
        self.goal = inputs
        self.seed = seed
        self.folder = folder
        self.pool = corpus()
        self._group = Group()
        self._started = perf_counter()
        self._inputs = 0
        self._verdicts: set[tuple[str, ...]] = set()
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._slowest = (0.0, 0)

    def take(self, given: Input) -> bool:
        """Check one more input, and a group of them now and then; false when it was the last."""
        try:
            self._count(given, self._group.add(given))
            if len(self._group.inputs) == GROUP or self._inputs == self.goal:
                self._group.finish()
                self._group = Group()
        except Broken as broken:
            save_inputs(self.folder / BROKEN, narrowed(self._group.inputs, broken))
            self.report(str(broken))
            return False
        if self._inputs == self.goal:
            self.report("")
        return self._inputs < self.goal

    def report(self, broken: str) -> None:
        """Print what was seen."""
        peak_rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if not broken and peak_rss_bytes > MOST_RSS_BYTES:
            broken = f"{peak_rss_bytes} bytes of memory, at most {MOST_RSS_BYTES} are allowed"
        findings = {
            "inputs": self._inputs,
            "seconds": perf_counter() - self._started,
            "outcomes": self._outcomes,
            "reasons": self._reasons,
            "verdicts": len(self._verdicts),
            "slowest_ms": self._slowest[0],
            "slowest_bytes": self._slowest[1],
            "peak_rss_bytes": peak_rss_bytes,
            "broken": broken,
        }
        print(json.dumps(findings), flush=True)

    def _count(self, given: Input, seen: Seen) -> None:
        self._inputs += 1
        self._outcomes[seen.outcome] += 1
        if seen.outcome == Outcome.DEAD_LETTER:
            self._reasons[seen.reason] += 1
        self._slowest = max(self._slowest, (seen.cpu_ms, seen.value_bytes))
        syntax = re.sub("[0-9]+", "#", seen.detail) if seen.reason == "not_json" else ""
        verdict = (seen.outcome, seen.reason, seen.field, syntax)
        if verdict not in self._verdicts:
            self._verdicts.add(verdict)
            if seen.value_bytes <= MOST_VALUE_BYTES:
                self.pool.append(given)


def plain(session: Session) -> None:
    """Fuzz by chance alone: the same seed gives the same inputs on every machine."""
    dice = Random(session.seed)
    goes_on = True
    while goes_on:
        group = [mutate(dice, dice.choice(session.pool), dice.choice(session.pool)) for _ in range(GROUP)]
        save_inputs(session.folder / AT_HAND, group)
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        for given in group:
            goes_on = session.take(given)
            if not goes_on:
                break


def main() -> None:
    """See the module."""
    inputs, seed, folder = sys.argv[1:]
    plain(Session(int(inputs), int(seed), Path(folder)))


if __name__ == "__main__":
    main()
