"""RFC 3339 text to milliseconds since 1970 in UTC and back, in integers only.

Both directions hold for the years 0001 to 9999 of UTC, so whatever was read can be written. Nothing here asks
what time it is now.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Final

from schemas.reasons import Reason, Rejected

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_MS = (date.min.toordinal() - _EPOCH_DAY) * DAY_MS
_LAST_MS = (date.max.toordinal() + 1 - _EPOCH_DAY) * DAY_MS - 1

# Dictionary look-ups, not int(): int() takes signs, blanks, underscores and the digits of any script.
_SECOND_MS: Final = {f":{second:02}.": second * 1000 for second in range(60)}
_MILLISECOND: Final = {f"{millisecond:03}": millisecond for millisecond in range(1000)}
_REST: Final = re.compile(r"[0-9]*(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))")
_GRAMMAR: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}):([0-5][0-9])(?:\.([0-9]+))?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_MINUTE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9])")


def parse_time_ms(text: str) -> int:
    """Read an RFC 3339 time, cut off to the millisecond; raises Rejected(INVALID_TIME)."""
    try:
        local_ms = _minute_ms(text[:16]) + _SECOND_MS[text[16:20]] + _MILLISECOND[text[20:23]]
        time_ms = local_ms - _offset_ms(text[23:])
    except KeyError:
        return _parse_any_form(text)
    return time_ms if _FIRST_MS <= time_ms <= _LAST_MS else _in_range(time_ms, text)


def format_time_ms(time_ms: int) -> str:
    """Write a time as `2026-10-03T09:00:00.000Z`; raises ValueError outside the years 0001 to 9999."""
    minute, rest_ms = divmod(time_ms, MINUTE_MS)
    second, millisecond = divmod(rest_ms, 1000)
    return f"{_minute_text(minute)}:{second:02}.{millisecond:03}Z"


def _parse_any_form(text: str) -> int:
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise _invalid(text)
    minute, second, fraction, *offset = match.groups()
    local_ms = _minute_ms(minute) + int(second) * 1000 + int((fraction or "")[:3].ljust(3, "0"))
    return _in_range(local_ms - _signed_ms(*offset), text)


@lru_cache(maxsize=8192)
def _offset_ms(rest: str) -> int:
    """What stands behind the milliseconds: finer digits, which are cut off, and Z or an offset."""
    match = _REST.fullmatch(rest)
    if match is None:
        raise KeyError(rest)
    return _signed_ms(*match.groups())


def _signed_ms(sign: str | None, hours: str, minutes: str) -> int:
    if sign is None:
        return 0
    offset_ms = (int(hours) * 60 + int(minutes)) * MINUTE_MS
    return offset_ms if sign == "+" else -offset_ms


def _in_range(time_ms: int, text: str) -> int:
    if _FIRST_MS <= time_ms <= _LAST_MS:
        return time_ms
    raise _invalid(text)


@lru_cache(maxsize=4096)
def _minute_ms(text: str) -> int:
    match = _MINUTE.fullmatch(text)
    if match is None:
        raise _invalid(text)
    year, month, day, hour, minute = map(int, match.groups())
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise _invalid(text) from None
    return days * DAY_MS + (hour * 60 + minute) * MINUTE_MS


@lru_cache(maxsize=4096)
def _minute_text(minutes: int) -> str:
    day, minute = divmod(minutes, 24 * 60)
    try:
        text = date.fromordinal(day + _EPOCH_DAY).isoformat()
    except (ValueError, OverflowError):
        raise ValueError(f"no year 0001 to 9999 holds minute {minutes} since 1970") from None
    return f"{text}T{minute // 60:02}:{minute % 60:02}"


def _invalid(text: str) -> Rejected:
    return Rejected(Reason.INVALID_TIME, "time", ascii(text[:60]))
