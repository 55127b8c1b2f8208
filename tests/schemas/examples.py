"""The contract by example: bytes in, an event or a reason out. Names are the sentences a test run shows."""

import json
from typing import Any, NamedTuple

from schemas.reasons import Reason
from schemas.topics import TOPIC_OF_TYPE, Topic

MESSAGE = "conversation.message.v1"
CLOSED = "conversation.closed.v1"
STARTED = "handoff.started.v1"
ENDED = "handoff.ended.v1"
DELIVERED = "alert.delivered.v1"
FAILED = "alert.failed.v1"

TIME = "2026-10-03T09:00:00.000Z"
TIME_MS = 1_791_018_000_000

_PEOPLE = {"account_id": "acme", "bot_id": "sales", "user_id": "u-17", "channel": "web"}
_OWN: dict[str, dict[str, str]] = {
    MESSAGE: {"conversation_id": "c-1", "author": "user"},
    CLOSED: {"conversation_id": "c-1"},
    STARTED: {"conversation_id": "c-1", "handoff_id": "h-1"},
    ENDED: {"conversation_id": "c-1", "handoff_id": "h-1"},
    DELIVERED: {"alert_id": "a-1", "delivery_id": "d-1"},
    FAILED: {"alert_id": "a-1", "delivery_id": "d-1"},
}


class Good(NamedTuple):
    """A value that is an event of the contract, and its time."""

    name: str
    topic: Topic
    value: bytes
    time_ms: int = TIME_MS


class Bad(NamedTuple):
    """A value that is none, with the reason and the field at fault."""

    name: str
    topic: Topic
    value: bytes
    reason: Reason
    field: str = ""


def document(kind: str = MESSAGE) -> dict[str, Any]:
    """Return a small event of a type as an object."""
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/runtime/eu-1",
        "type": kind,
        "time": TIME,
        "data": {**_PEOPLE, **_OWN[kind]},
    }


def changed(kind: str = MESSAGE, **changes: Any) -> bytes:
    """Return an event's bytes with fields set; `data__x` sets a field of data."""
    event = document(kind)
    for name, value in changes.items():
        target, field = (event["data"], name[6:]) if name.startswith("data__") else (event, name)
        target[field] = value
    return json.dumps(event).encode()


def without(field: str, kind: str = MESSAGE) -> bytes:
    """Return an event's bytes less one field, given dotted."""
    event = document(kind)
    target = event["data"] if "." in field else event
    del target[field.removeprefix("data.")]
    return json.dumps(event).encode()


def with_raw(raw: str | bytes, kind: str = MESSAGE, name: str = '"extra"') -> bytes:
    """Return an event's bytes with a member appended as it is written."""
    raw = raw.encode() if isinstance(raw, str) else raw
    return changed(kind)[:-1] + b"," + name.encode() + b":" + raw + b"}"


def _good(name: str, value: bytes, kind: str = MESSAGE, time_ms: int = TIME_MS) -> Good:
    return Good(name, TOPIC_OF_TYPE[kind], value, time_ms)


def _bad(name: str, value: bytes, reason: Reason, field: str = "", kind: str = MESSAGE) -> Bad:
    return Bad(name, TOPIC_OF_TYPE[kind], value, reason, field)


GOOD: list[Good] = [
    _good("a message of the user", changed()),
    _good("a message of the bot", changed(data__author="bot")),
    _good("a message of a human agent", changed(data__author="agent")),
    _good("a close without a reason", changed(CLOSED), CLOSED),
    _good("a close with an empty reason", changed(CLOSED, data__reason=""), CLOSED),
    _good("a close whose reason has 200 characters", changed(CLOSED, data__reason="é" * 200), CLOSED),
    _good("a close whose reason is free text", changed(CLOSED, data__reason="a|b\n\0"), CLOSED),
    _good("a handoff that starts", changed(STARTED), STARTED),
    _good("a handoff that ends", changed(ENDED), ENDED),
    _good("an alert delivered", changed(DELIVERED), DELIVERED),
    _good("an alert failed", changed(FAILED), FAILED),
    _good("a developer's test", changed(data__developer=True)),
    _good("no developer's test, said so", changed(data__developer=False)),
    _good("an id of one character", changed(id="e")),
    _good("an id of 200 characters", changed(id="e" * 200)),
    _good("an id of 200 emoji, escaped as pairs", changed(id="\N{GRINNING FACE}" * 200)),
    _good(
        "an id of 200 emoji, not escaped",
        changed(id="e!").replace(b"e!", ("\N{GRINNING FACE}" * 200).encode()),
    ),
    _good("an id of blanks", changed(id="  ")),
    _good("an id with a no-break space, category Zs", changed(id="a\u00a0b")),
    _good("an id with a line separator, category Zl", changed(id="a\u2028b")),
    _good("an id with a zero width joiner, category Cf", changed(id="a\u200db")),
    _good("an id with a soft hyphen, category Cf", changed(id="a\u00adb")),
    _good("an id with an unassigned character, category Cn", changed(id="a\u0378b")),
    _good("an id with a noncharacter", changed(id="a\uffffb")),
    _good("an id with a character of private use, category Co", changed(id="a\ue000b")),
    _good("an id with a tilde and the first character after the controls", changed(id="~\u00a0")),
    _good("an id with quotes and backslashes", changed(id='"\\"')),
    _good("an id that looks like a lone surrogate's escape", changed(id="\\ud800")),
    _good("an id that reads NaN", changed(id="NaN")),
    _good("an id that reads -Infinity", changed(id="-Infinity")),
    _good("extra fields at both levels", changed(extra={"a": [1, None]}, data__extra=[True])),
    _good("an author on a handoff, ill-typed: an extra field", changed(STARTED, data__author=7), STARTED),
    _good("a reason on a message, ill-typed: an extra field", changed(data__reason=[])),
    _good(
        "a conversation_id on an alert, forbidden characters and all: an extra field",
        changed(DELIVERED, data__conversation_id="a|b\n"),
        DELIVERED,
    ),
    _good("developer at the outer level: an extra field", changed(developer="yes")),
    _good("an extra number beyond a double's range", with_raw("1e999")),
    _good("an extra number of 400 digits", with_raw("9" * 400)),
    _good("an extra number of 4,300 digits", with_raw("9" * 4300)),
    _good("an extra number with 5,000 digits after the point", with_raw("0." + "1" * 5000)),
    _good("an extra text of NUL characters, escaped", with_raw(r'"\u0000\u0000"')),
    _good("extra values inside 200 arrays and objects", with_raw("[" * 199 + "1" + "]" * 199)),
    _good("an empty array inside 200 arrays and objects", with_raw("[" * 200 + "]" * 200)),
    _good("an id given twice: the last one counts", with_raw('"e-2"', name='"id"')),
    _good("an id given twice, the first ill-typed: the last one counts", b'{"id":7,' + changed()[1:]),
    _good("a type given twice, the first unknown: the last one counts", b'{"type":"x",' + changed()[1:]),
    _good("data given twice, the first no object: the last one counts", b'{"data":[],' + changed()[1:]),
    _good(
        "an author given twice, the first unknown: the last one counts",
        changed().replace(b'"data": {', b'"data": {"author":"nobody",'),
    ),
    _good("a key written with escapes", changed().replace(b'"id"', rb'"\u0069d"')),
    _good("blanks around the object", b" \t\r\n" + changed() + b"\n "),
    _good("a value of exactly 1 MiB", changed().ljust(1_048_576)),
    _good("a time with an offset ahead of UTC", changed(time="2026-10-03T11:30:00.000+02:30")),
    _good("a time with an offset behind UTC", changed(time="2026-10-02T23:00:00.000-10:00")),
    _good("a time with the unknown offset -00:00", changed(time="2026-10-03T09:00:00-00:00")),
    _good("a time without a fraction", changed(time="2026-10-03T09:00:00Z")),
    _good("a time with one digit of fraction", changed(time="2026-10-03T09:00:00.5Z"), time_ms=TIME_MS + 500),
    _good(
        "a time whose finer digits are cut off",
        changed(time="2026-10-03T09:00:00.0019999Z"),
        time_ms=TIME_MS + 1,
    ),
    _good(
        "a time with a thousand digits of fraction",
        changed(time=f"2026-10-03T09:00:00.{'9' * 1000}Z"),
        time_ms=TIME_MS + 999,
    ),
    _good("a leap day", changed(time="2024-02-29T00:00:00Z"), time_ms=1_709_164_800_000),
    _good(
        "a time before 1970, cut off towards the past's digits",
        changed(time="1969-12-31T23:59:59.9999Z"),
        time_ms=-1,
    ),
]

_TEN_MEGABYTES = 10_000_000

BAD: list[Bad] = [
    # The value's form
    _bad("no bytes", b"", Reason.EMPTY_VALUE),
    _bad("one byte more than 1 MiB", changed().ljust(1_048_577), Reason.TOO_LARGE),
    _bad("10 MB of an otherwise good event", with_raw(f'"{"x" * _TEN_MEGABYTES}"'), Reason.TOO_LARGE),
    _bad("10 MB of nothing readable", b"\xff" * _TEN_MEGABYTES, Reason.TOO_LARGE),
    _bad("a byte that is no UTF-8 in an id", changed().replace(b"e-1", b"\xff"), Reason.NOT_UNICODE),
    _bad("a byte that is no UTF-8 in an extra field", with_raw(b'"\xc3"'), Reason.NOT_UNICODE),
    _bad(
        "a byte that is no UTF-8 in an extra key",
        with_raw("1", name='"k"').replace(b'"k"', b'"\x80"'),
        Reason.NOT_UNICODE,
    ),
    _bad("an overlong form of NUL", changed().replace(b"e-1", b"\xc0\x80"), Reason.NOT_UNICODE),
    _bad("a surrogate encoded as UTF-8", changed().replace(b"e-1", b"\xed\xa0\x80"), Reason.NOT_UNICODE),
    _bad("UTF-16 with a byte order mark", changed().decode().encode("utf-16"), Reason.NOT_UNICODE),
    _bad(
        "an escaped high surrogate alone in an id", changed().replace(b"e-1", rb"\ud83d"), Reason.NOT_UNICODE
    ),
    _bad(
        "an escaped low surrogate alone in an id", changed().replace(b"e-1", rb"\uDE00"), Reason.NOT_UNICODE
    ),
    _bad(
        "a pair of escaped surrogates the wrong way round",
        changed().replace(b"e-1", rb"\ude00\ud83d"),
        Reason.NOT_UNICODE,
    ),
    _bad(
        "an escaped high surrogate before another character",
        changed().replace(b"e-1", rb"\ud83d\u0041"),
        Reason.NOT_UNICODE,
    ),
    _bad(
        "a lone surrogate after an escaped backslash",
        changed().replace(b"e-1", rb"\\\ud83d"),
        Reason.NOT_UNICODE,
    ),
    _bad("a lone surrogate in an extra text", with_raw(r'["\udfff"]'), Reason.NOT_UNICODE),
    _bad("a lone surrogate in an extra key", with_raw("1", name=r'"\ud800"'), Reason.NOT_UNICODE),
    _bad(
        "a lone surrogate in a value that a later one of its key replaces",
        with_raw('"e-2"', name=r'"id":"\ud800","id"'),
        Reason.NOT_UNICODE,
    ),
    _bad("a lone surrogate in a document of another kind", rb'["\ud800"]', Reason.NOT_UNICODE),
    _bad("UTF-16 without a byte order mark", changed().decode().encode("utf-16-le"), Reason.NOT_JSON),
    _bad("a byte order mark", b"\xef\xbb\xbf" + changed(), Reason.NOT_JSON),
    _bad("blanks only", b" \n", Reason.NOT_JSON),
    _bad("NUL bytes only", b"\0\0", Reason.NOT_JSON),
    _bad("a word", b"hello", Reason.NOT_JSON),
    _bad("a Python dict", repr(document()).encode(), Reason.NOT_JSON),
    _bad("half an event", changed()[:100], Reason.NOT_JSON),
    _bad("two events in one value", changed() + changed(), Reason.NOT_JSON),
    _bad("a NUL byte after the event", changed() + b"\0", Reason.NOT_JSON),
    _bad("a comma too many", changed()[:-1] + b",}", Reason.NOT_JSON),
    _bad("a comment", changed()[:-1] + b"/* */}", Reason.NOT_JSON),
    _bad("a raw NUL character in an id", changed().replace(b"e-1", b"e\x001"), Reason.NOT_JSON),
    _bad("a raw line feed in an extra text", with_raw('"a\nb"'), Reason.NOT_JSON),
    _bad("NaN in an extra field", with_raw("NaN"), Reason.NOT_JSON),
    _bad("Infinity in an extra field", with_raw("[Infinity]"), Reason.NOT_JSON),
    _bad("-Infinity in an extra field", with_raw('{"a":-Infinity}'), Reason.NOT_JSON),
    _bad("NaN in place of an id", changed().replace(b'"e-1"', b"NaN"), Reason.NOT_JSON),
    _bad("NaN alone", b"NaN", Reason.NOT_JSON),
    _bad("a number with a leading zero", with_raw("01"), Reason.NOT_JSON),
    _bad("an extra number of 4,301 digits", with_raw("9" * 4301), Reason.NOT_JSON),
    _bad("an extra number of 5,000 digits", with_raw("-" + "9" * 5000 + ".5e1"), Reason.NOT_JSON),
    _bad(
        "an extra value inside 201 arrays and objects", with_raw("[" * 200 + "1" + "]" * 200), Reason.NOT_JSON
    ),
    _bad("100,000 arrays, one in the other", b"[" * 100_000 + b"]" * 100_000, Reason.NOT_JSON),
    _bad("100,000 arrays opened and never closed", b"[" * 100_000, Reason.NOT_JSON),
    _bad(
        "100,000 objects, one in the other",
        with_raw('{"a":' * 100_000 + "1" + "}" * 100_000),
        Reason.NOT_JSON,
    ),
    _bad("a lone surrogate in what is no JSON anyway", rb'{"id":"\ud800"', Reason.NOT_JSON),
    # CloudEvents
    _bad("null, written out", b"null", Reason.NOT_CLOUDEVENTS),
    _bad("an empty array", b"[]", Reason.NOT_CLOUDEVENTS),
    _bad("an event in an array", b"[" + changed() + b"]", Reason.NOT_CLOUDEVENTS),
    _bad("a bare text", b'"conversation.message.v1"', Reason.NOT_CLOUDEVENTS),
    _bad("a bare number", b"1e999", Reason.NOT_CLOUDEVENTS),
    _bad("a bare boolean", b"true", Reason.NOT_CLOUDEVENTS),
    _bad("an empty object", b"{}", Reason.NOT_CLOUDEVENTS, "specversion"),
    _bad("no specversion", without("specversion"), Reason.NOT_CLOUDEVENTS, "specversion"),
    _bad("another specversion", changed(specversion="0.3"), Reason.NOT_CLOUDEVENTS, "specversion"),
    _bad("a specversion that is a number", changed(specversion=1.0), Reason.NOT_CLOUDEVENTS, "specversion"),
    # The type and its topic
    _bad("no type", without("type"), Reason.MISSING_FIELD, "type"),
    _bad("a type that is null", changed(type=None), Reason.WRONG_TYPE, "type"),
    _bad("a type that is an object", changed(type={}), Reason.WRONG_TYPE, "type"),
    _bad("an empty type", changed(type=""), Reason.UNKNOWN_TYPE, "type"),
    _bad("a type of another version", changed(type="conversation.message.v2"), Reason.UNKNOWN_TYPE, "type"),
    _bad("a type in capitals", changed(type="CONVERSATION.MESSAGE.V1"), Reason.UNKNOWN_TYPE, "type"),
    _bad("a type with NUL characters", changed(type=MESSAGE + "\0"), Reason.UNKNOWN_TYPE, "type"),
    _bad("a type of a million characters", changed(type="x" * 1_000_000), Reason.UNKNOWN_TYPE, "type"),
    _bad("a type given twice, the last unknown", with_raw('"x"', name='"type"'), Reason.UNKNOWN_TYPE, "type"),
    _bad("a message among the handoffs", changed(), Reason.WRONG_TOPIC, "type", STARTED),
    _bad("an alert among the conversations", changed(DELIVERED), Reason.WRONG_TOPIC, "type"),
    _bad("a handoff among the alerts", changed(STARTED), Reason.WRONG_TOPIC, "type", FAILED),
    # Fields
    _bad("no id", without("id"), Reason.MISSING_FIELD, "id"),
    _bad("no source", without("source"), Reason.MISSING_FIELD, "source"),
    _bad("no time", without("time"), Reason.MISSING_FIELD, "time"),
    _bad("no data", without("data"), Reason.MISSING_FIELD, "data"),
    _bad("no account_id", without("data.account_id"), Reason.MISSING_FIELD, "data.account_id"),
    _bad("no user_id", without("data.user_id"), Reason.MISSING_FIELD, "data.user_id"),
    _bad("no channel", without("data.channel"), Reason.MISSING_FIELD, "data.channel"),
    _bad("a message without an author", without("data.author"), Reason.MISSING_FIELD, "data.author"),
    _bad(
        "a close without a conversation_id",
        without("data.conversation_id", CLOSED),
        Reason.MISSING_FIELD,
        "data.conversation_id",
        CLOSED,
    ),
    _bad(
        "a handoff without a handoff_id",
        without("data.handoff_id", ENDED),
        Reason.MISSING_FIELD,
        "data.handoff_id",
        ENDED,
    ),
    _bad(
        "an alert without a delivery_id",
        without("data.delivery_id", DELIVERED),
        Reason.MISSING_FIELD,
        "data.delivery_id",
        DELIVERED,
    ),
    _bad(
        "a failed alert without an alert_id: a fault although it is never billed",
        without("data.alert_id", FAILED),
        Reason.MISSING_FIELD,
        "data.alert_id",
        FAILED,
    ),
    _bad(
        "a developer's test without a user_id: a fault although it is never billed",
        changed(data__developer=True).replace(b'"user_id"', b'"user"'),
        Reason.MISSING_FIELD,
        "data.user_id",
    ),
    _bad("an id that is null", changed(id=None), Reason.WRONG_TYPE, "id"),
    _bad("an id that is a number", changed(id=7), Reason.WRONG_TYPE, "id"),
    _bad(
        "an id that is a number of 400 digits",
        changed().replace(b'"e-1"', b"9" * 400),
        Reason.WRONG_TYPE,
        "id",
    ),
    _bad(
        "an id that is a number out of range", changed().replace(b'"e-1"', b"1e999"), Reason.WRONG_TYPE, "id"
    ),
    _bad("a source that is an array", changed(source=["a"]), Reason.WRONG_TYPE, "source"),
    _bad("a time that is a number", changed(time=TIME_MS), Reason.WRONG_TYPE, "time"),
    _bad("data that is null", changed(data=None), Reason.WRONG_TYPE, "data"),
    _bad("data that is an array", changed(data=[document()["data"]]), Reason.WRONG_TYPE, "data"),
    _bad(
        "data that is JSON in a text", changed(data=json.dumps(document()["data"])), Reason.WRONG_TYPE, "data"
    ),
    _bad("an author that is a number", changed(data__author=1), Reason.WRONG_TYPE, "data.author"),
    _bad("an author that is null", changed(data__author=None), Reason.WRONG_TYPE, "data.author"),
    _bad("developer in a text", changed(data__developer="true"), Reason.WRONG_TYPE, "data.developer"),
    _bad("developer as a number", changed(data__developer=1), Reason.WRONG_TYPE, "data.developer"),
    _bad("developer that is null", changed(data__developer=None), Reason.WRONG_TYPE, "data.developer"),
    _bad(
        "a close whose reason is null",
        changed(CLOSED, data__reason=None),
        Reason.WRONG_TYPE,
        "data.reason",
        CLOSED,
    ),
    _bad("an empty id", changed(id=""), Reason.EMPTY_FIELD, "id"),
    _bad("an empty source", changed(source=""), Reason.EMPTY_FIELD, "source"),
    _bad("an empty channel", changed(data__channel=""), Reason.EMPTY_FIELD, "data.channel"),
    _bad("an id given twice, the last one empty", with_raw('""', name='"id"'), Reason.EMPTY_FIELD, "id"),
    _bad("an id of 201 characters", changed(id="e" * 201), Reason.TOO_LONG, "id"),
    _bad(
        "a bot_id of 201 emoji",
        changed(data__bot_id="\N{GRINNING FACE}" * 201),
        Reason.TOO_LONG,
        "data.bot_id",
    ),
    _bad("a channel of 201 characters", changed(data__channel="x" * 201), Reason.TOO_LONG, "data.channel"),
    _bad("a source of a million characters", changed(source="x" * 1_000_000), Reason.TOO_LONG, "source"),
    _bad(
        "a close whose reason has 201 characters",
        changed(CLOSED, data__reason="x" * 201),
        Reason.TOO_LONG,
        "data.reason",
        CLOSED,
    ),
    _bad(
        "an account_id with a bar",
        changed(data__account_id="a|b"),
        Reason.FORBIDDEN_CHARACTER,
        "data.account_id",
    ),
    _bad("a channel with a bar", changed(data__channel="|"), Reason.FORBIDDEN_CHARACTER, "data.channel"),
    _bad("an id with a line feed at its end", changed(id="e-1\n"), Reason.FORBIDDEN_CHARACTER, "id"),
    _bad("a source with a tabulator", changed(source="a\tb"), Reason.FORBIDDEN_CHARACTER, "source"),
    _bad(
        "a user_id with a delete character",
        changed(data__user_id="\x7f"),
        Reason.FORBIDDEN_CHARACTER,
        "data.user_id",
    ),
    _bad(
        "a user_id with the first C1 control",
        changed(data__user_id="\x80"),
        Reason.FORBIDDEN_CHARACTER,
        "data.user_id",
    ),
    _bad(
        "a user_id with the last C1 control",
        changed(data__user_id="\x9f"),
        Reason.FORBIDDEN_CHARACTER,
        "data.user_id",
    ),
    _bad("an unknown author", changed(data__author="visitor"), Reason.UNKNOWN_VALUE, "data.author"),
    _bad("an author in capitals", changed(data__author="User"), Reason.UNKNOWN_VALUE, "data.author"),
    _bad("an empty author", changed(data__author=""), Reason.UNKNOWN_VALUE, "data.author"),
    # What is reported first
    _bad("not JSON before a wrong specversion", changed(specversion="2", id=float("nan")), Reason.NOT_JSON),
    _bad(
        "CloudEvents before the type",
        changed(specversion="2", type="x"),
        Reason.NOT_CLOUDEVENTS,
        "specversion",
    ),
    _bad("an unknown type before a missing field", changed(type="x", id=None), Reason.UNKNOWN_TYPE, "type"),
    _bad("the topic before the fields", changed(id="", data=None), Reason.WRONG_TOPIC, "type", DELIVERED),
    _bad(
        "the outer fields before those of data",
        changed(time=7, data__account_id=""),
        Reason.WRONG_TYPE,
        "time",
    ),
    _bad(
        "the fields in declared order, not the document's",
        b'{"specversion":"1.0","type":"conversation.message.v1","data":{"channel":1,"bot_id":""},"time":"",'
        b'"source":"s","id":"e"}',
        Reason.MISSING_FIELD,
        "data.account_id",
    ),
    _bad(
        "a forbidden character before the fault of a later field",
        changed(id="|", source=None),
        Reason.FORBIDDEN_CHARACTER,
        "id",
    ),
    _bad("the length before the characters", changed(id="|" * 201), Reason.TOO_LONG, "id"),
    _bad(
        "a field's fault before what the time says",
        changed(time="now", data__developer=0),
        Reason.WRONG_TYPE,
        "data.developer",
    ),
]

NOT_TIMES: dict[str, str] = {
    "empty": "",
    "a word": "now",
    "a date alone": "2026-10-03",
    "no offset": "2026-10-03T09:00:00.000",
    "a small t": "2026-10-03t09:00:00.000Z",
    "a small z": "2026-10-03T09:00:00.000z",
    "a blank for the T": "2026-10-03 09:00:00.000Z",
    "no seconds": "2026-10-03T09:00Z",
    "a leap second": "2016-12-31T23:59:60Z",
    "a leap second with a fraction": "2016-12-31T23:59:60.000Z",
    "second 61": "2026-10-03T09:00:61.000Z",
    "minute 60": "2026-10-03T09:60:00.000Z",
    "hour 24": "2026-10-03T24:00:00.000Z",
    "month 0": "2026-00-03T09:00:00.000Z",
    "month 13": "2026-13-03T09:00:00.000Z",
    "day 0": "2026-10-00T09:00:00.000Z",
    "the 31st of September": "2026-09-31T09:00:00.000Z",
    "the 29th of February of a common year": "2026-02-29T09:00:00.000Z",
    "the 29th of February of 2100": "2100-02-29T09:00:00.000Z",
    "the year 0000": "0000-01-01T00:00:00.000Z",
    "a year of five digits": "12026-10-03T09:00:00.000Z",
    "a year of two digits": "26-10-03T09:00:00.000Z",
    "a sign before the year": "+2026-10-03T09:00:00.000Z",
    "a point without digits": "2026-10-03T09:00:00.Z",
    "a comma for the point": "2026-10-03T09:00:00,000Z",
    "an offset of 24 hours": "2026-10-03T09:00:00.000+24:00",
    "an offset of 60 minutes": "2026-10-03T09:00:00.000+01:60",
    "an offset without a colon": "2026-10-03T09:00:00.000+0200",
    "an offset of hours only": "2026-10-03T09:00:00.000+02",
    "an offset with a minus of typography": "2026-10-03T09:00:00.000\u221202:00",
    "Z and an offset": "2026-10-03T09:00:00.000Z+02:00",
    "the name of a zone": "2026-10-03T09:00:00.000 UTC",
    "a week date": "2026-W40-6T09:00:00.000Z",
    "no dashes": "20261003T090000Z",
    "a blank before": " 2026-10-03T09:00:00.000Z",
    "a blank after": "2026-10-03T09:00:00.000Z ",
    "a line feed after": "2026-10-03T09:00:00.000Z\n",
    "a NUL after": "2026-10-03T09:00:00.000Z\0",
    "an underscore among the digits": "2_26-10-03T09:00:00.000Z",
    "an underscore in the fraction": "2026-10-03T09:00:00.0_0Z",
    "a blank in the seconds": "2026-10-03T09:00: 0.000Z",
    "a sign in the minutes": "2026-10-03T09:+5:00.000Z",
    "Arabic digits": "\u0662\u0660\u0662\u0666-10-03T09:00:00.000Z",
    "Arabic digits in the seconds": "2026-10-03T09:00:\u0660\u0660.000Z",
    "Arabic digits in the fraction": "2026-10-03T09:00:00.\u0660\u0660\u0660Z",
    "fullwidth digits in the offset": "2026-10-03T09:00:00.000+\uff10\uff12:00",
    "before the year 0001 in UTC": "0001-01-01T00:00:00.000+00:01",
    "after the year 9999 in UTC": "9999-12-31T23:59:59.999-00:01",
    "a hundred thousand digits": "2" * 100_000,
}
BAD += [
    _bad(f"a time with {name}", changed(time=text), Reason.INVALID_TIME, "time")
    for name, text in NOT_TIMES.items()
]

for _kind, _fields in {
    MESSAGE: ("conversation_id", "user_id"),
    STARTED: ("handoff_id",),
    DELIVERED: ("alert_id", "delivery_id"),
}.items():
    for _field in (*_fields, "account_id", "bot_id", "channel"):
        BAD += [
            _bad(
                f"a NUL character in {_field} of {_kind}",
                changed(_kind, **{f"data__{_field}": "a\0"}),
                Reason.FORBIDDEN_CHARACTER,
                f"data.{_field}",
                _kind,
            )
        ]
