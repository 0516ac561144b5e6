"""Tables II and X, Figures 4 and 8: where networks that give the ejection fraction look, at home and on another hospital's
clips."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import LabelShare, Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.evaluation import Case
from echolib.evaluation.kinds.attention import AttentionSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Options, SeedOptions, with_further
from echolib.pages.quantities import Quantity, Tables
from echolib.pages.verdict import Scale, Verdict, all_verdict
from echolib.papers.css.measuring import NOT_RUN, Entry, answered, headings, left_out
from echolib.papers.css.runs import RIVALS, data_of, external_of, rival, video_only
from echolib.papers.css.table1 import OURS, SUPERVISED, at, css_student

HERE, THERE = "css_table2_attention", "css_table10_camus_attention"
#: What the paper measures, and what this book adds: shares do not depend on how large the ventricle is.
DICE = Quantity("Dice of the top pixels, %", "frames", "dice", factor=100, decimals=1)
CEILING = Quantity("highest possible, %", "frames", "ceiling", factor=100, decimals=1)
INSIDE = Quantity("attention inside, traced frame, %", "frames", "inside", factor=100, decimals=1)
AREA = Quantity("area of the ventricle, %", "frames", "area", factor=100, decimals=1)
INSIDE_CLIP = Quantity("attention inside, whole clip, %", "frames", "inside_clip", factor=100, decimals=1)
#: Column of the published tables -> phase of the frames.
PHASES = {"dice_ed": "ED", "dice_es": "ES", "dice_overall": ""}


class AttentionOptions(SeedOptions):
    """How many noisy copies are averaged, with how much noise, and how many frames are drawn."""

    copies: Annotated[int, Field(ge=1, le=100)] | None = Field(None, description="a whole number from 1 to 100")
    noise: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="a share of the clip's range, from 0 to 1")
    shown: int = Field(3, ge=1, le=8, description="a whole number from 1 to 8")


def _specs(profile: Profile, options: Options, runs: dict[str, list[RunSpec]], external: bool) -> dict[str, list[AttentionSpec]]:
    changed = {"copies": options.copies or profile.css.copies} | ({} if options.noise is None else {"noise": options.noise})
    data = external_of(profile) if external else data_of(profile)
    return {name: [AttentionSpec(run=run, data=data, studies=profile.css.looked_at, **changed) for run in group]
            for name, group in runs.items()}


def at_home(profile: Profile, options: Options) -> dict[str, list[AttentionSpec]]:
    """The networks of Table I at the base share on the test split, by method, one a seed."""
    if profile.css is None:
        return {}
    share, runs = profile.css.base, {}
    for seed in profile.seeds:
        runs.setdefault(SUPERVISED, []).append(video_only(profile, share, seed))
        for name in profile.css.rivals:
            runs.setdefault(name, []).append(rival(profile, name, share, seed))
        runs.setdefault(OURS, []).append(css_student(profile, share, seed))
    return _specs(profile, options, runs, external=False)


def elsewhere(profile: Profile, options: Options) -> dict[str, list[AttentionSpec]]:
    """On the half cycles: CSS with half of the labels and, in the place of Dai et al., the supervised network with all."""
    if profile.css is None or external_of(profile) is None:
        return {}
    share = more_labels(profile)
    runs = {at(SUPERVISED, "1"): [video_only(profile, "1", seed) for seed in profile.seeds]} if "1" in profile.css.labels else {}
    runs[at(OURS, share)] = [css_student(profile, share, seed) for seed in profile.seeds]
    return _specs(profile, options, runs, external=True)


def more_labels(profile: Profile) -> LabelShare:
    """Half of the labels, or the profile's base share where that is not run."""
    return "1/2" if "1/2" in profile.css.labels else profile.css.base


def of_phase(group: list[Evaluation], phase: str) -> Tables:
    """The frames of one phase, or with "" of both, of every seed."""
    return [{"frames": one.frames[one.frames.phase == phase] if phase else one.frames} for one in group]


def _cells(ledger: Ledger, experiment: Experiment, name: str, group_of: dict[str, str]) -> pd.DataFrame:
    profile = ledger.workspace.profile
    found = {n: ledger.evaluate(specs) for n, specs in experiment.evaluations(profile).items()}
    results = {f"{n} {column}": of_phase(group, phase) for n, group in found.items() for column, phase in PHASES.items()}
    entries = []
    for row in published.load(name).itertuples():
        for column in PHASES:
            group = f"{group_of.get(row.method, row.method)} {column}"
            entries.append(Entry(row.method, column, DICE, getattr(row, column), group=group if group in results else "",
                                 absent=NOT_RUN.get(row.method) or left_out(profile, row.method), other=row.method in NOT_RUN))
    return answered(entries, results, profile)


def home_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell of Table II."""
    return _cells(ledger, TABLE2.turned(options.changed), HERE, {})


def away_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell of Table X."""
    profile = ledger.workspace.profile
    ours = at(OURS, more_labels(profile)) if profile.css is not None and more_labels(profile) == "1/2" else ""
    return _cells(ledger, TABLE10.turned(options.changed), THERE, {OURS: ours})


#: (claim, better, worse).
HOME_CLAIMS = [(f"CSS attends to the ventricle more than {name}", OURS, name) for name in (SUPERVISED, *RIVALS)]
AWAY_CLAIMS = [("CSS with half of the labels attends to the ventricle more than a supervised network with all, on another "
                "hospital's clips", at(OURS, "1/2"), at(SUPERVISED, "1"))]


def home_judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Does CSS look at the ventricle more than each other method?"""
    return _judge(ledger, TABLE2.turned(options.changed), HOME_CLAIMS)


def away_judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Does CSS with half of the labels look at it more than a supervised network with all, on another hospital's clips?"""
    return _judge(ledger, TABLE10.turned(options.changed), AWAY_CLAIMS)


def _judge(ledger: Ledger, experiment: Experiment, claims: list[tuple[str, str, str]]) -> pd.DataFrame:
    profile, out = ledger.workspace.profile, []
    specs, more = experiment.evaluations(profile), experiment.further(profile).evaluations
    for text, better, worse in claims:
        missing = [name for name in (better, worse) if name not in specs]
        if missing:
            verdict = Verdict("not run", left_out(profile, missing[0]))
        else:
            sides = [[e.frames for e in ledger.evaluate(group)] for group in with_further(specs, more, (better, worse)).values()]
            verdict = all_verdict([(f"{better} against {worse}", *sides)], quotable=profile.quotable,
                                  scale=Scale("dice", 100.0, "Dice points of the top pixels"))
        out.append({"claim": text, "status": verdict.status, "why": verdict.why})
    return pd.DataFrame(out, columns=["claim", "status", "why"])


def cases(found: dict[str, list[Evaluation]], count: int) -> list[Case]:
    """Traced frames to draw: the end-diastolic ones of the studies around the median Dice of the supervised network, first
    seed."""
    first = next(iter(found.values()))[0].frames
    table = first[first.phase == "ED"].sort_values(["dice", "study"], kind="stable").reset_index(drop=True)
    start = int(np.clip(len(table) // 2 - count // 2, 0, max(0, len(table) - count)))
    return [(str(row.study), int(row.frame)) for row in table.iloc[start:start + count].itertuples()]


TABLE2 = Experiment(
    id="css_table2", number="Table II", place=5, title="Where networks look", published=HERE, notebook="css_attention",
    evaluations_of=at_home, measure=home_cells, judge=home_judge, headings=headings(PHASES), options=AttentionOptions(),
    compares=lambda profile, options: [frozenset(claim[1:]) for claim in HOME_CLAIMS])
TABLE10 = Experiment(
    id="css_table10", number="Table X", place=5, title="Where networks look on another hospital's clips", published=THERE,
    notebook="css_attention", evaluations_of=elsewhere, measure=away_cells, judge=away_judge, headings=headings(PHASES),
    options=AttentionOptions(), compares=lambda profile, options: [frozenset(claim[1:]) for claim in AWAY_CLAIMS])
FIGURE4 = Experiment(
    id="css_figure4", number="Figure 4", place=5, title="Attention on traced frames", published=HERE, notebook="css_attention",
    evaluations_of=at_home, options=AttentionOptions(), draws="css_table2")
FIGURE8 = Experiment(
    id="css_figure8", number="Figure 8", place=5, title="Attention on another hospital's clips", published=THERE,
    notebook="css_attention", evaluations_of=elsewhere, options=AttentionOptions(), draws="css_table10")

PAGES = (TABLE2, TABLE10, FIGURE4, FIGURE8)
