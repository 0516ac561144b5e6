"""Table I, the error of the ejection fraction by the number of labels, and Table A1, by the backbone.

Beside the printed numbers: root mean square error, areas under the ROC curve below a threshold, and the ejection fraction
from masks of the same videos by the method of disks, which the paper does not show.
"""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import LabelShare, Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.kinds.number import NumberSpec
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions, with_option
from echolib.papers.css.measuring import (
    EF,
    NOT_RUN,
    Entry,
    Order,
    answered,
    compared,
    ef_tables,
    headings,
    judged_on,
    left_out,
)
from echolib.papers.css.runs import (
    BACKBONES,
    RIVALS,
    data_of,
    multi_input,
    rival,
    segmenter,
    student,
    taught,
    video_only,
)

PUBLISHED, BACKBONE_TABLE = "css_table1_ef_labels", "css_tableA1_backbones"
SUPERVISED, OURS = "Ouyang et al.", "CSS"
SHARES = ("1/8", "1/4", "1/2", "1")


class Table1Options(SeedOptions):
    """Which labelled shares, and how many clips each test video is cut into."""

    labels: tuple[LabelShare, ...] | None = Field(None, description="a list of different shares of the labels: "
                                                                    "3/32, 1/8, 3/16, 1/4, 1/2, 1")
    stride: Annotated[int, Field(ge=1, le=128)] | None = Field(
        None, description="frames between the starts of two clips of a test video, from 1 to 128")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other shares, or another stride."""
        return with_css(super().applied(profile), labels=self.labels, stride=self.stride)


def with_css(profile: Profile, **changes: object) -> Profile:
    """The profile with other values of its option ``css``; see :func:`~echolib.pages.experiment.with_option`."""
    return with_option(profile, "css", "CSS", changes)


def at(method: str, share: str) -> str:
    """The group of a method at a labelled share."""
    return f"{method}, {'all' if share == '1' else share} labels"


def css_student(profile: Profile, share: LabelShare, seed: int, backbone: str = BACKBONES["R2+1D"]) -> RunSpec:
    """The whole method: f_e at the end of its chain."""
    return taught(profile, segmenter(profile, "CSS", share, seed), share, seed, backbone)


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs of Table I by :func:`at`; with all labels nothing is unlabelled, so only the supervised network is
    there."""
    if profile.css is None:
        return {}
    out = {}
    for share in profile.css.labels:
        out[at(SUPERVISED, share)] = video_only(profile, share, seed)
        if share != "1":
            out |= {at(name, share): rival(profile, name, share, seed) for name in profile.css.rivals}
            out[at(OURS, share)] = css_student(profile, share, seed)
    return out


def measured(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell of Table I."""
    profile = ledger.workspace.profile
    runs, entries = TABLE1.runs(profile), []
    for row in published.load(PUBLISHED).itertuples():
        group = at(row.method, row.label_fraction)
        entries.append(Entry(row.method, f"{row.metric} {row.label_fraction}", EF[row.metric], row.mean, row.sd,
                             group if group in runs else "", _absent(profile, row.method, f"the share {row.label_fraction}"),
                             other=row.method in NOT_RUN))
    return answered(entries, {name: ef_tables(ledger, specs) for name, specs in runs.items()}, profile)


def _absent(profile: Profile, method: str, what: str) -> str:
    if method in NOT_RUN:
        return NOT_RUN[method]
    chosen = profile.css is None or method not in RIVALS or method in profile.css.rivals
    return left_out(profile, what if chosen else method)


def orders(profile: Profile) -> list[Order]:
    """The claims of Table I."""
    shares = [share for share in SHARES if share != "1"]
    return [Order(f"CSS has a smaller error of the EF than {name}, {share} of the labels", at(OURS, share), (at(name, share),))
            for share in shares for name in (SUPERVISED, *RIVALS)]


def judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Verdicts on the claims of Table I."""
    return judged_on(TABLE1, orders(ledger.workspace.profile), ledger, options)


# -- backbones --------------------------------------------------------------------------------------------------------

def on(method: str, backbone: str) -> str:
    """The group of a method on a backbone."""
    return f"{method}, {backbone}"


def backbone_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs of Table A1 by :func:`on`."""
    if profile.css is None:
        return {}
    out, share = {}, profile.css.base
    for name in ("R2+1D", *profile.css.backbones):
        network = BACKBONES[name]
        out[on(SUPERVISED, name)] = video_only(profile, share, seed, network)
        if name == "R2+1D" or profile.css.rival_backbones:
            out |= {on(other, name): rival(profile, other, share, seed, network) for other in profile.css.rivals}
        out[on(OURS, name)] = css_student(profile, share, seed, network)
    return out


def backbone_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell of Table A1."""
    profile = ledger.workspace.profile
    runs, entries = TABLE_A1.runs(profile), []
    for row in published.load(BACKBONE_TABLE).itertuples():
        group = on(row.method, row.backbone)
        for metric, spread in (("mae", row.mae_sd), ("r2", row.r2_sd)):
            entries.append(Entry(group, metric, EF[metric], getattr(row, metric), spread, group if group in runs else "",
                                 _absent(profile, row.method, f"{row.method} on {row.backbone}"), other=row.method in NOT_RUN))
    return answered(entries, {name: ef_tables(ledger, specs) for name, specs in runs.items()}, profile)


def backbone_judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Verdicts on the claims of Table A1."""
    return judged_on(TABLE_A1, backbone_orders(), ledger, options)


def backbone_orders() -> list[Order]:
    """The claims of Table A1."""
    claims = [Order(f"CSS has a smaller error of the EF than Ouyang et al., {name}", on(OURS, name), (on(SUPERVISED, name),))
              for name in BACKBONES]
    best = Order("R(2+1)D has a smaller error with CSS than R3D and MC3", on(OURS, "R2+1D"), (on(OURS, "R3D"), on(OURS, "MC3")))
    return [*claims, best]


# -- the ejection fraction in several ways ----------------------------------------------------------------------------

def ways(profile: Profile) -> tuple[dict[str, list[NumberSpec]], dict[str, list[VideoSpec]]]:
    """Evaluations at the base share by name, one a seed: networks that give the number, and segmenters whose masks do."""
    if profile.css is None:
        return {}, {}
    share, data = profile.css.base, data_of(profile)
    numbers: dict[str, list[NumberSpec]] = {}
    masks: dict[str, list[VideoSpec]] = {}
    for seed in profile.seeds:
        cut = segmenter(profile, "CSS", share, seed)
        teacher = multi_input(profile, cut, share, seed)
        for name, run in (("frames alone", video_only(profile, share, seed)), ("f_m: frames and masks", teacher),
                          ("f_e: taught by f_m", student(profile, teacher, share, seed))):
            numbers.setdefault(name, []).append(NumberSpec(run=run, data=data, stride=profile.css.stride))
        for method in ("Supervised", "CSS"):
            masks.setdefault(f"disks on masks, {method}", []).append(
                VideoSpec(run=segmenter(profile, method, share, seed), data=data))
    if data.phantom is not None:
        masks = {"disks on exact masks": [VideoSpec(run=None, data=data)]} | masks
    return numbers, masks


def _more(profile: Profile, options: Options) -> Needs:
    """The ejection fraction in several ways."""
    numbers, masks = ways(profile)
    specs = [spec for part in (numbers, masks) for group in part.values() for spec in group]
    return Needs(tuple(s.run for s in specs if s.run is not None), tuple(specs))


TABLE1 = Experiment(
    id="css_table1", number="Table I", place=1, title="Error of the ejection fraction by the number of labels",
    published=PUBLISHED, notebook="css_table1", groups=groups, measure=measured, judge=judge, more=_more,
    compares=lambda profile, options: compared(orders(profile)),
    headings=headings(f"{metric} {share}" for metric in EF for share in SHARES), options=Table1Options())
TABLE_A1 = Experiment(
    id="css_tableA1", number="Table A1", place=1, title="Error of the ejection fraction by the backbone",
    published=BACKBONE_TABLE, notebook="css_table1", groups=backbone_groups, measure=backbone_cells, judge=backbone_judge,
    compares=lambda profile, options: compared(backbone_orders()),
    headings=headings(EF), options=SeedOptions())

PAGES = (TABLE1, TABLE_A1)
