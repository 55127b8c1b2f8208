"""What the shared fixtures promise."""

import asyncpg

from quarterhour.parts.topics import PARTITIONS, end_offsets


async def test_a_test_gets_a_database_with_the_schema_and_no_rows(database):
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("select count(*) from billing.session_record") == 0
    finally:
        await connection.close()


async def test_two_databases_of_one_test_are_apart(new_database):
    assert await new_database() != await new_database()


async def test_an_empty_database_has_no_schema(empty_database):
    connection = await asyncpg.connect(empty_database)
    try:
        assert await connection.fetchval("select to_regnamespace('billing')") is None
    finally:
        await connection.close()


async def test_a_test_gets_fresh_topics_with_the_default_partitions(kafka_brokers, topics):
    ends = await end_offsets(kafka_brokers, topics.values())
    partitions = {role: sum(name == topic for topic, _ in ends) for role, name in topics.items()}
    assert partitions == PARTITIONS
    assert set(ends.values()) == {0}
