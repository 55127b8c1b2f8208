"""Holding the ledger against itself, and against Kafka's logs: what must be equal and is not, by name.

The counters of a source partition against its offsets; then, with the billing rule, every record against its
facts, and what consumers were told against both. Reads through `sinks.reconciling`; changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np

from schemas.outcomes import Outcome
from schemas.topics import Topic, join_key, partition_of, partitions_of
from sessionizer.bill import ALGORITHM, Bill
from sessionizer.bills import bill_each
from sessionizer.blocks import Block
from sessionizer.facts import FACT_BYTES, USER_MESSAGE
from sessionizer.ids import alert_session_id, usage_session_id, usage_session_ids
from sessionizer.packed import FACT, PackedFacts, flaws_of, split, times_of
from sessionizer.rules import InvalidRules, RuleBook, RuleSet
from sessionizer.story import MOST_FACTS_BILLED, block_then
from sinks.ledger import Seal, SourcePartition, SourceTopic
from sinks.reconciling import Chunk, Counted, Difference, Filter, HeldConversation, Snapshot
from streams.conversations import conversation_key
from streams.positions import Standing, State
from streams.sealing import STEP_MS

MOST_FACTS_AT_ONCE = 500_000
_ID_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONTENT = (
    *("kind", "account_id", "bot_id", "subject_id", "session_started_at", "block", "started_at", "ended_at"),
    *("bot_ms", "agent_ms", "user_messages", "bot_messages", "user_id", "channel", "shard"),
)
_TOLD = CONTENT[:-1]
_STATES = {
    State.LOST: "Kafka's log begins at {start}, so {gone} offsets were lost before they were read",
    State.BEYOND: "Kafka's log ends at {end}, before what was read of it",
    State.OTHER_TOPIC: "Kafka has another topic of this name",
    State.MISSING: "Kafka does not have it",
}


@dataclass
class Compared:
    """How much was looked at; superseded are changes that consumers were told and then told otherwise.

    Sealed are records whose facts are gone: they are held against the change feed alone.
    """

    partitions: int = 0
    conversations: int = 0
    facts: int = 0
    records: int = 0
    sealed: int = 0
    alerts: int = 0
    superseded: int = 0


def judge_partitions(counted: Iterable[Counted]) -> Iterator[Difference]:
    """Offsets read are the outcomes and the gaps, in every source partition."""
    for part in counted:
        key = _place(part.source)
        if unknown := sorted(part.outcomes.keys() - set(Outcome)):
            yield Difference("outcome_count", key, f"no such outcome: {', '.join(unknown)}")
        if part.next_offset is None or part.first_offset is None or part.gap_count is None:
            yield Difference("source_partition, outcome_count", key, "was counted, and has no offsets")
            continue
        read, records = part.next_offset - part.first_offset, sum(part.outcomes.values())
        if read != records + part.gap_count:
            yield Difference(
                "source_partition, outcome_count",
                key,
                f"{read} offsets read, and {records} outcomes + {part.gap_count} gaps counted of them",
            )


def judge_standings(
    standings: Iterable[Standing],
    known: Mapping[str, SourceTopic],
    counted: Collection[Counted],
    names: Collection[str],
) -> Iterator[Difference]:
    """The ledger's offsets are in Kafka's logs, and its topics are Kafka's."""
    sizes: Counter[str] = Counter()
    for row in standings:
        if row.log:
            sizes[row.source.topic] += 1
        if row.state in _STATES:
            start, end = row.log or (None, None)
            what = _STATES[row.state].format(start=start, end=end, gone=row.gone)
            yield Difference("source_partition, source_topic", _place(row.source), what)
    read = {part.source.topic for part in counted}
    for topic, (partitions, _) in known.items():
        if topic not in read and topic not in names:
            yield Difference("source_topic", topic, "is no topic that was ever read")
        if sizes[topic] and sizes[topic] != partitions:
            yield Difference(
                "source_topic", topic, f"has {sizes[topic]} partitions in Kafka, not {partitions}"
            )
    for source in sorted(part.source for part in counted):
        if "@" in source.topic:  # history, of a topic that is no more
            continue
        if source.topic not in known:
            yield Difference("source_topic", source.topic, "is not there, and source_partition has it")
        elif source.partition >= known[source.topic].partitions:
            yield Difference("source_partition", _place(source), "the topic has no such partition")


@dataclass
class Reconciliation:
    """One deep run: what it looks at, and how much it has seen so far."""

    snapshot: Snapshot
    topics: Mapping[Topic, str]
    known: Mapping[str, SourceTopic]
    counted: Sequence[Counted]
    allowed_lateness_ms: int
    only: Filter
    compared: Compared = field(default_factory=Compared)
    _book: RuleBook = field(default_factory=RuleBook)
    _has_older: bool = False
    """Whether records were billed by an older version of the rule's code."""
    _clocks_ms: dict[int, list[int]] = field(default_factory=dict)
    _revisions: int = 0
    _sealed_facts: int = 0
    _sealed_conversations: int = 0
    _identities: int = 0
    _billed: int = 0
    _further_reports: int = 0
    _newest_ms: dict[SourcePartition, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        """Find the clocks of each shard."""
        for part in self.counted:
            if part.source.topic in self._stream_topics and part.clock_ms is not None:
                self._clocks_ms.setdefault(part.source.partition, []).append(part.clock_ms)

    @property
    def _stream_topics(self) -> list[str]:
        return [self.topics[Topic.CONVERSATION], self.topics[Topic.AGENT_HANDOFF]]

    async def differences(self) -> AsyncIterator[Difference]:
        """All that is not as it must be, as it is found."""
        async for difference in self.snapshot.differences(
            self.only, self._stream_topics, self.allowed_lateness_ms
        ):
            yield difference
        async for alert in self._alerts():
            yield alert
        try:
            rows = [RuleSet(**row) for row in await self.snapshot.rule_sets()]
            self._book = RuleBook(rows)
        except InvalidRules as error:
            yield Difference("rule_set", "", f"no bill can be computed: {error}")
            return
        if not any(row.bot_id is None and row.effective_ms <= 0 for row in rows):
            yield Difference("rule_set", "all bots", "none is in force from the beginning")
        oldest, _ = await self.snapshot.algorithms()
        self._has_older = oldest < ALGORITHM
        async for usage in self._usage():
            yield usage
        async for superseded in self._superseded():
            yield superseded
        for total in self._totals() if self.only.is_open else ():
            yield total

    async def _usage(self) -> AsyncIterator[Difference]:
        """Every conversation, and the records that its facts yield."""
        shard_count = self._partitions(Topic.CONVERSATION)
        async for batch in self.snapshot.conversations(self.only, MOST_FACTS_AT_ONCE):
            sound = []
            sets = [joined(held.chunks) for held in batch]
            shards = partitions_of([join_key(*held.names) for held in batch], shard_count)
            flaws = iter(
                flaws_of([stored for held, stored in zip(batch, sets, strict=True) if _has_facts(held)])
            )
            for held, stored, shard in zip(batch, sets, shards, strict=True):
                wrong = [*self._wrong_facts(held, stored[0], next(flaws) if _has_facts(held) else None)]
                if not wrong and _has_facts(held):
                    sound.append((held, PackedFacts(*stored)))
                for difference in (*wrong, *self._wrong_conversation(held, shard)):
                    yield difference
            async for difference in self._bills(sound):
                yield difference
        with_facts, self.compared.sealed = await self.snapshot.count_usage_records(self.only)
        if with_facts != self._billed:
            async for surplus in self._surplus():
                yield surplus

    def _wrong_conversation(self, held: HeldConversation, shard: int) -> Iterator[Difference]:
        """What is wrong with a conversation, whatever its facts yield."""
        name = "|".join(held.names)
        self.compared.conversations += 1
        self._revisions += held.revision
        self._sealed_facts += held.sealed_facts
        self._sealed_conversations += held.seal is not None
        if conversation_key(join_key(*held.names)) != held.key:
            what = f"stands under the key {held.key.hex()}, which is not its own"
            yield Difference("conversation", name, what)
        if shard != held.shard:
            yield Difference("conversation", name, f"is in shard {held.shard} and belongs in {shard}")
        if held.settled and len(held.chunks) > 1:
            what = f"is marked as settled, and its facts are still in {len(held.chunks)} chunks"
            yield Difference("conversation", name, what)
        newest_ms = max(held.settles_ms, *self._clocks_ms.get(held.shard, [0]))
        if held.chunks and held.seal_due_ms is not None and held.seal_due_ms > newest_ms + STEP_MS:
            what = f"seal_due_ms is {held.seal_due_ms}: its facts would be sealed too late, or never"
            yield Difference("conversation", name, what)
        if not _has_facts(held):
            yield from _wrong_without_facts(held)

    def _wrong_facts(self, held: HeldConversation, facts: bytes, flaw: str | None) -> Iterator[Difference]:
        """Why no bill can be computed from the facts of a conversation."""
        name, count = "|".join(held.names), held.sealed_facts
        for chunk in held.chunks:
            count += len(chunk.facts) // FACT_BYTES
            upto = f"facts up to revision {chunk.revision}"
            if not chunk.is_unchanged:
                yield Difference("fact_chunk", name, f"{upto} were changed after they were written")
            if chunk.revision != count:
                yield Difference("fact_chunk", name, f"{upto}, and there are {count} of them")
        if count != held.revision:
            sealed = f", {held.sealed_facts} of them sealed" if held.seal else ""
            what = f"is at revision {held.revision} and has {count} facts{sealed}"
            yield Difference("conversation, fact_chunk, seal", name, what)
        if flaw:
            yield Difference("fact_chunk", name, flaw)
        elif held.seal and (times_of(np.frombuffer(facts, FACT)) <= held.seal.through_ms).any():
            what = f"has facts that are as old as its seal, through {held.seal.through_ms}"
            yield Difference("fact_chunk, seal", name, what)

    async def _bills(
        self, batch: Sequence[tuple[HeldConversation, PackedFacts]]
    ) -> AsyncIterator[Difference]:
        """What the records of these are, and what they must be."""
        self._note(batch)
        bills = bills_of(batch, self._book)
        found = await self.snapshot.records([it for _, ids in bills for it in ids])
        for (held, packed), (bill, its_ids) in zip(batch, bills, strict=True):
            for difference in self._judge(held, packed, bill, its_ids, found):
                yield difference

    def _judge(
        self,
        held: HeldConversation,
        packed: PackedFacts,
        bill: Bill,
        ids: Sequence[bytes],
        found: Mapping[bytes, Any],
    ) -> Iterator[Difference]:
        name = "|".join(held.names)
        self.compared.facts += packed.revision
        is_by_older = any(it in found and found[it]["algorithm"] < ALGORITHM for it in ids)
        if held.settles_ms != bill.settles_ms and not is_by_older:
            what = f"settles_at_ms is {held.settles_ms} and must be {bill.settles_ms}"
            yield Difference("conversation", name, what)
        if held.record_ids != b"".join(ids):
            yield Difference("conversation", name, "record_ids are not those that its facts yield")
        following = [*bill.blocks[1:], None]
        for block, after, session_id in zip(bill.blocks, following, ids, strict=False):
            row = found.get(session_id)
            times = [time_of(block.started_ms), *([row["started_at"]] if row else ())]
            if not any(map(self.only.includes, times)):
                continue
            self.compared.records += 1
            if row is None:
                wrong = ["is missing: its facts yield it"]
            else:
                is_billed = row["status"] != "void" and row["kind"] == "usage"
                self._billed += is_billed and self.only.includes(row["started_at"])
                is_last = after is None or after.block == 1
                wrong = [
                    *self._wrong(held, packed, block, row),
                    *self._wrong_settling(held, block, row, is_last),
                ]
            for what in wrong:
                yield Difference("session_record", f"{name} {UUID(bytes=session_id)}", what)

    def _wrong(self, held: HeldConversation, packed: PackedFacts, block: Block, row: Any) -> Iterator[str]:
        """What is wrong with a record, in words."""
        if row["status"] == "void":
            yield "is void, and its facts yield it"
            return
        expected = (*content_of(held.names, block), held.shard)
        if tuple(map(row.__getitem__, CONTENT)) != expected:
            what = _differing(row, CONTENT, expected)
            is_ours = row["algorithm"] == ALGORITHM
            yield (
                what if is_ours else f"{what}; it is by algorithm {row['algorithm']}, and this is {ALGORITHM}"
            )
        if not 1 <= row["algorithm"] <= ALGORITHM:
            yield f"algorithm is {row['algorithm']}, and the newest is {ALGORITHM}"
        if row["status"] == "open" and row["corrected_at"]:
            yield "is open and bears corrected_at"
        if wrong := self._wrong_revision(held, packed, block, row["revision"], row["status"] == "open"):
            yield wrong

    def _wrong_settling(self, held: HeldConversation, block: Block, row: Any, is_last: bool) -> Iterator[str]:
        """What is wrong with when a record becomes final: the last one of an open session tells it."""
        if row["status"] == "open" and held.settled:
            yield "is open, and its conversation is marked as settled"
        if row["algorithm"] < ALGORITHM:
            return  # it settles by the rule of its time
        if row["status"] == "open" and self._has_settled(held.shard, block.settles_ms):
            yield "is open and must be final: its session has settled"
        settles_ms, expected = row["session_settles_at_ms"], block.settles_ms if is_last else None
        if settles_ms != expected and (settles_ms is not None or row["status"] == "open"):
            yield f"session_settles_at_ms is {settles_ms} and must be {expected}"

    def _wrong_revision(
        self, held: HeldConversation, packed: PackedFacts, block: Block, revision: int, is_open: bool
    ) -> str | None:
        """Say what is wrong with a revision: how many facts there were when the record last changed."""
        written = [chunk.revision for chunk in held.chunks]
        if not 1 <= revision <= held.revision:
            return f"revision is {revision}, and there are {held.revision} facts"
        place = bisect_left(written, revision)
        if place and written[place] != revision:
            return f"revision is {revision}, and no checkpoint wrote that many facts"
        if not is_open or packed.revision * len(held.record_ids) > MOST_FACTS_BILLED * _ID_BYTES:
            return None  # consumers were told of it with its revision, or there is too much to bill again
        if self._has_older:
            return None  # it may have changed by a newer rule, and not by a fact
        if held.seal and revision < written[0]:
            return None  # its facts were not the first of those that are left

        rules_at = self._rules_of(held.names, held.seal)

        def then(revision: int) -> Block | None:
            name = block.session_started_ms, block.block
            return block_then(packed, rules_at, name, revision - held.sealed_facts)

        if then(revision) != block._replace(settles_ms=0):
            return f"revision is {revision}, and the record has changed since"
        if place and then(written[place - 1]) == then(revision):
            return f"revision is {revision}, and the record has not changed since {written[place - 1]}"
        return None

    async def _surplus(self) -> AsyncIterator[Difference]:
        """Name the records that no facts yield: there are more than there must be."""
        async for rows in self.snapshot.usage_records(self.only):
            names = [(row["account_id"], row["bot_id"], row["subject_id"]) for row in rows]
            keys = [conversation_key(join_key(*its_names)) for its_names in names]
            held = await self.snapshot.record_ids(set(keys))
            for row, its_names, key in zip(rows, names, keys, strict=True):
                session_id = row["session_id"].bytes
                if session_id not in split(held.get(key, b""), _ID_BYTES):
                    what = "is there, and its conversation does not have it"
                    yield Difference("session_record", f"{'|'.join(its_names)} {row['session_id']}", what)

    async def _alerts(self) -> AsyncIterator[Difference]:
        """Alerts against their reports."""
        partitions = self._partitions(Topic.ALERT_DELIVERY)
        async for rows in self.snapshot.alerts(self.only):
            for row in rows:
                self.compared.alerts += 1
                self._further_reports += row["further"]
                names = (row["account_id"], row["bot_id"], row["subject_id"])
                shard = partition_of(join_key(*names), partitions)
                source = SourcePartition(self.topics[Topic.ALERT_DELIVERY], shard)
                self._newest_ms[source] = max(self._newest_ms[source], ms_of(row["started_at"]))
                for what in _wrong_alert(row, names, shard):
                    key = f"{'|'.join(names)} {row['session_id']}"
                    yield Difference("session_record, alert_report", key, what)

    async def _superseded(self) -> AsyncIterator[Difference]:
        """What consumers were told, and then told otherwise, was right by the facts of its time."""
        async for rows in self.snapshot.superseded(self.only):
            self.compared.superseded += len(rows)
            usage = [row for row in rows if row["kind"] == "usage"]
            keys = [conversation_key(join_key(*_names(row))) for row in usage]
            chunks = await self.snapshot.chunks(set(keys))
            seals = await self.snapshot.newest_seals(set(keys))
            for row, key in zip(usage, keys, strict=True):
                if what := self._wrong_then(row, chunks.get(key, ()), seals.get(key)):
                    yield _of_change(row, what)
            alerts = [row for row in rows if row["kind"] != "usage"]
            reports = await self.snapshot.reports([row["session_id"].bytes for row in alerts])
            for row in alerts:
                report = (ms_of(row["started_at"]), row["user_id"], row["channel"])
                if report not in reports.get(row["session_id"].bytes, ()) or row["status"] != "final":
                    yield _of_change(row, "told of an alert what no report of it says")

    def _wrong_then(self, row: Any, chunks: Sequence[Chunk], seal: Seal | None) -> str | None:
        """What is wrong with a change, in words; of a conversation with a seal its facts do not tell."""
        facts, strings = joined(chunks)
        count = len(facts) // FACT_BYTES + (seal.facts if seal else 0)
        is_flawed = bool(facts or not seal) and any(flaws_of([(facts, strings)]))
        if is_flawed or not 1 <= row["revision"] <= count:
            return f"told of revision {row['revision']}, which its conversation never had"
        if row["session_started_at"] is None or row["block"] is None or row["status"] == "open":
            return "told what no usage record is"
        names, started_ms = _names(row), ms_of(row["session_started_at"])
        if usage_session_id(*names, started_ms, row["block"]) != row["session_id"]:
            return "told under the id of another record"
        if row["algorithm"] > ALGORITHM:
            return f"told of algorithm {row['algorithm']}, and the newest is {ALGORITHM}"
        if seal or row["algorithm"] < ALGORITHM:
            return None  # its facts are gone, or it was billed by the rule of its time
        packed = PackedFacts(facts, strings)
        block = block_then(packed, self._rules_of(names), (started_ms, row["block"]), row["revision"])
        if block is None or row["status"] == "void":
            return (
                None if (block is None) == (row["status"] == "void") else f"told that it is {row['status']}"
            )
        expected = content_of(names, block)
        if tuple(map(row.__getitem__, _TOLD)) != expected:
            return f"told that {_differing(row, _TOLD, expected)}"
        return None

    def _totals(self) -> Iterator[Difference]:
        """What was counted as facts is there or sealed, and clocks stand behind none of it."""
        roles = {name: role for role, name in self.topics.items()}
        counts: Counter[tuple[bool, str]] = Counter()
        for part in self.counted:
            role = roles.get(part.source.topic.partition("@")[0])
            for outcome, records in part.outcomes.items() if role else ():
                counts[role is Topic.ALERT_DELIVERY, outcome] += records
        events, copies = counts[False, Outcome.FACT], counts[False, Outcome.CONFLICT]
        # How many of those that are sealed were copies in conflict is not known any more.
        least, most = self._identities + self._sealed_conversations, self._identities + self._sealed_facts
        for table, what, counted, found in (
            ("conversation", "facts", events, range(least, most + 1)),
            ("conversation", "facts and copies in conflict", events + copies, _just(self._revisions)),
            ("session_record", "alerts", counts[True, Outcome.FACT], _just(self.compared.alerts)),
            ("alert_report", "further reports", counts[True, Outcome.CONFLICT], _just(self._further_reports)),
        ):
            if counted not in found:
                there = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
                yield Difference(
                    f"{table}, outcome_count", what, f"{counted} were counted, and {there} are there"
                )
        for part in self.counted:
            newest_ms = self._newest_ms.get(part.source, 0)
            if part.clock_ms is not None and part.clock_ms < newest_ms:
                what = f"clock_ms is {part.clock_ms}, before the newest event it read, {newest_ms}"
                yield Difference("source_partition", _place(part.source), what)

    def _note(self, batch: Sequence[tuple[HeldConversation, PackedFacts]]) -> None:
        """Remember how many events there are, and the newest of each topic."""
        rows = np.frombuffer(b"".join([packed.facts for _, packed in batch]), FACT)
        shards = np.repeat([held.shard for held, _ in batch], [packed.revision for _, packed in batch])
        times_ms, is_handoff = times_of(rows), rows["kind"] > USER_MESSAGE
        for _, packed in batch:
            self._identities += packed.revision if packed.all_win else len(packed.unpacked().winners())
        for role, of_role in ((Topic.CONVERSATION, ~is_handoff), (Topic.AGENT_HANDOFF, is_handoff)):
            for shard in np.unique(shards[of_role]).tolist():
                source = SourcePartition(self.topics[role], shard)
                newest_ms = int(times_ms[of_role & (shards == shard)].max())
                self._newest_ms[source] = max(self._newest_ms[source], newest_ms)

    def _has_settled(self, shard: int, settles_ms: int) -> bool:
        clocks_ms = self._clocks_ms.get(shard, [0])
        return settles_ms < min(clocks_ms) - self.allowed_lateness_ms

    def _rules_at(self, names: Sequence[str], at_ms: int) -> RuleSet:
        return self._book.in_force(names[0], names[1], at_ms)

    def _rules_of(self, names: Sequence[str], seal: Seal | None = None) -> Callable[[int], RuleSet]:
        """The rule set, given the time of the earliest fact that is left."""
        if seal is None:
            return partial(self._rules_at, names)
        return lambda _: self._rules_at(names, seal.begun_ms)

    def _partitions(self, role: Topic) -> int:
        known = self.known.get(self.topics[role])
        return known.partitions if known else 1


def summary_of(compared: Compared, differences: int) -> dict[str, int]:
    """What a run looked at and found."""
    return {**asdict(compared), "differences": differences}


def bills_of(
    batch: Sequence[tuple[HeldConversation, PackedFacts]], book: RuleBook
) -> list[tuple[Bill, list[bytes]]]:
    """The bill of what is left of each conversation, and the ids of its records."""

    def rules_of(place: int, earliest_ms: int) -> RuleSet:
        held = batch[place][0]
        begun_ms = held.seal.begun_ms if held.seal else earliest_ms
        return book.in_force(held.names[0], held.names[1], begun_ms)

    bills = bill_each([packed for _, packed in batch], rules_of)
    ids = iter(
        usage_session_ids(
            (join_key(*held.names), block.session_started_ms, block.block)
            for (held, _), bill in zip(batch, bills, strict=True)
            for block in bill.blocks
        )
    )
    return [(bill, [next(ids) for _ in bill.blocks]) for bill in bills]


def _has_facts(held: HeldConversation) -> bool:
    """Whether it has any, as it must if not all of them are sealed."""
    return bool(held.chunks) or held.seal is None


def _wrong_without_facts(held: HeldConversation) -> Iterator[Difference]:
    """What is wrong with a conversation all of whose facts are sealed: how long it lasted is not known."""
    name = "|".join(held.names)
    if held.seal and held.settles_ms > held.seal.through_ms:
        what = f"settles_at_ms is {held.settles_ms}, and all of it is sealed, through {held.seal.through_ms}"
        yield Difference("conversation, seal", name, what)
    if held.record_ids:
        yield Difference("conversation, seal", name, "has record_ids, and all of it is sealed")


def _just(number: int) -> range:
    return range(number, number + 1)


def _wrong_alert(row: Any, names: Sequence[str], shard: int) -> Iterator[str]:
    account_id, bot_id, delivery_id = names
    if alert_session_id(account_id, bot_id, delivery_id) != row["session_id"]:
        yield "is not the id of its delivery"
    usage_only = (
        "session_started_at",
        "block",
        "bot_ms",
        "agent_ms",
        "user_messages",
        "bot_messages",
        "session_settles_at_ms",
    )
    expected = (row["started_at"], "final", shard, *[None] * len(usage_only))
    columns = ("ended_at", "status", "shard", *usage_only)
    if tuple(map(row.__getitem__, columns)) != expected:
        yield _differing(row, columns, expected)
    if not 1 <= row["revision"] <= row["further"] + 1:
        yield f"revision is {row['revision']}, and it has {row['further'] + 1} reports"
    first = (ms_of(row["started_at"]), row["user_id"], row["channel"])
    if row["further"] and (row["least_ms"], row["least_user_id"], row["least_channel"]) <= first:
        yield "a further report of it is its first"


def content_of(names: Sequence[str], block: Block) -> tuple[Any, ...]:
    """The content of a record but for its shard, in the order of its columns."""
    return (
        *("usage", *names, time_of(block.session_started_ms), block.block),
        *(time_of(block.started_ms), time_of(block.ended_ms), block.bot_ms, block.agent_ms),
        *(block.user_messages, block.bot_messages, block.user_id, block.channel),
    )


def _differing(row: Any, columns: Sequence[str], expected: Sequence[Any]) -> str:
    return ", ".join(
        f"{column} is {row[column]} and must be {value}"
        for column, value in zip(columns, expected, strict=True)
        if row[column] != value
    )


def _of_change(row: Any, what: str) -> Difference:
    key = f"position {row['position']}: {'|'.join(_names(row))} {row['session_id']}"
    return Difference("session_record_change", key, what)


def _names(row: Any) -> tuple[str, str, str]:
    return row["account_id"], row["bot_id"], row["subject_id"]


def joined(chunks: Iterable[Chunk]) -> tuple[bytes, str]:
    """All facts and strings of a conversation."""
    chunks = list(chunks)
    return b"".join(chunk.facts for chunk in chunks), "".join(chunk.strings for chunk in chunks)


def _place(source: SourcePartition) -> str:
    return f"{source.topic} partition {source.partition}"


def time_of(time_ms: int) -> datetime:
    """A time as the ledger gives it."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def ms_of(time: datetime) -> int:
    """A time of the ledger in ms since 1970 UTC."""
    return (time - _EPOCH) // timedelta(milliseconds=1)
