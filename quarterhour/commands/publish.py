"""`quarterhour publish`: events from a file to their Kafka topics."""

import asyncio
from collections.abc import Iterator
from typing import BinaryIO

import click

from quarterhour.errors import AnswerIsNo
from quarterhour.kafka import security_options
from quarterhour.lines import read_chunks
from quarterhour.logs import set_up_logs
from quarterhour.output import TABLE, emit, emit_object, format_option, progress_bar, tell_refused
from quarterhour.publishing import PublishSummary, publish_chunks
from quarterhour.settings import Settings, load_settings
from schemas.topics import Topic


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--raw", is_flag=True, help="Send lines as they are, bad ones too: to the topic of their type.")
@format_option
def command(file: BinaryIO, raw: bool, output_format: str) -> None:
    """Publish events from a file to their topics.

    FILE holds one event a line (NDJSON); - is standard input. Each goes to the topic of its type, with its
    key, on the partition that the Java client would choose. A bad line is named on standard error and not
    sent; the good ones are, and the exit status is 1. To publish a file again is harmless: an event is known
    by its source and id.

    With --raw bad lines are sent too: to the topic of their type with the key of their ids, as far as these
    can be told, else to the conversation topic without a key. Only lines over 1,000,000 bytes are refused.

    Kafka out of reach is waited for as long as QUARTERHOUR_PATIENCE says; then the exit status is 3.

    Example:

    \b
      quarterhour traffic --events 1000 --seed 1 | quarterhour publish -
    """
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    with progress_bar(file, "Publishing") as advance:
        summary = asyncio.run(_publish(settings, read_chunks(file, advance), raw))
    _report(summary, output_format)
    if summary.refused:
        raise AnswerIsNo(f"{summary.refused.total()} lines were refused", code="lines_refused")


async def _publish(settings: Settings, chunks: Iterator[list[bytes]], raw: bool) -> PublishSummary:
    return await publish_chunks(
        chunks,
        settings.require_kafka_brokers(),
        settings.topics,
        raw,
        security=security_options(settings),
        patience_ms=settings.patience_ms,
        on_refused=tell_refused,
    )


def _report(summary: PublishSummary, output_format: str) -> None:
    if output_format == TABLE:
        rows = [{"outcome": f"sent to {topic}", "lines": lines} for topic, lines in summary.sent.items()]
        rows += [
            {"outcome": f"refused: {reason}", "lines": lines} for reason, lines in summary.refused.items()
        ]
        emit(TABLE, rows, ["outcome", "lines"])
    else:
        emit_object({"sent": {topic: summary.sent[topic] for topic in Topic}, "refused": summary.refused})
