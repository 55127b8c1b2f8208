"""Adjustments: from what is owed now for an invoiced period, and what was billed for it, to the difference.

Net of tax, by bot and tax rate: the invoice that carries an adjustment taxes it. What was billed is the sum
of the invoice and of its adjustments so far, so comparing again after one was made finds nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TypeVar

from invoicing.model import Line

_Record = TypeVar("_Record")


def adjustments(
    owed: Sequence[Line], billed: Mapping[tuple[str, Decimal], int]
) -> list[tuple[str, Decimal, int]]:
    """Give bot, tax rate and amount of each difference, in that order; for a bot that vanished, all of it.

    Lines that are no bot's (tax, credits) are not compared.
    """
    difference = Counter({key: -amount_minor for key, amount_minor in billed.items()})
    for line in owed:
        if line.bot_id is not None:
            difference[line.bot_id, line.tax_percent] += line.amount_minor
    return [(*key, amount_minor) for key, amount_minor in sorted(difference.items()) if amount_minor]


def moved(now: AbstractSet[_Record], accounted: AbstractSet[_Record]) -> tuple[set[_Record], set[_Record]]:
    """Tell which records, as pairs of id and start, came and which went; one whose start moved did both."""
    return set(now - accounted), set(accounted - now)
