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
_DIGITS: Final = np.array([place for place, form in enumerate(_FORM.tobytes()) if form == ord("d")])
_OTHERS: Final = np.array([place for place, form in enumerate(_FORM.tobytes()) if form != ord("d")])
_ZERO: Final = np.uint8(ord("0"))
_TEN: Final = np.uint8(10)
_LAST_OF_DAY: Final = np.array([[23], [59], [59]], np.uint8)
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
    text = "".join(texts)
    lengths = np.fromiter(map(len, texts), np.intp, len(texts))
    if not (text.isascii() and text and lengths.min() > len(_FORM)):
        return np.zeros(len(texts), np.int64), list(range(len(texts)))
    characters = np.frombuffer(text.encode(), np.uint8)
    ends = lengths.cumsum()
    columns = sliding_window_view(characters, len(_FORM) + 1)[ends - lengths].T
    digits = columns[_DIGITS] - _ZERO  # below 0 wraps round to more than 9
    known = (digits <= 9).all(0) & (columns[_OTHERS] == _FORM[_OTHERS, None]).all(0)
    pairs = digits[:-3:2] * _TEN + digits[1:-3:2]
    known &= (pairs[4:] <= _LAST_OF_DAY).all(0)
    century, year, month, day, hour, minute, second = pairs.astype(np.int32)
    dates, which = np.unique(((century * 100 + year) * 100 + month) * 100 + day, return_inverse=True)
    first_ms = np.fromiter(map(_date_ms, dates.tolist()), np.int64, len(dates))[which]
    known &= first_ms != _NEVER_MS
    millisecond = (digits[-3] * np.int32(10) + digits[-2]) * 10 + digits[-1]
    times_ms = first_ms + (((hour * 60 + minute) * 60 + second) * 1000 + millisecond)
    is_plain = (lengths == len(_FORM) + 1) & (columns[-1] == ord("Z"))
    left = np.flatnonzero(~known).tolist()
    for place in np.flatnonzero(known & ~is_plain).tolist():
        try:
            times_ms[place] -= _offset_ms(texts[place][len(_FORM) :])
        except KeyError:
            left.append(place)
        else:
            if not _FIRST_MS <= times_ms[place] <= _LAST_MS:
                left.append(place)
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
