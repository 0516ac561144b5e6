"""Words of messages that depend on a number."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 study``, ``2 studies``: the number with the right form of its noun; ``many`` where an s is not enough."""
    return f"{number} {one if number == 1 else many or one + 's'}"
