"""What breaks parsers: texts, times, tokens, bytes, timestamps, each one in the list for a reason of its own.

Beside what is wrong stands what is only just right.
"""

from __future__ import annotations

from schemas.topics import TOPIC_OF_TYPE
from tests.fuzz.expecting import CONTRACT, DAY_MS, LATEST_MS

# fmt: off
MEMBERS = (
    "specversion", "id", "source", "type", "time", "data", "account_id", "bot_id", "conversation_id",
    "user_id", "channel", "author", "reason", "handoff_id", "alert_id", "delivery_id", "developer",
)
KEYS = (*MEMBERS, "", "extra", "\0", "\ud800", "__proto__", "ID", "id ", "\U0001f600", "k" * 300)
TYPES = (*TOPIC_OF_TYPE, *TOPIC_OF_TYPE, *CONTRACT.ignored_types, "alert.failed.v2", "Handoff.ended.v1")
CHARACTERS = (
    "|", "\0", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\xa0", "\xe9", "e\u0301", "\u200d", "\u202e", "\ufeff",
    "\ufffe", "\uffff", "\U0001f600", "\U0010ffff", "\u0378", "\u2028", "\ud800", "\udfff", "\ud83d\ude00",
    "\\", '"', "/", " ", "'", "%s", "{}", "\x1b[31m",
)
TIMES = (
    # the calendar's limits and those of what can be kept
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "0000-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z",
    "9999-12-31T23:59:59.999-00:01", "2255-06-05T23:47:34.740Z", "2255-06-05T23:47:34.741Z",
    "6429-10-17T02:45:55.328Z", "1684-07-28T00:12:25.260Z", "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.9999Z", "2026-02-29T09:00:00Z", "2024-02-29T09:00:00Z",
    # forms
    "2026-10-03T09:00:60Z", "2026-10-03T24:00:00Z", "2026-10-03T09:00:00+23:59", "2026-10-03T09:00:00-24:00",
    "2026-10-03T09:00:00.Z", "2026-10-03T09:00:00,5Z", "2026-10-03t09:00:00z", "2026-10-03 09:00:00Z", "",
    "2026-10-03T09:00Z", "2026-10-03T09:00:00", "20261003T090000Z", "2026-W40-6T09:00:00Z", "1791018000000",
    "2026-10-03T09:00:00." + "9" * 5000 + "Z", "\uff12026-10-03T09:00:00Z", "2026-10-03T09:00:00.1\u0663Z",
    "2026-10-03T09:00:00.000Z\n", "+002026-10-03T09:00:00Z", "-0001-10-03T09:00:00Z",
)
TOKENS = (
    "null", "true", "false", "tru", "undefined", "nan", "Inf", "NaN", "-NaN", "Infinity", "-Infinity", "",
    # numbers, at the limits of widths and of digits
    "0", "-0", "-1", "1.0", "1e5", "1e999", "-1e-999", "1E+400", "0.1e1", "01", "+1", ".5", "0x10", "1_000",
    "9" * 4300, "9" * 4301, "-" + "9" * 4300, "-" + "9" * 4301, "9" * 4301 + ".5", "1." + "9" * 5000,
    "9223372036854775808", "-9223372036854775809", "340282366920938463463374607431768211456",
    # nesting, at the limit of depth where it is a member of the event or of its data
    "[]", "{}", "[[]]", '[{"a":[]}]', '{"":{}}', "[" * 190 + "]" * 190, "[" * 197 + "]" * 197,
    "[" * 198 + "]" * 198, "[" * 199 + "]" * 199, "[" * 200 + "]" * 200, "[" * 3000,
    '{"a":' * 198 + "1" + "}" * 198, '{"a":' * 199 + "1" + "}" * 199, '{"a":' * 200 + "1" + "}" * 200,
    '{"a":' * 1000, '{"type":"x","type":"conversation.message.v1"}', '{"a":1,}', '{"a":NaN}', "[1,]", "1 2",
    # texts, escapes and what is no text
    '""', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\\\ud800"', '"\\ud83d\\ude00"', '"\\ud800\\u0041"',
    '"\\x"', '"\\u12"', '"\\uD8', '"\t"', '"\0"', '"NaN"', '"Infinity"', '"1.0"', '"x', '"\\',
    "'a'", "//", "/**/1",
)
PIECES = (
    b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3",
    b"\xe2\x80", b"\0", b"\n", b"\r\n", b" ", b"\t", b"\x0b", b"\x1b", b"{", b"}", b"[", b"]", b",", b":",
    b'"', b"\\", b"\\u", b"\\ud800", b"\\u0000", b"NaN", b"Infinity", b"-", b"1e", b"null", b"/*", b"|",
    b"\xf0\x9f\x98\x80", b"\xcc\x81",
)
# A timestamp beside the event's time, and one beside nothing.
EDGES_MS = (
    0, -CONTRACT.max_ahead_ms, -CONTRACT.max_ahead_ms - 1, CONTRACT.max_age_ms, CONTRACT.max_age_ms + 1,
    -1, 1, 60_000, -60_000, DAY_MS, -DAY_MS,
)
MOMENTS_MS = (
    0, -1, 1, LATEST_MS, LATEST_MS + 1, -LATEST_MS, 1 << 53, (1 << 63) - 1, -(1 << 63), 1_790_000_000_000,
    1_790_000_000_000_000_000, 253_402_300_799_999, 253_402_300_800_000, -62_135_596_800_001,
    9_224_318_016_000_000,
)
# fmt: on
