"""The Faust app of a worker, and its process: every setting of Faust's that matters here, and why.

Faust holds the group membership and delivers batches; what is done with them is the worker's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import faust

from streams.health import METADATA_MAX_AGE_SECONDS
from streams.transport import BatchTransport, Owner
from streams.watchdog import limit_stop

BATCHES_QUEUED = 16
# A spare worker fetches nothing for as long as it has no partition, and must stay in the group all the same.
MAX_POLL_INTERVAL_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Membership:
    """How a worker joins its group and where it serves its pages."""

    group: str
    brokers: str
    credentials: Any
    instance_id: str | None
    session_timeout_ms: int
    checkpoint_interval_ms: int
    web_bind: str
    web_port: int


class AppOwner(Owner, Protocol):
    """What an app asks of its worker."""

    def end_looks(self) -> None:
        """Judge health no more: a worker that is stopping reads nothing and claims nothing."""
        ...

    def end_checkpoints(self) -> None:
        """Save no more: the last checkpoint was that of the hand-over."""
        ...


class StreamApp(faust.App):
    """Faust's app, with a limit on how long it may take to stop."""

    owner: AppOwner

    async def on_stop(self) -> None:
        """Begin to stop."""
        limit_stop()
        self.owner.end_looks()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """End what no longer makes sense once the consumer has stopped."""
        await super().on_shutdown()
        self.owner.end_checkpoints()


class Process(faust.Worker):
    """Faust's process, without the second of sleep at its end."""

    async def _sentinel_task(self) -> None:
        pass


def new_app(membership: Membership, patience_ms: int, folder: str, owner: AppOwner) -> faust.App:
    """The Faust app of a worker, without agent and pages."""
    session_seconds = membership.session_timeout_ms / 1000
    # Faust gives a claim no longer than its request timeout, and a claim may have to be patient.
    request_seconds = max(session_seconds, patience_ms / 1000) + 30
    app = StreamApp(
        membership.group,
        broker=";".join(f"kafka://{broker}" for broker in membership.brokers.split(",")),
        broker_credentials=membership.credentials,
        broker_session_timeout=session_seconds,
        broker_heartbeat_interval=min(1.0, session_seconds / 3),
        broker_rebalance_timeout=30.0,
        broker_request_timeout=request_seconds,
        broker_max_poll_interval=MAX_POLL_INTERVAL_SECONDS,
        broker_commit_interval=2.0,
        consumer_group_instance_id=membership.instance_id,
        # Faust refuses partitions that were given to another address than its own, and stands still: a
        # static member may be at another one after a restart. Nobody uses it: it is for Faust's tables.
        canonical_url="http://worker",
        consumer_metadata_max_age_ms=int(METADATA_MAX_AGE_SECONDS * 1000),
        stream_buffer_maxsize=BATCHES_QUEUED,
        table_standby_replicas=1,
        topic_disable_leader=True,
        topic_allow_declare=False,
        datadir=folder,
        web_bind=membership.web_bind,
        web_host=membership.web_bind,
        web_port=membership.web_port,
    )
    app.owner = owner
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    return app
