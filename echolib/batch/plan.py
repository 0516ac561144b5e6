"""What making a book would do: every step, whether it is done, why not, and what it will cost. Nothing is computed or written.

The ledger decides what is done, here as everywhere: a record counts while its specification, code and data are what they
were. A step is one of

- *done*: its result is in ``build/``; *committed*: it is taken from a record in ``results/``;
- *unneeded*: a cohort or store that nothing reads that is still to be computed;
- *to do*: it is not there, or it is stale; ``why`` says so: the code, the data or the specification changed;
- *check*: there is a record, but its data are not here yet; if they come out the same, it counts;
- *broken*: its record is damaged or belongs to another specification; ``why`` says what to do.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

#: States in which a step needs no work.
FINISHED = ("done", "committed", "unneeded")


class Cost(NamedTuple):
    """An estimate: seconds on this machine, bytes that stay on disk, where it comes from, and bytes of memory of a network."""

    seconds: float
    disk: int
    source: str
    memory: int = 0


@dataclass(frozen=True)
class Step:
    """One step of making the book.

    Attributes:
        id: ``cohort-...``, ``store-...``, ``run-<key>``, ``evaluation-<key>``, ``notebook-<name>`` or ``book``.
        kind: the part of ``id`` before the dash.
        name: the part after it: what the command ``echolib <verb>`` takes.
        label: in words.
        seed: of a run.
        state: see the head of this file.
        why: the reason for the state.
        needs: ids of the steps before it.
        pages: notebooks that show it.
        cost: None for a finished step.
    """

    id: str
    kind: str
    name: str
    label: str
    state: str
    why: str
    seed: int | None = None
    needs: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    cost: Cost | None = None


@dataclass(frozen=True)
class Plan:
    """All steps in an order that respects ``needs``, and the pages that cannot be made at all with the reason.

    ``arithmetic`` says what the estimates rest on that rest on no record.
    """

    profile: str
    purpose: str
    steps: tuple[Step, ...]
    problems: dict[str, str]
    arithmetic: str = ""

    @property
    def pending(self) -> list[Step]:
        """Steps that are not finished."""
        return [step for step in self.steps if step.state not in FINISHED]

    def seconds(self) -> float:
        """All pending steps, one after the other; a step to check is not counted."""
        return sum(s.cost.seconds for s in self.pending if s.cost is not None and s.state == "to do")

    def disk(self) -> int:
        """Bytes that the pending steps will leave."""
        return sum(s.cost.disk for s in self.pending if s.cost is not None and s.state == "to do")

    def as_json(self) -> str:
        """The plan for programs."""
        steps = [asdict(step) | {"cost": step.cost and step.cost._asdict()} for step in self.steps]
        whole = asdict(self) | {"steps": steps, "seconds": self.seconds(), "disk": self.disk()}
        return json.dumps(whole, indent=1, ensure_ascii=False)
