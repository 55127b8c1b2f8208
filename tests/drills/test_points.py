from quarterhour.parts import Parts
from tests.drills.points import BEGIN, COMMIT, COMMITTED, FENCE, PUBLISH, Dialogue, most_telling_first
from tests.drills.trap import points_of_a_checkpoint


async def test_before_its_fence_a_checkpoint_touches_nothing_but_its_temporary_tables(parts: Parts) -> None:
    points = await points_of_a_checkpoint(parts)
    before = points[: points.index(FENCE)]
    assert before[0] == BEGIN
    assert before[1:]
    assert all(" COPY incoming_" in point for point in before[1:])


async def test_a_checkpoint_ends_with_its_changes_and_its_commit(parts: Parts) -> None:
    points = await points_of_a_checkpoint(parts)
    assert points[-3:] == [PUBLISH, COMMIT, COMMITTED]


async def test_every_point_has_its_turn_once(parts: Parts) -> None:
    points = await points_of_a_checkpoint(parts)
    assert len(set(points)) == len(points)
    assert sorted(most_telling_first(points)) == sorted(points)


def test_the_commit_of_a_claim_is_no_point() -> None:
    dialogue = Dialogue()
    assert dialogue.point(_query(b"BEGIN;")) == BEGIN
    assert dialogue.point(_query(b"COMMIT;")) is None


def _query(text: bytes) -> bytes:
    return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"
