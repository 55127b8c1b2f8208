"""Rows of a checkpoint come out as they went in, however many of them are packed."""

from __future__ import annotations

import pytest

from sinks.ledger import ChunkRow, ConversationRow, RecordRow, Rows
from tests.sinks.builders import alert, chunk, conversation, usage


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 2_500])
def test_rows_are_the_same_each_time_they_are_asked_for(count: int) -> None:
    for row_type, build in ((RecordRow, usage), (ConversationRow, conversation), (ChunkRow, chunk)):
        given = [build(number) for number in range(count)]
        rows = Rows(row_type, given)
        assert list(rows) == given
        assert list(rows) == given
        assert all(type(row) is row_type for row in rows)
        assert len(rows) == count


def test_what_a_row_lacks_it_lacks_after_packing() -> None:
    given = [alert(number) for number in range(1_000)]
    assert list(Rows(RecordRow, given)) == given
