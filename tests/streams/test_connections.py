"""aiokafka's connections on uvloop's transports."""

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from streams.connections import Connection


async def send_after_a_reset(kind: type[AIOKafkaConnection]) -> None:
    """Send on a connection whose transport is closed, before aiokafka has heard of it."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    connection = kind(host, port)
    connection._versions = {MetadataRequest.API_KEY: (0, 1)}
    connection._reader, connection._writer = await asyncio.open_connection(host, port)
    connection._read_task = asyncio.create_task(asyncio.Event().wait())
    connection._writer.transport.abort()
    await connection._writer.wait_closed()
    try:
        await asyncio.wait_for(connection.send(MetadataRequest([])), 5)
    finally:
        connection.close()
        server.close()


@pytest.mark.parametrize(
    ("kind", "error"), [(Connection, KafkaConnectionError), (AIOKafkaConnection, RuntimeError)]
)
def test_a_closed_transport_is_an_error_of_kafka_and_was_none(kind: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        uvloop.run(send_after_a_reset(kind))
