"""How deeply a JSON text is nested, told without parsing it."""

from __future__ import annotations

import re

_MARKS = re.compile(rb'["\\\[\]{}]')
_STRING_MARKS = re.compile(rb'["\\]')


def deeper_than(value: bytes, depth_max: int) -> bool:
    """Whether brackets outside strings open more than ``depth_max`` levels. Linear in time, constant in memory.

    The value need not be JSON: an unbalanced text is judged by what it opens, an unclosed string hides the rest.
    """
    if value.count(b"{") + value.count(b"[") <= depth_max:
        return False
    depth = 0
    at = 0
    while (mark := _MARKS.search(value, at)) is not None:
        at = mark.end()
        sign = mark.group()
        if sign == b'"':
            at = _string_end(value, at)
        elif sign in (b"[", b"{"):
            depth += 1
            if depth > depth_max:
                return True
        elif sign != b"\\":
            depth -= 1
    return False


def _string_end(value: bytes, at: int) -> int:
    while (mark := _STRING_MARKS.search(value, at)) is not None:
        if mark.group() == b'"':
            return mark.end()
        at = mark.end() + 1  # the sign behind a backslash is part of the string, whatever it is
    return len(value)
