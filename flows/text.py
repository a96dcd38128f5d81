"""Times and sizes in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def size(count: int) -> str:
    """1_234_567 bytes -> "1.2 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def clock(seconds: float) -> str:
    """125 -> "2:05"."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
