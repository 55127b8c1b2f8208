"""What a worker holds in memory: as much as it may, and the bill is the same."""

from dataclasses import replace

from sinks.postgres import PostgresLedger
from streams.conversations import CONVERSATION_BYTES
from streams.engine import Claim, Engine
from tests.streams.test_engine import NOON_MS, PLAN, SOURCES, Log, compare, read_all, records_of, traffic

STATE_BYTES = 10 * CONVERSATION_BYTES


class CountingLedger(PostgresLedger):
    """A ledger that counts the conversations it was asked for and had."""

    found = 0

    async def look_up_conversations(self, keys):
        stored = await super().look_up_conversations(keys)
        self.found += len(stored)
        return stored


def held_bytes(claim: Claim | None) -> int:
    assert claim is not None
    return sum(shard.held_bytes for shard in claim.conversations.values())


async def run(dsn: str, state_bytes: int) -> tuple[int, int]:
    """Read traffic with many checkpoints: the most held after one, and how many conversations came back."""
    ledger = await CountingLedger.open(dsn, algorithm=1)
    log, engine = Log(), Engine(ledger, replace(PLAN, max_state_bytes=state_bytes))
    await engine.claim(SOURCES)
    lines = list(traffic(4_000, 1, NOON_MS))
    most = 0
    for at in range(0, len(lines), 200):
        log.append(lines[at : at + 200])
        await read_all(engine, log)
        await engine.checkpoint()
        most = max(most, held_bytes(engine.current))
    comparison = compare(await records_of(dsn), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")
    await ledger.close()
    return most, ledger.found


async def test_at_its_limit_idle_conversations_are_left_to_the_ledger_and_billed_the_same(
    new_database,
) -> None:
    most, found = await run(await new_database(), STATE_BYTES)
    assert most <= STATE_BYTES
    assert found > 20
    most, found = await run(await new_database(), PLAN.max_state_bytes)
    assert most > 2 * STATE_BYTES


async def test_at_no_memory_nothing_is_held_between_checkpoints_and_nothing_lost(new_database) -> None:
    dsn = await new_database()
    ledger = await PostgresLedger.open(dsn, algorithm=1)
    log, engine = Log(), Engine(ledger, replace(PLAN, max_state_bytes=1))
    await engine.claim(SOURCES)
    for seed in range(3):
        log.append(traffic(200, seed, NOON_MS))
        await read_all(engine, log)
        await engine.checkpoint()
        assert held_bytes(engine.current) == 0
    comparison = compare(await records_of(dsn), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")
    await ledger.close()
