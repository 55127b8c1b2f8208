"""`quarterhour worker`: one stream worker."""

import socket
import sys
from typing import TYPE_CHECKING

import click
import mode.loop

from quarterhour.errors import QuarterhourError, WrongSetting
from quarterhour.kafka import security_options
from quarterhour.logs import set_up_logs
from quarterhour.output import emit_summary, format_option
from quarterhour.settings import Settings, load_settings
from sinks.ledger import Refused

if TYPE_CHECKING:
    from streams.starting import Deployment
    from streams.telemetry import Totals


@click.command()
@click.option(
    "--until-drained", is_flag=True, help="End once all published at the start is saved, and settled."
)
@format_option
def command(until_drained: bool, output_format: str) -> None:
    """Run one stream worker.

    It reads the source topics and keeps the ledger in PostgreSQL until it gets SIGTERM. /metrics, /healthz
    and /readyz are served on QUARTERHOUR_WEB_BIND and QUARTERHOUR_WEB_PORT. Exit status beside the usual: 65
    too many dead letters, 70 a bug or a broken chain, 74 Kafka or PostgreSQL unreachable for longer than
    PATIENCE, 75 fenced by another worker; a supervisor should start it again after 70, 74 and 75.

    Example:

    \b
      quarterhour worker --until-drained
    """
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    mode.loop.use("uvloop")  # before Faust is imported

    from streams.engine import OutOfPatience
    from streams.exits import Exit
    from streams.starting import run_worker

    try:
        totals = run_worker(_deployment(settings), until_drained=until_drained)
    except Refused as error:
        raise WrongSetting(str(error), code="refused") from error
    except OutOfPatience as error:
        raise QuarterhourError(
            str(error), code="out_of_patience", exit_status=Exit.OUT_OF_PATIENCE
        ) from error
    if until_drained:
        emit_summary(output_format, _summary(totals))
    sys.stdout.flush()


def _deployment(settings: Settings) -> "Deployment":
    from streams.reading import Contract
    from streams.starting import Deployment

    return Deployment(
        brokers=settings.require_kafka_brokers(),
        kafka_options=security_options(settings),
        postgres_dsn=settings.require_postgres_dsn(),
        topics={name: topic for topic, name in settings.topics.items()},
        rejected_topic=settings.topic_rejected_events,
        group=settings.group,
        instance_id=settings.instance_id,
        session_timeout_ms=settings.session_timeout_ms,
        checkpoint_interval_ms=settings.checkpoint_interval_ms,
        patience_ms=settings.patience_ms,
        allowed_lateness_ms=settings.allowed_lateness_ms,
        seal_after_ms=settings.seal_after_ms,
        contract=Contract(settings.max_ahead_ms, settings.max_age_ms, frozenset(settings.ignored_types)),
        dead_letter_limit_share=settings.dead_letter_limit_share,
        dead_letter_limit_run=settings.dead_letter_limit_run,
        max_state_bytes=settings.max_state_mib << 20,
        web_bind=settings.web_bind,
        web_port=settings.web_port or _free_port(settings.web_bind),
    )


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _summary(totals: "Totals") -> dict[str, object]:
    return {
        "events": sum(totals.outcomes.values()),
        "outcomes": totals.outcomes,
        "dead_letters": totals.dead_letters,
        "records": totals.records,
        "corrections": totals.corrections,
        "checkpoints": totals.checkpoints,
        "claims": totals.claims,
        "seconds": round(max(0.0, totals.saved_at - totals.began_at), 3),
    }
