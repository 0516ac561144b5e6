"""Table IV and Figure 6: what each part of CSS brings, by the number of labels."""

from __future__ import annotations

import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import LabelShare, Profile
from echolib.config.specs import RunSpec
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Options, SeedOptions
from echolib.papers.css.measuring import EF, Entry, Order, answered, compared, ef_tables, headings, judged_on, left_out
from echolib.papers.css.runs import multi_input, segmenter, student, video_only
from echolib.papers.css.table1 import at, with_css

PUBLISHED = "css_table4_ablation"
VIDEO, SEG, SEG_CSS = "Video Only", "Video+Seg.", "Video+Seg.+CSS"
SEG_DIST, WHOLE = "Video+Seg.+Dist.", "Video+Seg.+CSS+Dist."
PARTS = (VIDEO, SEG, SEG_CSS, SEG_DIST, WHOLE)
#: Published share -> the same in lowest terms.
SHARES: dict[str, LabelShare] = {"3/32": "3/32", "4/32": "1/8", "6/32": "3/16", "8/32": "1/4", "16/32": "1/2", "1": "1"}


class Table4Options(SeedOptions):
    """Which labelled shares."""

    labels: tuple[LabelShare, ...] | None = Field(None, description="a list of different shares of the labels: "
                                                                    "3/32, 1/8, 3/16, 1/4, 1/2, 1")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other shares."""
        return with_css(super().applied(profile), ablated=self.labels)


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs by part and share; with all labels there is no distillation."""
    if profile.css is None:
        return {}
    out = {}
    for share in profile.css.ablated:
        teachers = {name: multi_input(profile, segmenter(profile, method, share, seed), share, seed)
                    for name, method in ((SEG, "Supervised"), (SEG_CSS, "CSS"))}
        out[at(VIDEO, share)] = video_only(profile, share, seed)
        out |= {at(name, share): run for name, run in teachers.items()}
        if share != "1":
            out |= {at(name, share): student(profile, teachers[taught_by], share, seed)
                    for name, taught_by in ((SEG_DIST, SEG), (WHOLE, SEG_CSS))}
    return out


def measured(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell."""
    profile = ledger.workspace.profile
    runs, entries = TABLE4.runs(profile), []
    for row in published.load(PUBLISHED).itertuples():
        group = at(row.method, SHARES[row.label_fraction])
        entries.append(Entry(row.method, f"{row.metric} {row.label_fraction}", EF[row.metric], row.mean, row.sd,
                             group if group in runs else "", left_out(profile, f"the share {row.label_fraction}")))
    return answered(entries, {name: ef_tables(ledger, specs) for name, specs in runs.items()}, profile)


def orders(share: LabelShare) -> list[Order]:
    """The claims at one share."""
    told = "all labels" if share == "1" else f"{share} of the labels"
    found = [Order(f"Masks as input help, {told}", at(SEG, share), (at(VIDEO, share),)),
             Order(f"Masks of CSS help more than supervised ones, {told}", at(SEG_CSS, share), (at(SEG, share),))]
    if share != "1":
        found += [Order(f"Distillation helps, supervised masks, {told}", at(SEG_DIST, share), (at(SEG, share),)),
                  Order(f"Distillation helps, masks of CSS, {told}", at(WHOLE, share), (at(SEG_CSS, share),)),
                  Order(f"All parts together are the best, {told}", at(WHOLE, share),
                        tuple(at(name, share) for name in PARTS if name != WHOLE))]
    return found


def judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Verdicts on the claims, at every share that the profile runs."""
    return judged_on(TABLE4, _all_orders(ledger.workspace.profile), ledger, options)


def _all_orders(profile: Profile) -> list[Order]:
    shares = SHARES.values() if profile.css is None else profile.css.ablated
    return [order for share in shares for order in orders(share)]


TABLE4 = Experiment(
    id="css_table4", number="Table IV", place=2, title="What each part brings", published=PUBLISHED, notebook="css_table4",
    groups=groups, measure=measured, judge=judge, options=Table4Options(),
    compares=lambda profile, options: compared(_all_orders(profile)),
    headings=headings(f"{metric} {share}" for metric in EF for share in SHARES))
FIGURE6 = Experiment(
    id="css_figure6", number="Figure 6", place=2, title="What each part brings, by the number of labels", published=PUBLISHED,
    notebook="css_table4", groups=groups, options=Table4Options(), draws="css_table4")

PAGES = (TABLE4, FIGURE6)
