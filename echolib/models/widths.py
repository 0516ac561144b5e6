"""The width multiplier: narrow versions of the published networks for the small profiles."""

from __future__ import annotations

from collections.abc import Iterable


def channels(published: Iterable[int], width: float, *, least: int = 4) -> list[int]:
    """Channel counts times ``width``, rounded to the nearest integer, at least ``least`` (published counts at width 1).

    >>> channels((16, 32, 64), 0.25)
    [4, 8, 16]
    """
    return [max(min(least, count), int(count * width + 0.5)) for count in published]
