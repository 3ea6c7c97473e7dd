"""Tombstones: found again among a great many, and dropped by generation."""

from __future__ import annotations

from koban.ledger.tombstones import IN_BUCKET, Tombstones, tombstone_of


def test_all_are_found_and_no_other_while_buckets_split():
    """Whatever the number of buckets, each tombstone is where it is looked for, once."""
    found, keys = Tombstones(), [f"w-{number % 7}/p-{number}" for number in range(40 * IN_BUCKET + 1)]
    for number, key in enumerate(keys):
        assert found.add(0, tombstone_of(key))
        assert len(found) == number + 1
    assert all(tombstone_of(key) in found for key in keys)
    assert not any(tombstone_of(f"{key}x") in found for key in keys)
    assert sorted(stone for _, stone in found) == sorted(map(tombstone_of, keys))


def test_one_that_stands_already_is_not_put_up_again():
    """The same key twice is one tombstone in a generation."""
    found = Tombstones()
    assert found.add(3, tombstone_of("w/p"))
    assert not found.add(3, tombstone_of("w/p"))
    assert list(found) == [(3, tombstone_of("w/p"))]


def test_bytes_that_lie_across_two_tombstones_are_none():
    """Found are whole tombstones, not the end of one with the beginning of the next."""
    found, one, two = Tombstones(), b"\0" * 7 + b"\1", b"\2" * 7 + b"\1"
    found.restore(0, one + two)
    assert one in found
    assert two in found
    assert one[4:] + two[:4] not in found


def test_old_generations_go_as_a_whole():
    """What is left answers as before."""
    found = Tombstones()
    for generation in range(5):
        found.add(generation, tombstone_of(f"w/p-{generation}"))
    found.drop_before(3)
    assert [tombstone_of(f"w/p-{generation}") in found for generation in range(5)] == [False] * 3 + [True] * 2
    assert found
    found.drop_before(9)
    assert not found
