"""A plan as text for a terminal or a log: 130 columns at most, nothing that depends on the terminal."""

from __future__ import annotations

from collections import Counter

from echolib.batch.plan import FINISHED, Plan, Step

_TITLES = {"cohort": "Cohorts", "store": "Stores", "run": "Runs", "evaluation": "Evaluations",
           "notebook": "Notebooks", "book": "Book"}


def report(plan: Plan, *, every: bool = True) -> str:
    """The plan, a line a step.

    Args:
        plan: the plan.
        every: list finished steps too; else only their number.
    """
    lines = [f"Plan of profile {plan.profile}: {plan.purpose}"]
    for kind, title in _TITLES.items():
        steps = [s for s in plan.steps if s.kind == kind]
        if steps:
            states = Counter(s.state for s in steps)
            lines += ["", f"{title}: {', '.join(f'{n} {state}' for state, n in states.items())}"]
            lines += [_line(s) for s in steps if every or s.state not in FINISHED]
    for page, why in plan.problems.items():
        lines += ["", f"Page {page} cannot be made: {why}"]
    return "\n".join([*lines, "", *_summary(plan)])


def stale(plan: Plan) -> list[str]:
    """A line for every step that has a result that no longer counts: what it is, and the reason of the ledger."""
    fresh = ("not run yet", "not simulated yet", "not packed yet")
    return [f"{s.kind} {s.name}  {s.label}: {s.why}" for s in plan.pending
            if s.kind in ("run", "evaluation") and s.why not in fresh]


def changed_code(plan: Plan) -> list[str]:
    """A line for each code that computed committed results and is not today's: how many, and what the ledger says of them."""
    said = Counter(s.why.split("; ", 1)[1] for s in plan.steps if s.state == "committed" and "; " in s.why)
    return [f"{count}: {why}" for why, count in said.items()]


def hours(seconds: float) -> str:
    """``12 s``, ``34 min``, ``5.6 h``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """``12 MB``, ``3.4 GB``."""
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _line(step: Step) -> str:
    cost = "" if step.cost is None or step.state in FINISHED else \
        f"{hours(step.cost.seconds)}, {size(step.cost.disk)} ({step.cost.source})"
    name = step.name if step.kind in ("run", "evaluation", "notebook") else ""
    return f"  {step.state:8} {name:20} {step.label[:44]:45} {step.why}{'; ' + cost if cost else ''}"


def _summary(plan: Plan) -> list[str]:
    taken = [s for s in plan.steps if s.kind in ("run", "evaluation") and s.state in FINISHED]
    here, committed = (sum(s.state == state for s in taken) for state in ("done", "committed"))
    todo = [s for s in plan.pending if s.cost is not None and s.state == "to do"]
    checks = sum(s.state == "check" for s in plan.steps)
    lines = [f"Taken from records: {here} of this machine, {committed} from results/."]
    lines += [f"Committed, {text}" for text in changed_code(plan)]
    lines += [f"Stale: {text}" for text in stale(plan)]
    lines += [f"To be checked once their data are here: {checks} (not in the cost)."] if checks else []
    lines.append(f"Cost of what is left, one step after the other: {hours(plan.seconds())} and {size(plan.disk())} of disk, "
                 "without executing notebooks and rendering pages.")
    sources = Counter(s.cost.source for s in todo if s.kind in ("run", "evaluation"))
    for source, count in sources.items():
        lines.append(f"  {count} estimates {source}" + (f": {plan.arithmetic}" if source == "arithmetic" else ""))
    return lines
