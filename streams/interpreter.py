"""How a worker's Python runs, and what memory it gives back."""

from __future__ import annotations

import ctypes
import gc
import sys

# The C library's; not every one has it.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def tune_interpreter() -> None:
    """Set it for one thread's long work on much that lives long."""
    # The state kept is large and long-lived; walking it again and again costs a third of a worker's speed.
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 50, 1000)
    # Two threads share one core: the consumer can wait that long, and each change of hands costs (about 4 %).
    sys.setswitchinterval(0.05)


def give_back_memory() -> None:
    """Give back what is free between blocks in use: else the C library keeps all that it ever needed."""
    if _trim:
        _trim(0)
