"""Lanes agree with every client that produces to the platform."""

import pytest
from aiokafka.partitioner import DefaultPartitioner as AiokafkaPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from schemas.partitioning import lane_of, lane_of_key, lanes_of, murmur2


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_are_those_of_the_java_client(key: bytes, signed: int) -> None:
    """The vectors are those of the Java client's own test (Utils.murmur2)."""
    assert murmur2(key) == signed & 0xFFFFFFFF


@given(st.binary(max_size=80))
def test_hashes_agree_with_both_python_clients(key: bytes) -> None:
    """Any bytes, of any length modulo four, hash as in aiokafka and in kafka-python."""
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF == kafka_python_murmur2(key) & 0xFFFFFFFF


@given(st.text(max_size=40), st.integers(1, 64))
def test_lanes_agree_with_the_partitioner_of_producers(owner: str, partitions: int) -> None:
    """A producer with aiokafka's default partitioner puts an owner's records into the owner's lane."""
    everything = list(range(partitions))
    if owner:
        assert lane_of(owner, partitions) == AiokafkaPartitioner()(owner.encode(), everything, everything)
    assert lane_of(owner, partitions) == lane_of_key(owner.encode(), partitions) < partitions


@pytest.mark.parametrize(
    ("account", "lanes"),
    [
        ("U.w-1.money", {lane_of("w-1", 4)}),
        ("M.m%2E1.payable", {lane_of("m.1", 4)}),
        ("A.bank", {0, 1, 2, 3}),
        ("A.bank@2", {2}),
    ],
)
def test_an_account_is_kept_where_its_owner_lives_and_the_houses_everywhere(account: str, lanes: set[int]) -> None:
    """Whoever asks how an account stands asks these, and no others."""
    assert set(lanes_of(account, 4)) == lanes


def test_what_is_no_account_is_in_no_lane() -> None:
    """An error that says so, and no empty answer."""
    with pytest.raises(ValueError, match=r"'U\.w-1\.gold' is no account"):
        lanes_of("U.w-1.gold", 4)
