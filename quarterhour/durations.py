"""Durations: `600s`, `10min`, `400d` or `1500ms` outside, integer milliseconds inside."""

import re

UNITS_MS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
FORM = "a whole number and a unit (ms, s, min, h or d), such as 10min"

_DURATION = re.compile(r"([0-9]{1,15})(ms|s|min|h|d)")


def parse_duration_ms(text: object) -> int:
    """Read a duration in ms; raises ValueError for every other form, a bare number included."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"a duration is {FORM}")
    return int(found[1]) * UNITS_MS[found[2]]


def format_duration(duration_ms: int) -> str:
    """Write a duration in the largest unit that divides it, so that reading it back gives the same ms."""
    for unit in ("d", "h", "min", "s"):
        if duration_ms and duration_ms % UNITS_MS[unit] == 0:
            return f"{duration_ms // UNITS_MS[unit]}{unit}"
    return f"{duration_ms}ms"
