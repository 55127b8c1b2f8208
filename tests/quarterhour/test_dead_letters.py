"""`quarterhour dead-letters`: listing, showing, mending and replaying, discarding and accepting them."""

import base64
import json
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.topics import Topic, partition_of
from tests.drills.bad_deploy import WHY, play
from tests.streams.stage import Json, Stage, event, now_ms, staged

MINUTE_MS = 60_000
DAY_MS = 86_400_000
ONE_PARTITION = dict.fromkeys(Topic, 1)


async def dead_letters(stage: Stage, *arguments: str, **settings: str) -> tuple[int | None, list[Json], str]:
    """Run `quarterhour dead-letters`: status, rows and messages."""
    return await stage.answer("dead-letters", *arguments, **settings)


async def rows_of(stage: Stage, *arguments: str, **settings: str) -> list[Json]:
    status, rows, messages = await dead_letters(stage, *arguments, **settings)
    assert status == 0, messages
    return rows


async def states(stage: Stage) -> dict[str, str]:
    return {row["id"]: row["state"] for row in await rows_of(stage, "list")}


def changed(line: bytes, **data: Any) -> bytes:
    """An event with other fields in its data; None takes one away."""
    document = json.loads(line)
    document["data"] |= data
    document["data"] = {name: value for name, value in document["data"].items() if value is not None}
    return json.dumps(document).encode()


def message(conversation: str = "c-1", **data: Any) -> bytes:
    return changed(event("user", now_ms() - MINUTE_MS, conversation), **data)


async def send(stage: Stage, topic: Topic, value: bytes | None, key: bytes | None, partition: int) -> None:
    """Produce one record as it is."""
    producer = AIOKafkaProducer(bootstrap_servers=stage.brokers)
    await producer.start()
    try:
        await producer.send_and_wait(stage.topics[topic], value, key=key, partition=partition)
    finally:
        await producer.stop()


async def records_of(stage: Stage, topic: Topic, partition: int) -> list[Any]:
    """All that Kafka holds of a partition."""
    place = TopicPartition(stage.topics[topic], partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=stage.brokers, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        consumer.seek(place, 0)
        found: list[Any] = []
        while await consumer.position(place) < end:
            found += (await consumer.getmany(place, timeout_ms=1_000)).get(place, [])
        return found
    finally:
        await consumer.stop()


async def test_they_are_listed_and_counted_by_reason_topic_account_and_time(stage: Stage) -> None:
    alert = changed(event("delivered", now_ms(), "d-1"), user_id="")
    await stage.publish([message(channel=None), message(channel=None, account_id="other"), alert, b"{"])
    await stage.drain()
    everything = await rows_of(stage, "list")
    assert sorted(row["reason"] for row in everything) == ["empty_field", *["missing_field"] * 2, "not_json"]
    assert {row["state"] for row in everything} == {"open"}
    conversation, later = stage.topics[Topic.CONVERSATION], "2999-01-01T00:00:00Z"
    for filters, count in (
        (["--reason", "missing_field"], 2),
        (["--code", "missing_field", "--account", "other"], 1),
        (["--account", "acme"], 2),
        (["--topic", conversation], 3),
        (["--from", later], 0),
        (["--to", later], 4),
        (["--to", everything[0]["recorded_at"]], 0),
        (["--state", "discarded"], 0),
    ):
        assert len(await rows_of(stage, "list", *filters)) == count, filters
    counts = {row["reason"]: row for row in await rows_of(stage, "list", "--count")}
    assert {reason: row["dead_letters"] for reason, row in counts.items()} == {
        "missing_field": 2,
        "empty_field": 1,
        "not_json": 1,
    }
    assert counts["missing_field"]["what_to_do"] == "send the field"
    assert counts["missing_field"]["accounts"] == 2


async def test_one_is_shown_with_its_bytes_what_can_be_read_of_them_and_what_is_wrong(stage: Stage) -> None:
    cut = message(user_id="u\u202e-9")[:-8]
    await send(stage, Topic.CONVERSATION, message(channel=7), b"acme|sales|c-1", 0)
    await send(stage, Topic.CONVERSATION, b"\x1b[2J\xff" + cut, b"acme|sales|c-1", 0)
    await send(stage, Topic.CONVERSATION, cut, b"key", 0)
    await stage.drain()
    topic = stage.topics[Topic.CONVERSATION]
    (wrong,), (odd,), (torn,) = [await rows_of(stage, "show", f"{topic}/0/{offset}") for offset in range(3)]
    assert (wrong["reason"], wrong["field"], wrong["found"]) == ("wrong_type", "data.channel", 7)
    assert wrong["what_to_do"].startswith("send the field with the type of the contract")
    assert (wrong["state"], wrong["history"], wrong["account_id"]) == ("open", [], "acme")
    assert (odd["reason"], odd["document"], odd["account_id"]) == ("not_unicode", None, "acme")
    assert odd["value"].startswith("\\x1b[2J\\xff{")
    assert base64.b64decode(odd["value_base64"]) == b"\x1b[2J\xff" + cut
    assert (torn["reason"], torn["account_id"]) == ("not_json", "acme")
    assert torn["document"]["data"]["bot_id"] == "sales"
    status, rows, messages = await dead_letters(stage, "show", f"{topic}/0/99")
    assert (status, rows) == (1, []) and "there is no dead letter" in messages


async def test_mended_and_replayed_ones_are_billed_once_and_the_audit_says_who_did_it(stage: Stage) -> None:
    bad = [message(f"c-{n}", channel=None) for n in range(5)]
    await stage.publish([message("c-9"), *bad])
    await stage.drain()
    chosen = ("replay", "--reason", "missing_field", "--set", 'data.channel="web"')
    status, planned, messages = await dead_letters(stage, *chosen)
    assert status == 0 and "nothing was changed: add --confirm" in messages
    assert all(row["act"] == "replay" and row["sent_as"] is None for row in planned)
    assert set((await states(stage)).values()) == {"open"}
    assert await stage.query("select 1 from billing.dead_letter_act") == []
    status, _, messages = await dead_letters(stage, *chosen, "--confirm")
    assert status == 2 and "--confirm needs the reason why" in messages

    done = await rows_of(stage, *chosen, "--why", "release 4.2", "--actor", "ada", "--confirm")
    assert set((await states(stage)).values()) == {"replayed"}
    assert await rows_of(stage, *chosen) == [], "only open ones match"
    again = await rows_of(stage, "replay", done[0]["id"], *chosen[3:], "--why", "twice", "--confirm")
    await stage.drain()
    assert set((await states(stage)).values()) == {"resolved"}
    stage.published = [b"", *(changed(line, channel="web") for line in bad)]
    stage.published[0] = (await records_of(stage, Topic.CONVERSATION, _partition("c-9")))[0].value
    assert await stage.outcomes() == {"dead_letter": 5, "fact": 6, "repeat": 1}
    records, _ = stage.expected()
    assert [row["session_id"] for row in await stage.records()] == [row["session_id"] for row in records]

    (shown,) = await rows_of(stage, "show", done[0]["id"])
    assert [(act["act"], act["actor"] == "ada", act["why"]) for act in shown["history"]] == [
        ("replay", True, "release 4.2"),
        ("sent", True, "release 4.2"),
        ("replay", False, "twice"),
        ("sent", False, "twice"),
    ]
    assert all(act["change"] == {"data.channel": "web"} for act in shown["history"])
    audit = await rows_of(stage, "audit")
    assert [(row["act"], row["acts"], row["why"]) for row in audit] == [
        ("replay", 5, "release 4.2"),
        ("sent", 5, "release 4.2"),
        ("replay", 1, "twice"),
        ("sent", 1, "twice"),
    ]
    assert [act["sent_as"] for act in shown["history"]][1::2] == [done[0]["sent_as"], again[0]["sent_as"]]
    topic, partition, offset = done[0]["sent_as"].split("/")
    sent = (await records_of(stage, Topic.CONVERSATION, int(partition)))[int(offset)]
    assert topic == stage.topics[Topic.CONVERSATION]
    assert dict(sent.headers) == {"quarterhour-dead-letter": done[0]["id"].encode()}
    assert sent.key.decode() == done[0]["key"] and partition_of(sent.key, 8) == int(partition)


async def test_one_on_a_wrong_place_is_replayed_to_the_right_one(stage: Stage) -> None:
    wrong_partition = (_partition("c-1") + 1) % 8
    handoff = event("started", now_ms() - MINUTE_MS, "c-1")
    await send(stage, Topic.CONVERSATION, message(), b"acme|sales|c-1", wrong_partition)
    await send(stage, Topic.CONVERSATION, message(), None, _partition("c-1"))
    await send(stage, Topic.CONVERSATION, handoff, b"acme|sales|c-1", _partition("c-1"))
    await stage.drain()
    done = await rows_of(stage, "replay", "--account", "acme", "--why", "misplaced", "--confirm")
    assert {row["reason"]: row["topic"] for row in done} == {
        "wrong_partition": stage.topics[Topic.CONVERSATION],
        "wrong_key": stage.topics[Topic.CONVERSATION],
        "wrong_topic": stage.topics[Topic.AGENT_HANDOFF],
    }
    assert {row["partition"] for row in done} == {_partition("c-1")}
    await stage.drain()
    assert set((await states(stage)).values()) == {"resolved"}
    assert await stage.outcomes() == {"dead_letter": 3, "fact": 3}


async def test_a_replay_that_fails_again_links_to_its_first(stage: Stage) -> None:
    await stage.publish([event("user", now_ms() - 30 * DAY_MS)])
    await stage.drain(max_age="20d")
    (first,) = await rows_of(stage, "list")
    for time in range(2):
        (open_one,) = await rows_of(stage, "list", "--state", "open")
        await rows_of(stage, "replay", open_one["id"], "--why", f"try {time}", "--confirm")
        await stage.drain(max_age="20d")
    letters = await rows_of(stage, "list")
    assert [row["state"] for row in letters] == ["replayed", "replayed", "open"]
    assert [row["replay_of"] for row in letters] == [None, first["id"], first["id"]]
    assert [row["again"] for row in letters] == [letters[1]["id"], letters[2]["id"], None]
    (shown,) = await rows_of(stage, "show", first["id"])
    assert [(act["id"], act["why"]) for act in shown["history"][::2]] == [
        (first["id"], "try 0"),
        (letters[1]["id"], "try 1"),
    ]


async def test_what_is_no_event_even_when_mended_is_not_sent(stage: Stage) -> None:
    await stage.publish([message("c-1", channel=None), message("c-2", channel=None, user_id=7), b"{"])
    await stage.drain()
    status, rows, messages = await dead_letters(
        stage, "replay", "--account", "acme", "--set", 'data.channel="web"', "--why", "x", "--confirm"
    )
    assert status == 1 and "1 dead letters were left alone" in messages
    assert sorted(row["still"] or "" for row in rows) == ["", "wrong_type: data.user_id: it is a number"]
    assert sorted((await states(stage)).values()) == ["open", "open", "replayed"]
    status, rows, _ = await dead_letters(stage, "replay", "--reason", "not_json", "--set", "data.channel=1")
    assert status == 1 and rows[0]["still"].startswith("not_json")


async def test_discarded_ones_are_left_alone_and_a_resolved_one_is_not_discarded(stage: Stage) -> None:
    await stage.publish([b"{", b"[", message(channel=None)])
    await stage.drain()
    await rows_of(stage, "discard", "--code", "not_json")
    assert set((await states(stage)).values()) == {"open"}
    await rows_of(stage, "discard", "--code", "not_json", "--reason", "a load test", "--confirm")
    found = await rows_of(stage, "list", "--state", "discarded")
    assert {row["reason"] for row in found} == {"not_json"}
    (shown,) = await rows_of(stage, "show", found[0]["id"])
    assert [(act["act"], act["why"]) for act in shown["history"]] == [("discard", "a load test")]
    (letter,) = await rows_of(stage, "list", "--state", "open")
    await rows_of(stage, "discard", letter["id"], "--reason", "by mistake", "--confirm")
    assert (await states(stage))[letter["id"]] == "discarded"
    await rows_of(stage, "replay", letter["id"], "--set", 'data.channel="web"', "--why", "y", "--confirm")
    await stage.drain()
    status, _, messages = await dead_letters(stage, "discard", letter["id"], "--reason", "z", "--confirm")
    assert status == 1 and "left alone" in messages
    assert (await states(stage))[letter["id"]] == "resolved"


async def test_wrong_usage_is_told(stage: Stage) -> None:
    await stage.drain()
    for arguments, told in (
        (["replay"], "name dead letters by their IDs, or give at least one filter"),
        (["replay", "a/1/2", "--reason", "not_json"], "not both"),
        (["replay", "a/1"], "is not TOPIC/PARTITION/OFFSET"),
        (
            ["replay", "a/1/2", "--set", "data.channel=web"],
            "a text needs double quotes: 'data.channel=\"web\"'",
        ),
        (["replay", "a/1/2", "--set", "data..channel=1"], "is not path=value"),
        (["discard", "--reason", "not_json"], "filter with --code not_json"),
        (["discard", "a/1/2", "--reason", "x"], "there is no dead letter a/1/2"),
        (["accept", "--topic", "a", "--until", "7"], "an offset is of one --partition"),
        (["accept", "--topic", "a", "--until", "now"], "a is no source topic"),
    ):
        status, _, messages = await dead_letters(stage, *arguments)
        assert status == 2 and told in messages, (arguments, messages)


async def test_the_limit_is_kept_over_restarts_until_an_operator_accepts(stage: Stage) -> None:
    topic = stage.topics[Topic.CONVERSATION]
    await stage.publish([b"bad"] * 15)
    await stage.drain(dead_letter_limit_run="20")
    await stage.publish([b"bad"] * 10)
    for _ in range(2):
        worker = stage.start("--until-drained", dead_letter_limit_run="20")
        assert await worker.ended() == 65
        assert "20 dead letters in a row (DEAD_LETTER_LIMIT_RUN=20), the last at offset 19" in worker.log
        assert f"quarterhour dead-letters accept --topic {topic} --until now" in worker.log
    assert len(await states(stage)) == 15
    accept = ("accept", "--topic", topic, "--partition", "0", "--why", "release 4.2")
    assert (await dead_letters(stage, *accept, "--until", "26"))[0] == 2, "beyond what is in Kafka"
    assert await rows_of(stage, *accept, "--until", "now") == [{"topic": topic, "partition": 0, "until": 25}]
    assert await stage.start("--until-drained", dead_letter_limit_run="20").ended() == 65
    await rows_of(stage, *accept, "--until", "now", "--confirm")
    await stage.drain(dead_letter_limit_run="20")
    assert len(await states(stage)) == 25
    await stage.publish([b"bad"] * 20)
    assert await stage.start("--until-drained", dead_letter_limit_run="20").ended() == 65


async def test_a_bad_deploy_stops_the_worker_and_once_mended_the_bill_is_right(
    kafka_brokers: str, database: str, new_topics: Any, tmp_path: Any
) -> None:
    """With the limits as shipped: from some moment on a fifth of the records lacks a field."""
    async with staged(kafka_brokers, database, await new_topics(ONE_PARTITION), tmp_path) as stage:
        report = await play(stage, 40_000, seed=7)
    assert "records are dead letters (DEAD_LETTER_LIMIT_SHARE=0.1)" in report.stopped
    assert report.sent == report.broken == 4_000
    assert report.states == {"resolved": 4_000}
    assert report.comparison.equal, report.comparison.report("ledger", "reference of the mended events")
    assert report.outcomes_equal
    assert report.acts == [
        *[("accept", "ada", WHY, 1)] * 3,
        ("replay", "ada", WHY, 4_000),
        ("sent", "ada", WHY, 4_000),
    ]


def _partition(conversation: str) -> int:
    return partition_of(f"acme|sales|{conversation}".encode(), 8)
