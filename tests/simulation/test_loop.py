"""The simulated loop: virtual time, processes that freeze and die, an order that only the seed decides."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.loop import Process, SimulatedLoop, State, Stuck


def new_loop(seed: str = "1") -> SimulatedLoop:
    return SimulatedLoop(seed, most_steps=10_000)


def test_an_hour_takes_no_time_and_is_an_hour():
    loop = new_loop()
    loop.run(asyncio.sleep(3_600))
    assert loop.time() == 3_600


def test_the_order_of_what_could_run_next_is_the_seeds():
    assert len({_order(str(seed)) for seed in range(50)}) > 20
    assert _order("1") == _order("1")


def _order(seed: str) -> tuple[int, ...]:
    seen: list[int] = []

    async def step(number: int) -> None:
        seen.append(number)

    async def main() -> None:
        await asyncio.gather(*(step(number) for number in range(6)))

    new_loop(seed).run(main())
    return tuple(seen)


async def _tick(seen: list[float]) -> None:
    try:
        while True:
            await asyncio.sleep(1)
            seen.append(asyncio.get_running_loop().time())
    finally:
        seen.append(-1.0)


def test_a_frozen_process_does_nothing_and_goes_on_when_it_thaws():
    loop, process, seen = new_loop(), Process("a"), []

    async def main() -> None:
        loop.spawn(process, _tick(seen))
        await asyncio.sleep(2.5)
        process.state = State.FROZEN
        await asyncio.sleep(10)
        assert seen == [1.0, 2.0]
        loop.thaw(process)
        await asyncio.sleep(1.6)
        assert seen == [1.0, 2.0, 12.5, 13.5]

    loop.run(main())


def test_a_dead_process_cleans_nothing_up():
    loop, process, seen = new_loop(), Process("a"), []

    async def main() -> None:
        loop.spawn(process, _tick(seen))
        await asyncio.sleep(1.5)
        process.state = State.DEAD
        await asyncio.sleep(10)
        loop.thaw(process)
        await asyncio.sleep(10)
        assert seen == [1.0]

    loop.run(main())


def test_what_a_process_starts_belongs_to_it():
    loop, process, seen = new_loop(), Process("a"), []

    async def parent() -> None:
        asyncio.get_running_loop().create_task(_tick(seen))

    async def main() -> None:
        loop.spawn(process, parent())
        await asyncio.sleep(1.5)
        process.state = State.DEAD
        await asyncio.sleep(5)
        assert seen == [1.0]

    loop.run(main())


def test_a_world_where_nothing_can_happen_any_more_is_stuck():
    async def wait_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        new_loop().run(wait_for_ever())


def test_a_world_that_never_ends_is_stuck():
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="10001 steps"):
        new_loop().run(spin())
