"""The verdict finds every kind of wrong: one row of a right ledger is altered, and it must say so."""

from quarterhour.parts.topics import PARTITIONS
from tests.drills.load import one_round
from tests.drills.verdict import Verdict, judge, read_log
from tests.drills.watch import session
from tests.streams.stage import Stage, event, now_ms

CORRUPTIONS = {
    "a record is missing": "delete from billing.session_record where {one}",
    "a record is doubled": """
        insert into billing.session_record
        select (jsonb_populate_record(r, jsonb_build_object('session_id', gen_random_uuid()))).*
        from billing.session_record r where {one}""",
    "a record bills more": "update billing.session_record set bot_ms = bot_ms + 1 where {one}",
    "a record is void": "update billing.session_record set status = 'void' where {one}",
    "a record changed in silence": "update billing.session_record set revision = revision + 1 where {one}",
    "a final record became open": "update billing.session_record set status = 'open' where {one}",
    "a dead letter is missing": """
        delete from billing.dead_letter where ctid = (select max(ctid) from billing.dead_letter)""",
    "a dead letter has another reason": """
        update billing.dead_letter set reason = 'too_long' where reason = 'not_json'""",
    "an outcome is counted twice": """
        update billing.outcome_count set records = records + 1 where outcome = 'repeat'""",
    "an offset is skipped": """
        update billing.source_partition set next_offset = next_offset + 1 where partition = 1""",
    "a change is missing": "delete from billing.session_record_change where position = 3",
    "a change is doubled": """
        insert into billing.session_record_change
        select (jsonb_populate_record(c, jsonb_build_object('position', c.position + 1000000))).*
        from billing.session_record_change c where position = 3""",
}
ONE = """session_id = (select session_id from billing.session_record
  where kind = 'usage' and status = 'final' order by session_id limit 1)"""


async def test_each_corruption_is_found(stage: Stage, new_database) -> None:
    await stage.publish([*one_round(5_000, 3, now_ms()), b"{"])  # which is no JSON, if nothing else is
    await stage.drain()
    clean = await _judge(stage, stage.dsn)
    assert not clean.wrong, clean.differences
    assert clean.compared > 500
    for name, sql in CORRUPTIONS.items():
        dsn = await new_database(stage.dsn.rpartition("/")[2])
        await _execute(dsn, sql.format(one=ONE))
        verdict = await _judge(stage, dsn)
        assert verdict.wrong, f"not found: {name}"


async def test_a_record_that_the_reader_never_read_is_found(stage: Stage) -> None:
    await stage.publish(one_round(1_000, 4, now_ms()))
    await stage.drain()
    log = await read_log(stage.brokers, list(stage.topics.values()))
    assert len(log) == 1_000
    await stage.publish(one_round(1_000, 5, now_ms()))
    assert (await _judge(stage, stage.dsn)).wrong


async def test_a_record_that_was_void_and_came_back_before_it_was_final_is_not_wrong(stage: Stage) -> None:
    for kind, minutes_ago in (("user", 1), ("user", 5), ("closed", 3)):
        await stage.publish([event(kind, now_ms() - minutes_ago * 60_000)])
        await stage.drain()
    assert [record["status"] for record in await stage.records()] == ["open", "open"]
    assert await stage.query("select from billing.session_record_changes where status = 'void'")
    verdict = await _judge(stage, stage.dsn)
    assert not verdict.wrong, verdict.differences


async def _judge(stage: Stage, dsn: str) -> Verdict:
    log = await read_log(stage.brokers, list(stage.topics.values()))
    return await judge(
        dsn, log, stage.topics, {stage.topics[role]: count for role, count in PARTITIONS.items()}
    )


async def _execute(dsn: str, sql: str) -> None:
    async with session(dsn) as connection:
        status = await connection.execute(sql)
        assert not status.endswith(" 0"), f"nothing altered by {sql}"
