"""Table IX: networks that were trained on EchoNet-Dynamic, tested on CAMUS; half heart beats, mirrored into whole ones."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import LabelShare, Profile
from echolib.evaluation.kinds.number import NumberSpec
from echolib.evaluation.numbers import Filled
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Options, SeedOptions
from echolib.pages.quantities import Tables
from echolib.papers.css.measuring import EF, NOT_RUN, Entry, Order, answered, compared, headings, judged_on, left_out
from echolib.papers.css.runs import RIVALS, external_of
from echolib.papers.css.table1 import OURS, SHARES, SUPERVISED, TABLE1, at, with_css

PUBLISHED = "css_table9_camus"
QUALITIES = ("Good", "Medium", "Poor")
#: Patients of CAMUS by quality, those with an ejection fraction.
PATIENTS = {"Good": 260, "Medium": 148, "Poor": 42}


class Table9Options(SeedOptions):
    """Which labelled shares, and what fills the clip after the mirrored beat."""

    labels: tuple[LabelShare, ...] | None = Field(None, description="a list of different shares of the labels: "
                                                                    "3/32, 1/8, 3/16, 1/4, 1/2, 1")
    filled: Literal["black", "repeat"] = Field("black", description="black or repeat")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other shares."""
        return with_css(super().applied(profile), labels=self.labels)


def evaluations(profile: Profile, options: Options) -> dict[str, list[NumberSpec]]:
    """The runs of Table I on the half cycles, by the same groups, one a seed; none where there is no such cohort."""
    filled: Filled = options.filled
    if profile.css is None or external_of(profile) is None:
        return {}
    return {name: [NumberSpec(run=run, data=external_of(profile), filled=filled) for run in specs]
            for name, specs in TABLE1.runs(profile).items()}


def by_quality(group: list[Evaluation], quality: str) -> Tables:
    """The studies of one image quality, or ``Overall``, of every seed, with the error of each."""
    out = []
    for one in group:
        studies = one.studies.assign(error=(one.studies.predicted_ef - one.studies.ef).abs())
        out.append({"studies": studies if quality == "Overall" else studies[studies.quality == quality]})
    return out


def measured(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell."""
    profile = ledger.workspace.profile
    specs, entries = TABLE9.turned(options.changed).evaluations(profile), []
    found = {name: ledger.evaluate(group) for name, group in specs.items()}
    results = {f"{name} {quality}": by_quality(group, quality) for name, group in found.items()
               for quality in (*QUALITIES, "Overall")}
    results = {name: tables for name, tables in results.items() if all(len(t["studies"]) for t in tables)}
    for row in published.load(PUBLISHED).itertuples():
        group = f"{at(row.method, row.label_fraction)} {row.quality}"
        why = NOT_RUN.get(row.method) or (left_out(profile, f"{row.method}, {row.label_fraction}, or its cohort has no study of "
                                                            f"quality {row.quality}"))
        entries.append(Entry(f"{row.quality}, {row.method}", f"mae {row.label_fraction}", EF["mae"], row.mae, row.sd,
                             group if group in results else "", why, other=row.method in NOT_RUN))
    return answered(entries, results, profile)


def orders() -> list[Order]:
    """The claims of Table IX."""
    shares = [share for share in SHARES if share != "1"]
    same = [Order(f"CSS has a smaller error on another hospital's clips than {name}, {share} of the labels", at(OURS, share),
                  (at(name, share),)) for share in shares for name in (SUPERVISED, *RIVALS)]
    return [*same, Order("CSS with half of the labels has a smaller error there than the supervised network with all",
                         at(OURS, "1/2"), (at(SUPERVISED, "1"),))]


def judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Verdicts on the claims, from all qualities together."""
    return judged_on(TABLE9, orders(), ledger, options)


TABLE9 = Experiment(
    id="css_table9", number="Table IX", place=6, title="Another hospital", published=PUBLISHED, notebook="css_table9",
    evaluations_of=evaluations, measure=measured, judge=judge, options=Table9Options(),
    compares=lambda profile, options: compared(orders()),
    headings=headings(f"mae {share}" for share in SHARES))

PAGES = (TABLE9,)
