"""Figures as people read them: yen, counts, times, spans."""

from __future__ import annotations

from datetime import datetime, tzinfo

from koban import money
from koban.business_time import JST

ABSENT = "–"


def yen(amount_minor: int | None) -> str:
    """``¥1,200``; a negative amount has its sign in front."""
    if amount_minor is None:
        return ABSENT
    return money.yen(amount_minor).replace("-", "−")


def count(number: float | None) -> str:
    """``1,012``."""
    return ABSENT if number is None else f"{number:,.0f}"


def rate(per_s: float | None) -> str:
    """A rate: one decimal while it is small."""
    if per_s is None:
        return ABSENT
    return f"{per_s:,.1f}" if 0 < per_s < 10 else f"{per_s:,.0f}"


def span(seconds: float | None) -> str:
    """``640 ms``, ``1.3 s``, ``4 min``."""
    if seconds is None:
        return ABSENT
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 0.9995:
        return f"{round(seconds * 100) * 10} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    if seconds < 5_970:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 86_400:.0f} d"


def size(number_of_bytes: float | None) -> str:
    """``512 MB``, ``1.3 GB``: in powers of ten."""
    if number_of_bytes is None:
        return ABSENT
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number_of_bytes >= factor:
            value = number_of_bytes / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{number_of_bytes:.0f} B"


def clock(at_s: float | None, zone: tzinfo = JST) -> str:
    """Time of day."""
    return ABSENT if at_s is None else datetime.fromtimestamp(at_s, zone).strftime("%H:%M:%S")


def moment(at_us: int | None, zone: tzinfo = JST) -> str:
    """Day and time of day, of microseconds."""
    return ABSENT if at_us is None else datetime.fromtimestamp(at_us / 1e6, zone).strftime("%Y-%m-%d %H:%M:%S")


def percent(basis_points: int) -> str:
    """``99.98 %``: cut, never rounded up, so that 100 % means all of it."""
    return f"{basis_points // 100}.{basis_points % 100:02d} %"


def polyline(values: list[float], width: int, height: int) -> str:
    """Points of a sparkline from left to right, zero at the bottom."""
    top = max([*values, 1e-9])
    step = width / max(1, len(values) - 1)
    return " ".join(f"{at * step:.1f},{height - 1 - value / top * (height - 2):.1f}" for at, value in enumerate(values))


FILTERS = {
    "yen": yen, "count": count, "rate": rate, "span": span, "size": size, "percent": percent, "polyline": polyline,
}  # fmt: skip
