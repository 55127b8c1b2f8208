"""Messages of as many conversations as it takes, made fast, and what a ledger must hold after them.

A conversation's messages are numbered from 0; even ones are the user's, odd ones the bot's. No gap in a
conversation is as long as the idle timeout, so every message counts in exactly one session record: the sums
of all records are known without billing anything. Of one account every line is kept, and every field of its
records is compared with the reference model.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import asyncpg

from quarterhour.comparing import compare
from quarterhour.parts.topics import PARTITIONS
from schemas.times import format_time_ms
from schemas.topics import Topic, partition_of
from sessionizer import reference
from sinks.views import read_session_records
from tests.bench.processes import BenchFailed

CONVERSATION_PARTITIONS = PARTITIONS[Topic.CONVERSATION]
SAMPLE_EVENTS = 20_000
"""About so many go through the reference model, which is slow."""
AUTHORS = ("user", "bot")
BLOCK = 1_000
"""So many conversations of `in_blocks` speak in turn."""
SUMS = """
select coalesce(sum(user_messages), 0)::bigint, coalesce(sum(bot_messages), 0)::bigint
from billing.session_record where status <> 'void' and starts_with(account_id, $1)
"""
OUTCOMES = "select outcome, sum(records)::bigint from billing.outcome_count group by outcome"


class Message(NamedTuple):
    """One Kafka record of the topic of conversations."""

    partition: int
    key: bytes
    value: bytes


class Traffic:
    """Conversations by number, all of whose messages go through here on their way to Kafka."""

    def __init__(self, tag: str, conversations: int, events: int) -> None:
        """`events` may be a guess: it decides how many accounts there are."""
        self.conversations = conversations
        self.sent = [0, 0]
        """Messages of users, and of bots."""
        self._tag = tag
        self._accounts = max(1, events // SAMPLE_EVENTS)
        self._sample: list[bytes] = []
        self._partitions = array("B")
        self.grow(conversations)

    @property
    def events(self) -> int:
        """How many messages there were."""
        return sum(self.sent)

    def grow(self, conversations: int) -> None:
        """Allow for so many conversations."""
        for number in range(len(self._partitions), conversations):
            self._partitions.append(partition_of(self._key(number).encode(), CONVERSATION_PARTITIONS))
        self.conversations = len(self._partitions)

    def message(self, number: int, place: int, time_ms: int) -> Message:
        """The message at this place of a conversation; each is to be made once."""
        author = place & 1
        self.sent[author] += 1
        account = number % self._accounts
        value = (
            f'{{"specversion":"1.0","id":"e-{self._tag}-{number}-{place}","source":"/runtime/eu-1",'
            f'"type":"conversation.message.v1","time":"{format_time_ms(time_ms)}",'
            f'"data":{{"account_id":"{self._tag}-{account}","bot_id":"sales",'
            f'"conversation_id":"c-{self._tag}-{number}","user_id":"u-{number}","channel":"web",'
            f'"author":"{AUTHORS[author]}"}}}}'
        ).encode()
        if not account:
            self._sample.append(value)
        return Message(self._partitions[number], self._key(number).encode(), value)

    def in_turns(self, places: range, pace_ms: int, first_ms: int) -> Iterator[Message]:
        """Messages of all conversations in order of time: each speaks once in `pace_ms`."""
        count = self.conversations
        for turn, place in enumerate(places):
            turn_ms = first_ms + turn * pace_ms
            for number in range(count):
                yield self.message(number, place, turn_ms + number * pace_ms // count)

    def in_blocks(self, places: range, pace_ms: int, first_ms: int) -> Iterator[Message]:
        """The same messages, some conversations after the others: all of them speak in the same minutes."""
        for begin in range(0, self.conversations, BLOCK):
            for turn, place in enumerate(places):
                for number in range(self.conversations)[begin : begin + BLOCK]:
                    yield self.message(number, place, first_ms + turn * pace_ms)

    async def wrong(self, dsn: str) -> str:
        """What of these conversations the ledger bills otherwise; empty if nothing."""
        connection = await asyncpg.connect(dsn)
        try:
            billed = list(await connection.fetchrow(SUMS, f"{self._tag}-"))
        finally:
            await connection.close()
        if billed != self.sent:
            return f"messages of users and bots: sent {self.sent}, billed {billed}"
        found = [record async for record in read_session_records(dsn, account_id=f"{self._tag}-0")]
        records = compare(found, reference.sessionize(map(json.loads, self._sample)))
        return "" if records.equal else records.report("ledger", "reference")

    def _key(self, number: int) -> str:
        return f"{self._tag}-{number % self._accounts}|sales|c-{self._tag}-{number}"


async def check(dsn: str, *traffic: Traffic) -> None:
    """Raise `BenchFailed` unless the ledger bills these messages and no others, each of them once."""
    connection = await asyncpg.connect(dsn)
    try:
        outcomes = dict(await connection.fetch(OUTCOMES))
    finally:
        await connection.close()
    sent = {"fact": sum(one.events for one in traffic)}
    if outcomes != sent:
        raise BenchFailed(f"outcomes: sent {sent}, counted {outcomes}")
    for one in traffic:
        if wrong := await one.wrong(dsn):
            raise BenchFailed(wrong)
