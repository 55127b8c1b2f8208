"""`quarterhour dead-letters`: what could not be read as an event, and an operator's way on from there."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar

import click
from pydantic_core import to_json

from quarterhour.aggregator import TIME, Checked, actor_option
from quarterhour.database import NEEDS_SCHEMA, asking_ledger
from quarterhour.errors import AnswerIsNo, WrongInput
from quarterhour.kafka import security_options
from quarterhour.logs import set_up_logs
from quarterhour.mending import parse_change
from quarterhour.output import TABLE, emit, emit_object, format_option
from quarterhour.parts.topics import end_offsets
from quarterhour.replaying import AT_ONCE, Replay, open_replayer
from quarterhour.settings import Settings, load_settings
from schemas.reasons import Reason
from schemas.salvage import read_in_part
from schemas.times import format_time_ms
from sinks.dead_letters import DeadLetters, Filter, Hand, Letter, LetterId, State, open_dead_letters
from sinks.ledger import SourcePartition

F = TypeVar("F", bound=Callable[..., Any])
Row = dict[str, Any]

SHOWN = ["id", "reason", "field", "detail", "account_id", "state", "recorded_at"]
SHOWN_COUNTS = ["reason", "state", "dead_letters", "accounts", "first_at", "last_at", "what_to_do"]
SHOWN_PLANS = ["reason", "act", "still", "dead_letters", "first_id"]
SHOWN_HISTORY = ["acted_at", "id", "act", "actor", "why", "change", "sent_as"]
SHOWN_AUDIT = ["first_at", "last_at", "act", "acts", "actor", "why", "change", "until"]
SHOWN_ACCEPTED = ["topic", "partition", "until"]
MAX_SHOWN_CHARACTERS = 4_000
NOW = "now"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _id(text: str) -> LetterId:
    topic, *numbers = text.rsplit("/", 2)
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f"{text!r} is not TOPIC/PARTITION/OFFSET, such as conversation/3/1071")
    return LetterId(topic, *map(int, numbers))


def _until(text: str) -> int | None:
    if text != NOW and not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is neither an offset nor `{NOW}`")
    return None if text == NOW else int(text)


LETTER_ID = Checked("id", _id)
CHANGE = Checked("change", parse_change)
UNTIL = Checked("offset", _until)
_REASONS = {reason.value: reason for reason in Reason}
_CODE = click.Choice(list(_REASONS))


def filter_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the filters, that of the reason code by these names; the command gets `wanted`."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_filter(
            *,
            code: str | None,
            topic: str | None,
            account: str | None,
            from_ms: int | None,
            to_ms: int | None,
            **others: Any,
        ) -> None:
            command(wanted=Filter(code, topic, account, _moment(from_ms), _moment(to_ms)), **others)

        for option in (
            click.option("--to", "to_ms", type=TIME, help="Those before this time."),
            click.option(
                "--from", "from_ms", type=TIME, help="Those that the broker took at this time or later."
            ),
            click.option(
                "--account", help="Those of this account, as far as their value or key still names one."
            ),
            click.option("--topic", help="Those of this topic; TOPIC@ID is one that is no more."),
            click.option(
                *names,
                "code",
                type=_CODE,
                metavar="CODE",
                help="Those with this reason code, such as missing_field.",
            ),
        ):
            with_filter = option(with_filter)
        return with_filter

    return add


def act_options(command: F) -> F:
    """Add who acts, and whether it is done; without `--confirm` nothing is."""
    confirm = click.option("--confirm", is_flag=True, help="Do it. Without this it is only shown.")
    return actor_option(confirm(command))


ids_argument = click.argument("ids", nargs=-1, type=LETTER_ID, metavar="[ID]...")
why_option = click.option("--why", help="Why, as the audit keeps it; needed with --confirm.")


@click.group()
def command() -> None:
    """List, show, mend, replay and discard dead letters.

    A record that is no event becomes a dead letter, and stays one. It is `open` until somebody acts:
    `discarded`, or `replayed`, and `resolved` once what was sent again was read as an event. An ID is
    TOPIC/PARTITION/OFFSET. Who did what, when and why is kept for ever.

    Example:

    \b
      quarterhour dead-letters list --count
    """


@command.command("list")
@filter_options("--reason", "--code")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Those in this state.")
@click.option("--count", "counting", is_flag=True, help="Count them by reason and state instead.")
@format_option
def list_letters(
    wanted: Filter,
    state: str | None,
    counting: bool,
    output_format: str,
) -> None:
    """List dead letters, the oldest first, or count them.

    Example:

    \b
      quarterhour dead-letters list --reason missing_field --account acme --state open
    """

    chosen = replace(wanted, state=State(state) if state else None)

    async def listing(letters: DeadLetters) -> None:
        if counting:
            emit(output_format, map(_count_row, await letters.counts(chosen)), SHOWN_COUNTS)
            return
        rows = [_row(letter) async for letter in _in_turn(letters, await letters.ids(chosen))]
        emit(output_format, rows, SHOWN)

    _with_letters(listing)


@command.command()
@click.argument("letter_id", type=LETTER_ID, metavar="ID")
@format_option
def show(letter_id: LetterId, output_format: str) -> None:
    """Show a dead letter: what was read, what is wrong with it, what to do, and what was done.

    `value` is the text of its bytes, with what is not UTF-8 or not printable escaped; `value_base64` is the
    bytes themselves; `document` what can be read of it as JSON; `found` what stands in the field at fault.

    Example:

    \b
      quarterhour dead-letters show conversation/3/1071
    """

    async def showing(letters: DeadLetters) -> None:
        for letter in await letters.letters([letter_id]):
            history = [
                {**act._asdict(), "acted_at": _time(act.acted_at)} for act in await letters.history(letter_id)
            ]
            _emit_letter({**_details(letter), "history": history}, output_format)
            return
        raise AnswerIsNo(f"there is no dead letter {letter_id}")

    _with_letters(showing)


@command.command()
@ids_argument
@filter_options("--reason", "--code")
@click.option(
    "--set",
    "changes",
    type=CHANGE,
    multiple=True,
    help="Set this field: path=value, the value in JSON. As often as you like.",
)
@why_option
@act_options
@format_option
def replay(
    ids: tuple[LetterId, ...],
    wanted: Filter,
    changes: tuple[tuple[str, Any], ...],
    why: str | None,
    confirm: bool,
    actor: str,
    output_format: str,
) -> None:
    """Produce dead letters again, mended: to the topic of their type, with their key, on its partition.

    Named by their IDs, or all open ones that match the filters. What is no event even so is not sent, and
    the status is 1. An event is known by its source and id, so one that is sent twice counts once. The
    record bears the ID of the dead letter in the header quarterhour-dead-letter: if workers refuse it once
    more, the new dead letter names the first (`replay_of`).

    Example:

    \b
      quarterhour dead-letters replay --reason missing_field --set data.channel='"web"' --why "release 4.2"
    """
    hand = _hand(actor, why, confirm, dict(changes))
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)

    async def replaying(letters: DeadLetters) -> None:
        chosen = await _choose(letters, ids, wanted)
        report = _Report(output_format)
        async with open_replayer(letters, settings) as replayer:
            async for planned in replayer.plan(chosen, hand):
                report.add(map(_replay_row, await replayer.send(planned, hand) if confirm else planned))
        report.close("sent", confirm)

    _with_letters(replaying)


@command.command()
@ids_argument
@filter_options("--code")
@click.option("--reason", "--why", "why", help="Why, as the audit keeps it; needed with --confirm.")
@act_options
@format_option
def discard(
    ids: tuple[LetterId, ...],
    wanted: Filter,
    why: str | None,
    confirm: bool,
    actor: str,
    output_format: str,
) -> None:
    """Set dead letters aside for good, with a reason.

    Named by their IDs, or all open ones that match the filters; here --code filters by reason code. They
    stay in the ledger. One that was resolved is left alone; one that was discarded can still be replayed.

    Example:

    \b
      quarterhour dead-letters discard --code not_json --topic conversation --reason "a load test" --confirm
    """
    if why in _REASONS:
        raise click.UsageError(f"--reason says why they are discarded; filter with --code {why}")
    hand = _hand(actor, why, confirm)

    async def discarding(letters: DeadLetters) -> None:
        chosen = await _choose(letters, ids, wanted)
        report = _Report(output_format)
        for at in range(0, len(chosen), AT_ONCE):
            found = await letters.letters(chosen[at : at + AT_ONCE])
            if confirm and (wanted_ids := [it.id for it in found if it.state is not State.RESOLVED]):
                await letters.discard(wanted_ids, hand)
            report.add(map(_discard_row, found))
        report.close("discarded", confirm)

    _with_letters(discarding)


@command.command()
@click.option("--topic", required=True, help="Of this topic.")
@click.option("--partition", type=click.IntRange(min=0), help="Of this partition only.")
@click.option(
    "--until",
    "until",
    type=UNTIL,
    required=True,
    help=f"Those before this offset, or `{NOW}`: all that is in Kafka at this moment.",
)
@why_option
@act_options
@format_option
def accept(
    topic: str,
    partition: int | None,
    until: int | None,
    why: str | None,
    confirm: bool,
    actor: str,
    output_format: str,
) -> None:
    """Let a worker go on that stopped at too many dead letters.

    Bad records before the offset become dead letters without counting for QUARTERHOUR_DEAD_LETTER_LIMIT_SHARE
    and _RUN; those from there on count. A worker goes by this from its next start. Mend the producer first.

    Example:

    \b
      quarterhour dead-letters accept --topic conversation --until now --why "release 4.2" --confirm
    """
    if until is not None and partition is None:
        raise click.UsageError(f"an offset is of one --partition; --until {NOW} is of all")
    hand = _hand(actor, why, confirm)
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)

    async def accepting(letters: DeadLetters) -> None:
        ends = await _ends(settings, topic, partition)
        offsets = {source: end if until is None else until for source, end in ends.items()}
        if beyond := [source for source, offset in offsets.items() if offset > ends[source]]:
            raise WrongInput(f"partition {beyond[0].partition} ends at {ends[beyond[0]]}: not before {until}")
        if confirm:
            await letters.accept(offsets, hand)
        emit(
            output_format,
            [{**source._asdict(), "until": offset} for source, offset in offsets.items()],
            SHOWN_ACCEPTED,
        )
        _tell(f"{len(offsets)} partitions", "accepted: start the worker again", confirm)

    _with_letters(accepting)


@command.command()
@format_option
def audit(output_format: str) -> None:
    """Show who did what about dead letters, when and why.

    Acts alike stand together. `replay` was asked for, `sent` is what Kafka acknowledged then; `until` is the
    offset that an `accept` was for. `quarterhour dead-letters show` tells what was done about one.

    Example:

    \b
      quarterhour dead-letters audit
    """

    async def auditing(letters: DeadLetters) -> None:
        _emit_acts(map(_audit_row, await letters.audit()), SHOWN_AUDIT, output_format)

    _with_letters(auditing)


class _Report:
    """What is done, or would be: a line each, or a table of how many."""

    def __init__(self, output_format: str) -> None:
        self._output_format = output_format
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._first: dict[tuple[str, str, str], str] = {}
        self._left = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Report these."""
        for row in rows:
            group = row["reason"], row["act"], row["still"] or ""
            self._counts[group] += 1
            self._first.setdefault(group, row["id"])
            self._left += row["still"] is not None
            if self._output_format != TABLE:
                emit_object(row)

    def close(self, done: str, confirmed: bool) -> None:
        """Report the sums; raises AnswerIsNo if some were left alone."""
        if self._output_format == TABLE:
            rows = [
                {
                    **dict(zip(SHOWN_PLANS, group, strict=False)),
                    "dead_letters": count,
                    "first_id": self._first[group],
                }
                for group, count in self._counts.most_common()
            ]
            emit(TABLE, rows, SHOWN_PLANS)
        _tell(f"{self._counts.total() - self._left} dead letters", done, confirmed)
        if self._left:
            raise AnswerIsNo(f"{self._left} dead letters were left alone", code="left_alone")


def _tell(what: str, done: str, confirmed: bool) -> None:
    click.echo(
        f"{what} {done}" if confirmed else f"{what} to be {done}; nothing was changed: add --confirm",
        err=True,
    )


def _with_letters(work: Callable[[DeadLetters], Awaitable[None]]) -> None:
    """Do a command's work on the dead letters of the ledger. Raises `QuarterhourError`."""
    dsn = load_settings().require_postgres_dsn()

    async def working() -> None:
        async with open_dead_letters(dsn) as letters:
            await work(letters)

    with asking_ledger(NEEDS_SCHEMA):
        asyncio.run(working())


def _hand(actor: str, why: str | None, confirm: bool, change: Mapping[str, Any] | None = None) -> Hand:
    if confirm and not why:
        raise click.UsageError("--confirm needs the reason why, for the audit")
    return Hand(actor, why or "", change or {})


async def _choose(letters: DeadLetters, ids: tuple[LetterId, ...], wanted: Filter) -> list[LetterId]:
    """The ids given, or those of all that match the filters; one of both must be given."""
    if bool(ids) == (wanted != Filter()):
        raise click.UsageError("name dead letters by their IDs, or give at least one filter, not both")
    if not ids:
        return await letters.ids(replace(wanted, state=State.OPEN))
    found = {letter.id async for letter in _in_turn(letters, ids)}
    if missing := [str(id) for id in ids if id not in found]:
        raise WrongInput(f"there is no dead letter {', '.join(missing)}")
    return list(dict.fromkeys(ids))


async def _in_turn(letters: DeadLetters, ids: Iterable[LetterId]) -> AsyncIterator[Letter]:
    wanted = list(ids)
    for at in range(0, len(wanted), AT_ONCE):
        for letter in await letters.letters(wanted[at : at + AT_ONCE]):
            yield letter


async def _ends(settings: Settings, topic: str, partition: int | None) -> dict[SourcePartition, int]:
    if topic not in settings.topics.values():
        raise WrongInput(f"{topic} is no source topic: {', '.join(settings.topics.values())}")
    found = await end_offsets(settings.require_kafka_brokers(), [topic], security_options(settings))
    ends = {SourcePartition(*place): end for place, end in sorted(found.items())}
    if partition is None:
        return ends
    source = SourcePartition(topic, partition)
    if source not in ends:
        raise WrongInput(f"topic {topic} has no partition {partition}")
    return {source: ends[source]}


def _row(letter: Letter) -> Row:
    return {
        "id": str(letter.id),
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "account_id": letter.account_id,
        "state": letter.state.value,
        "recorded_at": _time(letter.recorded_at),
        "replay_of": letter.replay_of,
        "again": letter.again,
    }


def _count_row(row: Mapping[str, Any]) -> Row:
    return {
        **row,
        "first_at": _time(row["first_at"]),
        "last_at": _time(row["last_at"]),
        "what_to_do": _REASONS[row["reason"]].what_to_do,
    }


def _audit_row(row: Mapping[str, Any]) -> Row:
    return {**row, "first_at": _time(row["first_at"]), "last_at": _time(row["last_at"])}


def _replay_row(planned: Replay) -> Row:
    return {
        "id": str(planned.letter.id),
        "reason": planned.letter.reason,
        "act": "leave" if planned.still else "replay",
        "still": planned.still,
        "topic": planned.topic,
        "partition": planned.partition,
        "key": planned.mended.key.decode() if planned.mended else None,
        "value": planned.mended.value.decode() if planned.mended else None,
        "sent_as": None if planned.sent_as is None else str(planned.sent_as),
    }


def _discard_row(letter: Letter) -> Row:
    still = "resolved" if letter.state is State.RESOLVED else None
    return {
        "id": str(letter.id),
        "reason": letter.reason,
        "act": "leave" if still else "discard",
        "still": still,
    }


def _details(letter: Letter) -> Row:
    document = read_in_part(letter.value)
    return {
        **_row(letter),
        "meaning": _REASONS[letter.reason].meaning,
        "what_to_do": _REASONS[letter.reason].what_to_do,
        "found": _plain(_at(document, letter.field)),
        "created_at": _time(letter.created_at),
        "key": _printable(letter.key),
        "value": _printable(letter.value),
        "value_bytes": len(letter.value or b""),
        "value_base64": None if letter.value is None else base64.b64encode(letter.value).decode(),
        "document": _plain(document),
    }


def _emit_letter(details: Row, output_format: str) -> None:
    if output_format != TABLE:
        emit_object(details)
        return
    shown = {name: value for name, value in details.items() if name not in ("history", "value_base64")}
    emit(TABLE, [{"dead letter": name, "": _cell(value)} for name, value in shown.items()])
    _emit_acts(details["history"], SHOWN_HISTORY, output_format)


def _emit_acts(acts: Iterable[Row], shown: list[str], output_format: str) -> None:
    """Show acts; in a table too, the values that were set are as they were given: JSON."""
    if output_format == TABLE:
        acts = [{**act, "change": _cell(act["change"])} for act in acts]
    emit(output_format, acts, shown)


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    if len(text) <= MAX_SHOWN_CHARACTERS:
        return text
    return f"{text[:MAX_SHOWN_CHARACTERS]}... {len(text):,} characters; --format json shows all"


def _at(document: Any, path: str) -> Any:
    """What stands in a field; None if nothing does."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _plain(document: Any) -> Any:
    """The same without numbers that JSON does not have."""
    return json.loads(to_json(document, inf_nan_mode="strings"))


def _printable(content: bytes | None) -> str | None:
    """Bytes as text that does nothing to a terminal."""
    if content is None:
        return None
    text = content.decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _moment(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else _EPOCH + timedelta(milliseconds=time_ms)


def _time(moment: datetime) -> str:
    return format_time_ms((moment - _EPOCH) // timedelta(milliseconds=1))
