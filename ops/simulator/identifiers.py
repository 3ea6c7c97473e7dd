"""Ids that look like ids: short, prefixed, without letters that are mistaken for digits, and the same for a seed."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no I, L, O or U."""
_BITS = 40
_MASK = (1 << _BITS) - 1
_CHARACTERS = 8
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), dtype=np.uint8).reshape(256, 2)
EVENT_ID_CHARACTERS = 36

SLOT_NUMBERS = 900
"""Payments of ordinary traffic end in 000 to 899, all others in 900 to 999, so that their numbers never meet."""


def identifier(prefix: str, index: int, salt: int = 0) -> str:
    """The ``index``-th id of a kind, like ``w-7K3F9Q2M``. Different indexes below 2^40 give different ids.

    Kinds are apart by more than their prefix: a wallet and a merchant with the same signs would be mistaken.
    """
    x = (index + salt + (int.from_bytes(prefix.encode(), "big") << 25)) & _MASK
    for factor in (0x9E3779B97F | 1, 0xC2B2AE3D27):
        x = (x * factor) & _MASK
        x ^= x >> 21
    return f"{prefix}-{_PAIRS[x >> 30]}{_PAIRS[x >> 20 & 1023]}{_PAIRS[x >> 10 & 1023]}{_PAIRS[x & 1023]}"


def event_ids(times_us: npt.NDArray[np.int64], random: np.random.Generator) -> str:
    """One UUIDv7 per time, end to end in one text: the n-th is ``[36 * n : 36 * n + 36]``."""
    n = len(times_us)
    raw = random.integers(0, 256, (n, 16), dtype=np.uint8)
    milliseconds = times_us // 1000
    for byte in range(6):
        raw[:, byte] = (milliseconds >> (8 * (5 - byte))) & 0xFF
    raw[:, 6] = (raw[:, 6] & 0x0F) | 0x70
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    digits = _HEX[raw].reshape(n, 32)
    text = np.full((n, EVENT_ID_CHARACTERS), ord("-"), dtype=np.uint8)
    for start, end, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
        text[:, at : at + end - start] = digits[:, start:end]
    return text.tobytes().decode("ascii")


def event_id(at_us: int, random: Random) -> str:
    """A single UUIDv7."""
    noise = random.getrandbits(74)
    high, low = noise >> 62, noise & ((1 << 62) - 1) | (1 << 63)
    digits = f"{at_us // 1000:012x}7{high:03x}{low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
