"""The bot clock against its definition: t minus all human-agent time before t, millisecond by millisecond."""

from hypothesis import given
from hypothesis import strategies as st

from sessionizer.clock import WALL_CLOCK, BotClock
from sessionizer.spans import merged
from tests.sessionizer.test_properties import examples

END = 30
INTERVALS = st.lists(
    st.tuples(st.integers(0, END), st.integers(0, END)).map(lambda pair: (min(pair), max(pair))), max_size=6
)


def agent_time(intervals) -> set[int]:
    return {time for start, end in intervals for time in range(start, end)}


@examples(300)
@given(INTERVALS)
def test_merged_intervals_are_the_same_time_apart_from_each_other(intervals):
    apart = merged(intervals)
    assert agent_time(apart) == agent_time(intervals)
    assert all(start < end for start, end in apart)
    assert all(one[1] < two[0] for one, two in zip(apart, apart[1:], strict=False))


@examples(300)
@given(INTERVALS)
def test_the_clock_is_its_definition(intervals):
    clock, human = BotClock(merged(intervals)), agent_time(intervals)
    walls = range(-2, 2 * END)
    shown = {wall: wall - sum(time < wall for time in human) for wall in walls}
    for wall in walls:
        assert clock.at(wall) == shown[wall]
        assert clock.stands_still(wall) == (wall in human)
    for bot in range(END // 2):
        instants = [wall for wall in walls if shown[wall] == bot]
        assert clock.earliest_wall_ms(bot) == min(instants)
        assert clock.latest_wall_ms(bot) == max(instants)


def test_without_spans_it_is_the_wall_clock():
    assert (WALL_CLOCK.at(7), WALL_CLOCK.earliest_wall_ms(7), WALL_CLOCK.latest_wall_ms(7)) == (7, 7, 7)
    assert not WALL_CLOCK.stands_still(7)
