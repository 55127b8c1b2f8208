"""A year of an account, played on a real store, is invoiced as the slow reference says: no difference."""

from __future__ import annotations

import pytest

from invoicing.store.connecting import Store
from tests.invoicing.playing import differences, issued, look_at, play
from tests.invoicing.scenarios import scenario
from tests.invoicing.stream import Stream
from tests.invoicing.world import GRACE_MS


@pytest.mark.parametrize("seed", range(24))
async def test_a_year_is_invoiced_as_the_reference_says(store: Store, stream: Stream, seed: int) -> None:
    made_up = scenario(seed)
    expected, times = look_at(made_up, GRACE_MS)
    await play(made_up, store, stream, GRACE_MS, times)
    found = await issued(stream.connection)
    assert differences(expected, found) == []
