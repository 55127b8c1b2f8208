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

# The form that most times have, and what a digit's byte may be added before it reaches 128, any other one's;
# in words of 8 bytes, the first character lowest.
_FORM: Final = np.frombuffer(b"0000-00-00T00:00:00.000Z", "<u8")
_ROOM: Final = np.frombuffer(b"vvvv\x7fvv\x7fvv\x7fvv\x7fvv\x7fvv\x7fvvv\x7f", "<u8")
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_FORM_LENGTH: Final = 24
_NEVER_MS: Final = 1 << 62


def parse_time_ms(text: str) -> int:
    """Read an RFC 3339 time, cut off to the millisecond; raises Rejected(INVALID_TIME)."""
    try:
        local_ms = _minute_ms(text[:16]) + _SECOND_MS[text[16:20]] + _MILLISECOND[text[20:23]]
    except KeyError:
        return _parse_any_form(text)
    offset_ms = _offset_or_never_ms(text[23:])
    if offset_ms == _NEVER_MS:
        return _parse_any_form(text)
    time_ms = local_ms - offset_ms
    return time_ms if _FIRST_MS <= time_ms <= _LAST_MS else _in_range(time_ms, text)


def parse_times_ms(text: str, lengths: Sequence[int]) -> tuple[NDArray[np.int64], list[int]]:
    """Read many times, joined to a text: return the ms of each, and the places `parse_time_ms` has to judge.

    Nothing is right about the ms at those places. What is read here is read as `parse_time_ms` would.
    """
    long = np.array(lengths, np.int64)
    if not (text.isascii() and text and long.min() >= _FORM_LENGTH):
        return np.zeros(len(long), np.int64), list(range(len(long)))
    # Where a character is as it should be there is 0 now, or the digit.
    words = _beginnings(text, long) ^ _FORM
    is_plain = (long == _FORM_LENGTH) & (words[:, 2] >> np.uint64(56) == 0)
    words[:, 2] &= np.uint64((1 << 56) - 1)
    known = ((words + _ROOM | words) & _HIGH_BITS == 0).all(1)
    # Every digit ten times, with the next one added.
    pairs = words * np.uint64(10) + (words >> np.uint64(8))
    century, year, month = (_byte(pairs[:, 0], place) for place in (0, 2, 5))
    day, hour, minute = (_byte(pairs[:, 1], place) for place in (0, 3, 6))
    second, hundredth, last = _byte(pairs[:, 2], 1), _byte(pairs[:, 2], 4), _byte(words[:, 2], 6)
    known &= (hour <= 23) & (minute <= 59) & (second <= 59)
    first_ms = _first_ms(((century * 100 + year) * 100 + month) * 100 + day)
    known &= first_ms != _NEVER_MS
    times_ms = first_ms + ((hour * 60 + minute) * 60 + second) * 1000 + hundredth * 10 + last
    ends = long.cumsum()
    others = np.flatnonzero(known & ~is_plain)
    rests = zip((ends - long + _FORM_LENGTH - 1)[others].tolist(), ends[others].tolist(), strict=True)
    offsets_ms = np.array([_offset_or_never_ms(text[begin:end]) for begin, end in rests], np.int64)
    times_ms[others] -= offsets_ms
    known[others] &= (
        (offsets_ms != _NEVER_MS) & (times_ms[others] >= _FIRST_MS) & (times_ms[others] <= _LAST_MS)
    )
    return times_ms, np.flatnonzero(~known).tolist()


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


def _beginnings(text: str, lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The first 24 characters of each of the texts that are joined here, as three words a text."""
    characters = np.frombuffer(text.encode(), np.uint8)
    if (lengths == lengths[0]).all():
        rows = characters.reshape(len(lengths), -1)[:, :_FORM_LENGTH]
    else:
        rows = sliding_window_view(characters, _FORM_LENGTH)[lengths.cumsum() - lengths]
    return np.ascontiguousarray(rows).view("<u8")


def _byte(words: NDArray[np.uint64], place: int) -> NDArray[np.int64]:
    return (words >> np.uint64(8 * place) & np.uint64(0xFF)).astype(np.int64)


def _first_ms(dates: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first ms of each date given as the number YYYYMMDD; never, if there is none."""
    if (dates == dates[0]).all():
        return np.full(len(dates), _date_ms(int(dates[0])))
    each, which = np.unique(dates, return_inverse=True)
    return np.fromiter(map(_date_ms, each.tolist()), np.int64, len(each))[which]


def _date_ms(number: int) -> int:
    try:
        days = date(number // 10_000, number // 100 % 100, number % 100).toordinal() - _EPOCH_DAY
    except ValueError:
        return _NEVER_MS
    return days * DAY_MS


@lru_cache(maxsize=8192)
def _offset_or_never_ms(rest: str) -> int:
    """What stands behind the milliseconds: finer digits, which are cut off, and Z or an offset."""
    match = _REST.fullmatch(rest)
    return _NEVER_MS if match is None else _signed_ms(*match.groups())


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
