"""Keys and partitions agree with the Java client."""

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import decode
from schemas.events import MODELS, type_of
from schemas.topics import TOPIC_OF_TYPE, Topic, key_of, murmur2, partition_of, partitions_of
from tests.schemas.examples import DELIVERED, FAILED, MESSAGE, STARTED, changed

# From UtilsTest.testMurmur2 of Apache Kafka, as Java's signed numbers.
KAFKAS_OWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("data", KAFKAS_OWN)
def test_kafkas_own_examples(data: bytes) -> None:
    assert murmur2(data) == KAFKAS_OWN[data] % 2**32


@given(st.binary(max_size=100))
def test_any_bytes_hash_as_in_another_client(data: bytes) -> None:
    assert murmur2(data) == murmur2_of_aiokafka(data) % 2**32


@given(st.lists(st.binary(max_size=9) | st.binary(max_size=80), max_size=60), st.integers(1, 1_000))
def test_many_keys_have_the_partitions_that_each_has_alone(keys: list[bytes], partitions: int) -> None:
    expected = [partition_of(key, partitions) for key in keys]
    assert partitions_of(keys, partitions) == expected
    assert partitions_of(keys * 32, partitions) == expected * 32


def test_a_partition_is_the_hash_less_its_sign_bit_modulo_their_number() -> None:
    assert murmur2(b"21") >= 2**31
    assert partition_of(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7 != -973932308 % 2**32 % 7
    assert {partition_of(str(number).encode(), 4) for number in range(100)} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (MESSAGE, "acme|sales|c-1"),
        (STARTED, "acme|sales|c-1"),
        (DELIVERED, "acme|sales|d-1"),
        (FAILED, "acme|sales|d-1"),
    ],
)
def test_a_key_joins_account_bot_and_conversation_or_delivery(kind: str, key: str) -> None:
    event, _ = decode(changed(kind, data__handoff_id="h-1"), TOPIC_OF_TYPE[kind])
    assert key_of(event) == key.encode()


def test_a_key_is_utf_8() -> None:
    event, _ = decode(changed(data__account_id="ä\N{GRINNING FACE}"), Topic.CONVERSATION)
    assert key_of(event) == "ä\N{GRINNING FACE}|sales|c-1".encode()


def test_every_type_has_its_topic() -> None:
    assert set(TOPIC_OF_TYPE) == {type_of(model) for model in MODELS}
    assert set(TOPIC_OF_TYPE.values()) == set(Topic)
