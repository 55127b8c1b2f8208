"""What became of a record read from Kafka: the one list of outcomes.

Every record read has one outcome and only one, so the outcomes of a range of offsets add up to the number of
records in it. No logic here: who decides an outcome is the sessionizer (or the decoder, for a dead letter).
"""

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of one record (billing-rules.md section 1)."""

    DEAD_LETTER = "dead_letter"
    """It cannot be used; kept with its reason (schemas.reasons)."""
    TEST_TRAFFIC = "test_traffic"
    """A developer's test: set aside before its identity is looked at."""
    UNBILLED = "unbilled"
    """A human agent's message or a failed alert: set aside likewise."""
    FACT = "fact"
    """A new identity."""
    REPEAT = "repeat"
    """A known identity with known content: nothing new."""
    CONFLICT = "conflict"
    """A known identity with new content: a fault of its producer."""
