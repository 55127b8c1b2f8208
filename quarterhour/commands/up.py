"""`quarterhour up`: start the local parts, and make them ready for events."""

from dataclasses import asdict

import click
from aiokafka.errors import KafkaError

from quarterhour.output import emit, format_option
from quarterhour.parts import PartFailed, Parts
from quarterhour.parts.topics import create_topics, run, topics_to_create
from quarterhour.settings import load_settings


@click.command()
@format_option
def command(output_format: str) -> None:
    """Start the local parts (Kafka and PostgreSQL).

    They need neither Docker nor Java nor root, and run on until `quarterhour down`. The first start downloads
    Kafka (44 MB) to the user's cache folder; later ones take seconds and need no network. Ports are free
    ones, chosen once for each home (QUARTERHOUR_HOME), so that two homes never meet. The database and the
    four topics are created. Run it as often as you like: what runs already is left alone.

    Example:

    \b
      QUARTERHOUR_HOME=/tmp/try quarterhour up
    """
    settings = load_settings()
    endpoints = Parts(settings.home).up(lambda message: click.echo(message, err=True))
    names = topics_to_create(settings.topics, settings.topic_rejected_events)
    try:
        created = run(create_topics(endpoints.kafka_brokers, names))
    except (KafkaError, TimeoutError) as error:
        raise PartFailed(f"Kafka does not create the topics {', '.join(names)}: {error!r}") from error
    if created:
        click.echo(f"created the topics {', '.join(created)}", err=True)
    emit(
        output_format, [{"home": str(settings.home), **asdict(endpoints)}], ["kafka_brokers", "postgres_dsn"]
    )
