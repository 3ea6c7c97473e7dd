"""Depth is told without parsing, and strings don't count."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.gate.nesting import deeper_than

JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a[]{}"\\', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\', max_size=3), inner, max_size=3)
    ),
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(JSON, st.integers(0, 6))
def test_it_agrees_with_the_parsed_depth(value: object, depth_max: int) -> None:
    """For any JSON, brackets and quotes in strings included."""
    assert deeper_than(json.dumps(value).encode(), depth_max) == (depth(value) > depth_max)


@given(st.binary(max_size=200), st.integers(0, 6))
def test_any_bytes_get_an_answer(value: bytes, depth_max: int) -> None:
    """What is no JSON is judged without an error."""
    assert deeper_than(value, depth_max) in (True, False)


@pytest.mark.parametrize("value", [b"[" * 10_000_000, b'{"a":' * 2_000_000, b'[{"a":' * 1_000_000])
def test_hostile_nesting_ends_at_the_limit(value: bytes) -> None:
    """Ten megabytes of brackets are given up at the first bracket too many."""
    assert deeper_than(value, 16)


def test_brackets_in_a_long_string_are_text() -> None:
    """A string full of brackets and escaped quotes nests nothing."""
    assert not deeper_than(b'{"memo":"' + b'[{\\"' * 10_000 + b'"}', 1)
