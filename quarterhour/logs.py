"""Logs of every command: structured lines on standard error, the standard library's loggers included.

With the broker down aiokafka logs some 130 errors a second; `RateLimit` lets one line of each kind through
in ten seconds. Nothing here may write to standard output.
"""

import logging
import sys
import time
from collections.abc import Callable

import structlog
from structlog.typing import Processor

LIMITED = "aiokafka"
INTERVAL_SECONDS = 10.0
CHATTY = ("faust", "mode", "aiokafka.consumer.group_coordinator")
"""Libraries that log every step of a start and a stop: below warnings they speak at level debug only."""


class RateLimit(logging.Filter):
    """Lets one line of each kind through per interval, for one family of loggers, and counts the rest.

    The kind is the logger and the place in the code that logs the line, so that a message with changing parts
    is one kind, and little is remembered. The count is told by the next line of that kind.
    """

    def __init__(
        self, family: str, interval_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(family)
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._passed_at: dict[tuple[str, int], float] = {}
        self._suppressed: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if not super().filter(record):  # of another family
            return True
        kind, now = (record.name, record.lineno), self._clock()
        if now - self._passed_at.get(kind, -self._interval_seconds) < self._interval_seconds:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return False
        self._passed_at[kind] = now
        suppressed = self._suppressed.pop(kind, 0)
        if suppressed:
            record.msg, record.args = f"{record.getMessage()} (and {suppressed} more like it, not shown)", ()
        return True


def set_up_logs(level: str, form: str) -> None:
    """Send all logs to standard error; `form` is auto (console on a terminal, else json), console or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form))
    handler.addFilter(RateLimit(LIMITED, INTERVAL_SECONDS))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for family in CHATTY:
        logging.getLogger(family).setLevel("DEBUG" if level == "debug" else "WARNING")
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_common(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _common() -> list[Processor]:
    """What every line gets, whether it was logged through structlog or the standard library."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(form: str) -> logging.Formatter:
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    last: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_common(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
