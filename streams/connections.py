"""aiokafka's connections, made to tell in aiokafka's words when uvloop has closed one under them.

Between a reset and the moment when aiokafka hears of it, uvloop refuses to write with a RuntimeError, where
asyncio's own loop refuses nothing. aiokafka waits for neither: the fetcher and the group's routines would end
for good, and a worker with them.
"""

from __future__ import annotations

from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """A connection on which a failure to write is always an error of Kafka."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; raises KafkaConnectionError where the transport has been closed."""
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def tell_of_closed_transports() -> None:
    """Have every aiokafka client of this process do so from now on."""
    conn.AIOKafkaConnection = Connection
