"""How a worker ends when it must not go on: one clear line, an exit code for its supervisor, at once."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import NoReturn


class Exit(IntEnum):
    """Exit codes of a worker, beside 0 (asked to stop, or drained)."""

    REFUSED = 2
    """Settings or topics that it cannot work with: restarting will not help."""
    DEAD_LETTERS = 65
    """More dead letters than allowed: someone must look."""
    BUG = 70
    """A broken chain or an error nobody expected: restart it."""
    OUT_OF_PATIENCE = 74
    """Kafka or PostgreSQL was unreachable for too long: restart it."""
    FENCED = 75
    """Another worker owns a partition now: restart it."""


def leave(code: Exit, message: str) -> NoReturn:
    """End the process now, from any thread. No clean-up: nothing is saved but by a checkpoint."""
    print(f"quarterhour worker: {message} (exit status {code.value})", file=sys.stderr, flush=True)
    os._exit(code)
