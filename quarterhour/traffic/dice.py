"""Chance that falls alike on every machine and Python version: only `Random.random` is asked for numbers."""

from collections.abc import Callable, MutableSequence, Sequence
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")


class Dice:
    """Draws from one seeded sequence."""

    __slots__ = ("draw",)

    draw: Callable[[], float]
    """A number from 0 to less than 1."""

    def __init__(self, seed: str) -> None:
        self.draw = Random(seed).random

    def below(self, end: int) -> int:
        """A whole number from 0 to less than `end`."""
        return int(self.draw() * end)

    def between(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`, both included."""
        return least + self.below(most + 1 - least)

    def one_of(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.below(len(choices))]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put the items into any order."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
