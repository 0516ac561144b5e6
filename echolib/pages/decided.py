"""How much the runs of a profile decide: the spread between seeds of every page, and how many claims hold, do not, or stay open.

Two of these tables, of one profile before and after its schedule changed, show what more training brought. The earlier one is
kept as a file under ``results/decided/``, since the records that it was made from are gone.
"""

from __future__ import annotations

import html
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from echolib.config.profile import AblationSize, Profile
from echolib.config.specs import Strict, chain
from echolib.errors import RecordError
from echolib.files import write_atomic
from echolib.ledger.ledger import Ledger
from echolib.pages.catalogue import Catalogue
from echolib.pages.html import html_table
from echolib.words import counted


class Page(Strict):
    """One page, or one table or figure on it.

    Attributes:
        entry, title: what it is.
        seeds: of each group of runs.
        groups: groups of runs with at least two seeds.
        sd_median, sd_largest: over those groups, of the standard deviation of the test split's mean Dice between seeds, in Dice
            points; None without such a group.
        sd_group: the group with the largest.
        holds, fails, undecided, same: claims; ``same`` those that make no difference.
        hours: core-hours of the trainings and evaluations of its notebook that no page before it asks for, from their records;
            None on the other entries of that notebook, and where a record is missing.
    """

    entry: str
    title: str
    seeds: int = Field(ge=0)
    groups: int = Field(ge=0)
    sd_median: float | None
    sd_largest: float | None
    sd_group: str = ""
    holds: int = Field(ge=0)
    fails: int = Field(ge=0)
    undecided: int = Field(ge=0)
    same: int = Field(0, ge=0)
    hours: float | None = None


class Decided(Strict):
    """What a profile's runs decide.

    Attributes:
        profile: its name.
        commit: of the code that made the table; "" for the book that shows it.
        what: the schedule in a few words.
        pages: in the book's order; those with neither groups nor claims are left out.
    """

    profile: str
    commit: str = ""
    what: str
    pages: tuple[Page, ...]

    @property
    def share(self) -> float:
        """Share of the claims that are decided; NaN without claims."""
        settled, all_of = (sum(f(p) for p in self.pages) for f in (lambda p: p.holds + p.fails + p.same,
                                                                  lambda p: p.holds + p.fails + p.same + p.undecided))
        return settled / all_of if all_of else np.nan


def decided(book: Catalogue, ledger: Ledger, claimed: pd.DataFrame, *, what: str, commit: str = "",
            stopped: Collection[str] = ()) -> Decided:
    """The table of a profile from its records.

    Args:
        book: whose pages.
        ledger: where the records are.
        claimed: the claims of all papers, from :func:`echolib.pages.overview.all_claims`.
        what: the schedule in a few words.
        commit: of the code, where the table is to be kept.
        stopped: entries whose pages could not be made; they are left out.
    """
    profile, pages, cost = ledger.workspace.profile, [], hours(book, ledger)
    for paper, entry in ((paper, entry) for paper, entries in book.pages.items() for entry in entries):
        if entry.id in stopped:
            continue
        spread = {name: float(np.std([100 * r.scores["overall"].mean for r in ledger.require(group)], ddof=1))
                  for name, group in entry.runs(profile).items()
                  if len(group) > 1 and all("overall" in r.scores for r in ledger.require(group))}
        counts = claimed.status[claimed.experiment == entry.id].value_counts()
        if entry.draws or not spread and not len(counts):
            continue  # a drawing of another page's numbers has none of its own
        largest = max(spread, key=spread.get) if spread else ""
        pages.append(Page(
            entry=entry.id, title=f"{paper.title.partition(':')[0]}, {entry.number}: {entry.title}", seeds=len(profile.seeds),
            groups=len(spread), sd_median=round(float(np.median(list(spread.values()))), 2) if spread else None,
            sd_largest=round(spread[largest], 2) if spread else None, sd_group=largest, holds=int(counts.get("holds", 0)),
            fails=int(counts.get("does not hold", 0)), undecided=int(counts.get("undecided", 0)),
            same=int(counts.get("no difference", 0)), hours=cost.pop(entry.notebook, None)))
    return Decided(profile=profile.name, commit=commit, what=what, pages=tuple(pages))


def hours(book: Catalogue, ledger: Ledger) -> dict[str, float]:
    """Core-hours of the trainings and evaluations of each notebook that none before it asks for: wall time x threads x processes
    of their records. A training that others build on counts where it has a record; it is not committed unless a page shows it.
    A notebook of which another record is missing is left out."""
    profile, seen, out = ledger.workspace.profile, set(), {}
    for notebook in book.notebooks:
        needs = book.needs(notebook, profile)
        asked = [(ledger.runs, s) for s in needs.runs] + [(ledger.evaluations, s) for s in needs.evaluations]
        below = [s for run in needs.runs for s in chain(run)[:-1]]
        new = {s.key: kind.find(s).record for kind, s in asked if s.key not in seen}
        whole = None not in new.values()
        found = {s.key: ledger.runs.find(s).record for s in below if s.key not in seen | new.keys()}
        new |= {key: record for key, record in found.items() if record is not None}
        seen |= new.keys()
        if new and whole:
            took = [r.provenance.wall_seconds * r.provenance.threads * r.provenance.processes for r in new.values()]
            out[notebook] = sum(took) / 3600
    return out


def schedule(profile: Profile) -> str:
    """The schedule of a profile in a few words."""
    def words(stages: Profile | AblationSize) -> str:
        return " and ".join(counted(s.epochs, "epoch") + (f" of {s.steps} steps" if s.steps else "") + f" of {s.batch} clips"
                            for s in (stages.pretrain, stages.segment))
    return f"stages 1 and 2 of {words(profile)}" + (f"; in the ablations {words(profile.ablation)}" if profile.ablation else "")


def keep(found: Decided, file: Path) -> None:
    """Write a table, whole or not at all."""
    write_atomic(file, found.model_dump_json(indent=1) + "\n")


def load(file: Path) -> Decided | None:
    """A kept table; None where there is none.

    Raises:
        RecordError: the file is damaged.
    """
    if not file.is_file():
        return None
    try:
        return Decided.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise RecordError(f"{file.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}; expected a table as "
                          "echolib.pages.decided writes it") from None


def decided_html(now: Decided, before: Decided | None = None) -> str:
    """Both tables as one, a row a page; pages that are new have no left half."""
    was = {p.entry: p for p in before.pages} if before else {}
    rows = []
    for page in now.pages:
        old = was.get(page.entry)
        hours = "–" if page.hours is None else f"{page.hours:.2f}"
        rows.append((html.escape(page.title), *(_side(old) if before else ()), *_side(page), hours))
    halves = ("Seed SD, median", "largest", "hold", "do not", "same", "open")
    head = ("Page", *([f"{h}, before" for h in halves] if before else []), *([f"{h}, now" for h in halves] if before else halves),
            "Core-hours")
    totals = _total(now)
    lead = (f"<p>Of {sum(totals)} claims {totals[0]} hold, {totals[1]} do not, {totals[2]} make no difference, and {totals[3]} "
            "are undecided")
    if before:
        old = _total(before)
        lead += f"; before, of {sum(old)}: {old[0]}, {old[1]}, {old[2]} and {old[3]}"
    lead += (". SD: of the mean Dice of the test split between seeds, in points, over the groups of runs of a page. Core-hours: "
             "of the trainings and evaluations that no page above asks for, by the records that are kept; "
             f"{sum(p.hours or 0 for p in now.pages):.1f} in all.</p>")
    about = f"<p>Now: {html.escape(now.what)}." + (
        f" Before (commit {html.escape(before.commit[:10])}): {html.escape(before.what)}." if before else "") + "</p>"
    return lead + about + html_table("What the seeds leave open", head, rows, "echo-table echo-sortable")


def _side(page: Page | None) -> tuple[str, ...]:
    if page is None:
        return ("–",) * 6
    sd = ("–", "–") if page.sd_median is None else (f"{page.sd_median:.2f}", f"{page.sd_largest:.2f}")
    return (*sd, *map(str, (page.holds, page.fails, page.same, page.undecided)))


def _total(found: Decided) -> tuple[int, ...]:
    return tuple(sum(getattr(p, name) for p in found.pages) for name in ("holds", "fails", "same", "undecided"))
