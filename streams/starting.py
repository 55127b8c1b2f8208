"""Starting a worker: check what it stands on, with patience, then run it; refuse before anything is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import faust

from schemas.topics import Topic
from sessionizer.bill import ALGORITHM
from sessionizer.rules import RuleBook, RuleSet
from sinks.ledger import Refused, SourceTopic, Unreachable
from sinks.migrate import require_current
from sinks.postgres import PostgresLedger
from streams import sources
from streams.app import Membership
from streams.engine import RETRY_SECONDS, OutOfPatience, Plan
from streams.reading import Contract
from streams.rejecting import RejectedEvents
from streams.telemetry import Totals
from streams.worker import DrainTarget, StreamWorker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deployment:
    """The settings that a worker needs; times in ms. `kafka_options` are aiokafka's on TLS and SASL."""

    brokers: str
    kafka_options: Mapping[str, Any]
    postgres_dsn: str
    topics: Mapping[str, Topic]
    rejected_topic: str
    group: str
    instance_id: str | None
    session_timeout_ms: int
    checkpoint_interval_ms: int
    patience_ms: int
    allowed_lateness_ms: int
    seal_after_ms: int
    contract: Contract
    dead_letter_limit_share: float
    dead_letter_limit_run: int
    max_state_bytes: int
    web_bind: str
    web_port: int


def run_worker(deployment: Deployment, *, until_drained: bool) -> Totals:
    """Run one worker in this process until it is asked to stop or, if so wanted, is drained.

    Raises `Refused` and `OutOfPatience` before anything is read; errors after that end the process
    (streams.exits).
    """
    loop = asyncio.get_event_loop_policy().new_event_loop()
    asyncio.set_event_loop(loop)
    worker = loop.run_until_complete(_prepare(deployment, until_drained))
    worker.run()
    return worker.telemetry.totals


async def _prepare(deployment: Deployment, until_drained: bool) -> StreamWorker:
    patience = _Patience(deployment.patience_ms)
    connection = {"bootstrap_servers": deployment.brokers, **deployment.kafka_options}
    ledger = await patience.with_(lambda: _open_ledger(deployment.postgres_dsn))
    try:
        found = await patience.with_(lambda: sources.inspect(connection, deployment.topics))
        sources.check_unchanged(found, await patience.with_(lambda: ledger.remember_topics(found)))
    except sources.WrongTopics as error:
        raise Refused(str(error)) from error
    rules = RuleBook(RuleSet(**row) for row in await patience.with_(ledger.rule_sets))
    drain_to: DrainTarget | None = None
    if until_drained:
        at_ms = time.time_ns() // 1_000_000
        drain_to = DrainTarget(at_ms, await patience.with_(lambda: sources.end_offsets(connection, found)))
    rejected = RejectedEvents(ledger, connection, deployment.rejected_topic)
    return StreamWorker(
        ledger, _plan(deployment, found, rules), _membership(deployment), found, drain_to, rejected
    )


async def _open_ledger(dsn: str) -> PostgresLedger:
    await require_current(dsn)
    return await PostgresLedger.open(dsn, algorithm=ALGORITHM)


def _plan(deployment: Deployment, found: Mapping[str, SourceTopic], rules: RuleBook) -> Plan:
    return Plan(
        topics=deployment.topics,
        partitions={name: topic.partitions for name, topic in found.items()},
        rules=rules,
        contract=deployment.contract,
        allowed_lateness_ms=deployment.allowed_lateness_ms,
        seal_after_ms=deployment.seal_after_ms,
        patience_ms=deployment.patience_ms,
        dead_letter_limit_share=deployment.dead_letter_limit_share,
        dead_letter_limit_run=deployment.dead_letter_limit_run,
        max_state_bytes=deployment.max_state_bytes,
    )


def _membership(deployment: Deployment) -> Membership:
    return Membership(
        group=deployment.group,
        brokers=deployment.brokers,
        credentials=_credentials(deployment.kafka_options),
        instance_id=deployment.instance_id,
        session_timeout_ms=deployment.session_timeout_ms,
        checkpoint_interval_ms=deployment.checkpoint_interval_ms,
        web_bind=deployment.web_bind,
        web_port=deployment.web_port,
    )


def _credentials(options: Mapping[str, Any]) -> Any:
    """The same TLS and SASL in Faust's words."""
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None


class _Patience:
    """One span of patience for all that a start waits for."""

    def __init__(self, patience_ms: int) -> None:
        self._deadline = time.monotonic() + patience_ms / 1000

    async def with_(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except (Unreachable, sources.KafkaUnreachable) as error:
                if time.monotonic() >= self._deadline:
                    raise OutOfPatience(str(error)) from error
                await asyncio.sleep(RETRY_SECONDS)
