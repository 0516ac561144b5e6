"""From the doubts about an ejection fraction to an interval: the numbers that the record beside the weights holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from echolib.clinic.result import Doubts, EfInterval
from echolib.errors import DataError


@dataclass(frozen=True)
class Calibration:
    """How doubts, in points of EF, make an interval.

    Attributes:
        level: the share of intervals that should hold the truth, %.
        floor: spread in points where the clip gives no doubt at all.
        views, network, beats: weights of the doubts.
        low, high: ends of the interval in units of the spread, from the EF: ``low <= 0 <= high``.
    """

    level: float
    floor: float
    views: float
    network: float
    beats: float
    low: float
    high: float

    def __post_init__(self) -> None:
        values = asdict(self)
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in values.values()) or not (
                0 < self.level < 100 and self.floor > 0 and min(self.views, self.network, self.beats) >= 0
                and self.low <= 0 <= self.high):
            raise DataError("not a calibration of EF intervals", value=values)

    @classmethod
    def of_record(cls, entry: Mapping) -> Calibration:
        """From the record's entry ``interval``, which holds more than this.

        Raises:
            KeyError, TypeError: a number is missing.
            DataError: a number that cannot be.
        """
        return cls(**{field.name: entry[field.name] for field in fields(cls)})

    def parts(self, doubts: Doubts) -> dict[str, float]:
        """What the floor and each doubt add to the spread, points; the spread is the root of the sum of their squares."""
        return {"floor": self.floor, "views": self.views * doubts.views if self.views else 0.0,
                "network": self.network * doubts.network if self.network else 0.0, "beats": self.beats * doubts.beats}

    def spread(self, doubts: Doubts) -> float:
        """All doubts as one number, points; infinite where the ventricle was lost in a view."""
        return math.inf if math.isinf(doubts.views) or math.isinf(doubts.network) else math.hypot(*self.parts(doubts).values())

    def interval(self, ef: float, doubts: Doubts) -> EfInterval:
        """The interval around an EF in %; its ends have one decimal, so that all that print them agree."""
        spread = self.spread(doubts)
        parts = self.parts(doubts)
        if math.isinf(spread):
            return EfInterval(self.level, 0.0, 100.0, doubts, "views" if math.isinf(doubts.views) else "network")
        low, high = max(0.0, ef + self.low * spread), min(100.0, ef + self.high * spread)
        return EfInterval(self.level, round(low, 1), round(high, 1), doubts, max(parts, key=parts.__getitem__))
