"""RFC 3339 text to milliseconds since 1970 in UTC and back, in integers only.

Both directions hold for the years 0001 to 9999 of UTC, so whatever was read can be written. Nothing here asks
what time it is now.
"""

import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

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

# The form that most times have, as far as the place of each character is known.
_FORM: Final = np.frombuffer(b"dddd-dd-ddTdd:dd:dd.ddd", np.uint8)
_DIGITS: Final = np.flatnonzero(_FORM == ord("d"))
_OTHERS: Final = np.flatnonzero(_FORM != ord("d"))
_NEVER_MS: Final = 1 << 62


def parse_time_ms(text: str) -> int:
    """Read an RFC 3339 time, cut off to the millisecond; raises Rejected(INVALID_TIME)."""
    try:
        local_ms = _minute_ms(text[:16]) + _SECOND_MS[text[16:20]] + _MILLISECOND[text[20:23]]
        time_ms = local_ms - _offset_ms(text[23:])
    except KeyError:
        return _parse_any_form(text)
    return time_ms if _FIRST_MS <= time_ms <= _LAST_MS else _in_range(time_ms, text)


def parse_times_ms(texts: Sequence[str]) -> tuple[NDArray[np.int64], list[int]]:
    """Read many times at once: return the ms of each, and the places that `parse_time_ms` has to judge.

    Nothing is right about the ms at those places. What is read here is read as `parse_time_ms` would.
    """
    joined, count = "".join(texts), len(texts)
    lengths = np.fromiter(map(len, texts), np.int64, count)
    if not (joined.isascii() and joined and lengths.min() > len(_FORM)):
        return np.zeros(count, np.int64), list(range(count))
    ends = lengths.cumsum()
    rows = sliding_window_view(np.frombuffer(joined.encode(), np.uint8), len(_FORM))[ends - lengths]
    digits = rows[:, _DIGITS].T.astype(np.int64) - ord("0")
    known = ((digits >= 0) & (digits <= 9)).all(0) & (rows[:, _OTHERS] == _FORM[_OTHERS]).all(1)
    tens = digits[:-3:2] * 10 + digits[1:-3:2]  # of year and century, month, day, hour, minute, second
    hour, minute, second = tens[4:]
    known &= (hour <= 23) & (minute <= 59) & (second <= 59)
    millisecond = (digits[-3] * 10 + digits[-2]) * 10 + digits[-1]
    dates, which = np.unique((tens[0] * 100 + tens[1]) * 10_000 + tens[2] * 100 + tens[3], return_inverse=True)
    day_ms = np.fromiter(map(_date_ms, dates.tolist()), np.int64, len(dates))[which]
    known &= day_ms != _NEVER_MS
    times_ms = day_ms + ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
    left = np.flatnonzero(~known).tolist()
    for place in np.flatnonzero(known & (lengths > len(_FORM) + 1)).tolist():
        try:
            times_ms[place] -= _offset_ms(texts[place][len(_FORM) :])
        except KeyError:
            left.append(place)
    is_utc = np.frombuffer(joined.encode(), np.uint8)[ends - 1] == ord("Z")
    left += np.flatnonzero(known & (lengths == len(_FORM) + 1) & ~is_utc).tolist()
    return times_ms, sorted(left)


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


def _date_ms(number: int) -> int:
    """The first ms of a date given as the number YYYYMMDD; never, if there is none."""
    try:
        days = date(number // 10_000, number // 100 % 100, number % 100).toordinal() - _EPOCH_DAY
    except ValueError:
        return _NEVER_MS
    return days * DAY_MS


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
