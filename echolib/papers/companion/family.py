"""All methods of the four papers on one cohort, one split, one budget of training and one test."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from echolib.config.profile import Profile
from echolib.config.specs import DataSpec, RunSpec
from echolib.evaluation.complexity import Complexity
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.estimates import cube, resample
from echolib.pages.experiment import Experiment, Groups, Needs, Options, SeedOptions
from echolib.pages.quantities import Estimate, Quantity, Tables, estimate
from echolib.pages.timing import Pass, Timing, counted, timed
from echolib.pages.verdict import Verdict, order_verdict
from echolib.papers.companion.methods import METHODS, Method, methods_of, run_of
from echolib.papers.simlvseg.videos import on_videos

NAMES = tuple(m.name for m in METHODS)
#: The test videos that the methods have in common, and the CAMUS-like half cycles.
ORDINARY, CAMUS = "ordinary", "camus"
WORDS = {ORDINARY: "ordinary videos", "poor_quality": "poor quality", "foreshortening": "foreshortening", "effusion": "effusion",
         "arrhythmia": "arrhythmia", CAMUS: "CAMUS-like"}
#: Frames of the counts, px.
COUNTED_PX = 112
#: Where a claim is judged: on the frames that the papers score, and on all of whole videos.
PLACES = ("traced frames", "all frames")
#: Columns of the table: name, and how it is measured; ``frames`` are the runs' traced test frames.
MEASURES = {
    "traced": Quantity("Dice, traced frames, %", "frames", "dice", factor=100),
    "hd95": Quantity("HD95, px", "frames", "hd95_px"),
    "all": Quantity("Dice, all frames, %", "studies", "dice", factor=100),
    "worst": Quantity("Dice, worst frame, %", "studies", "worst_dice", factor=100),
    "flicker": Quantity("Flicker, dB", "studies", "flicker_db", decimals=1),
    "ef": Quantity("EF error by disks, points", "studies", "ef_gap", decimals=1),
    "lost": Quantity("Without a beat, %", "studies", "no_ef", factor=100, decimals=0)}


class FamilyOptions(SeedOptions):
    """Which methods are compared."""

    methods: tuple[Literal[NAMES], ...] | None = Field(None, description=f"a list of different methods: {'; '.join(NAMES)}")

    def applied(self, profile: Profile) -> Profile:
        """The profile with fewer methods."""
        profile = super().applied(profile)
        if self.methods is None or profile.family is None:
            return profile
        return profile.model_copy(update={"family": profile.family.model_copy(update={"methods": self.methods})})


def groups(profile: Profile, seed: int, options: Options) -> Groups:
    """One seed's runs by method."""
    return {m.name: run_of(profile, m, seed) for m in methods_of(options.applied(profile))}


def cohorts(profile: Profile) -> dict[str, tuple[DataSpec, int | None]]:
    """The cohorts that every method is tested on: data, and how many studies of it."""
    if profile.family is None:
        return {}
    out = {ORDINARY: (profile.echonet, profile.probe.videos)}
    out |= {preset: (profile.probe_data(preset), None) for preset in profile.family.presets}
    return out | ({CAMUS: (profile.camus, None)} if profile.camus is not None else {})


def specs(profile: Profile, options: Options) -> dict[str, dict[str, list[VideoSpec]]]:
    """Whole videos by cohort and method, one a seed."""
    runs = [groups(profile, seed, options) for seed in profile.seeds]
    return {cohort: {name: on_videos([of[name] for of in runs], data, studies) for name in (runs[0] if runs else ())}
            for cohort, (data, studies) in cohorts(profile).items()}


@dataclass
class Family:
    """Everything that the page shows.

    Attributes:
        scores: traced test frames of every run, by method, one a seed.
        videos: evaluations by cohort and method, one a seed.
        counts, times: at full width, by method.
        seconds: of training, by method, one a seed; with what the run builds on.
        resamples: of every interval.
    """

    scores: dict[str, list[pd.DataFrame]]
    videos: dict[str, dict[str, list[Evaluation]]]
    counts: dict[str, Complexity]
    times: dict[str, Timing]
    seconds: dict[str, list[float]]
    resamples: int

    @property
    def names(self) -> list[str]:
        """The methods, in the order of the table."""
        return list(self.scores)

    def tables(self, name: str, cohort: str = ORDINARY) -> Tables:
        """A method's tables on a cohort, one a seed."""
        out = []
        for scores, one in zip(self.scores[name], self.videos[cohort][name], strict=True):
            studies = one.studies
            energy = studies.flicker.astype(float)
            studies = studies.assign(flicker_db=10 * np.log10(energy.where(energy > 0)),
                                     ef_gap=(studies.ef - studies.exact_ef).abs(), no_ef=studies.ef.isna().astype(float),
                                     dice=studies.dice.fillna(studies.traced_dice))
            out.append({"frames": scores, "studies": studies})
        return out


def load(ledger: Ledger, options: Options) -> Family:
    """All of it, computed where it is missing."""
    profile = ledger.workspace.profile
    runs = {name: [groups(profile, seed, options)[name] for seed in profile.seeds]
            for name in groups(profile, profile.seeds[0], options)}
    seconds = {name: [sum(r.train_seconds for r in ledger.require([*one.parents.values(), one])) for one in each]
               for name, each in runs.items()}
    videos = {cohort: {name: ledger.evaluate(each) for name, each in by.items()}
              for cohort, by in specs(profile, options).items()}
    found = [m for m in METHODS if m.name in runs]
    return Family({name: [ledger.scores(spec) for spec in each] for name, each in runs.items()}, videos, counts(ledger, found),
                  page_times(ledger, options), seconds, profile.bootstrap)


def counts(ledger: Ledger, found: Iterable[Method]) -> dict[str, Complexity]:
    """Parameters and operations at full width on frames of 112 px."""
    return counted(ledger.workspace, [Pass(m.name, m.model, m.frames, COUNTED_PX, m.options, built=m.built,
                                           counted=1 if m.built else None) for m in found])


def times(ledger: Ledger, found: Iterable[Method]) -> dict[str, Timing]:
    """Time of a pass at full width, all networks side by side; methods with one network share its time."""
    px, device = ledger.workspace.profile.family.timed_px, "cuda" if torch.cuda.is_available() else "cpu"
    passes = {m.name: Pass(f"{m.model} {sorted(m.options.items())}", m.model, m.frames, px, m.options, built=m.built)
              for m in found}
    clock = timed(ledger.workspace, {one.name: one for one in passes.values()}.values(), device=device)
    return {name: clock[one.name] for name, one in passes.items()}


def page_times(ledger: Ledger, options: Options) -> dict[str, Timing]:
    """:func:`times` of the methods that the page compares."""
    found = methods_of(options.applied(ledger.workspace.profile))
    return times(ledger, found) if found else {}


def table(family: Family) -> pd.DataFrame:
    """Every measure of every method: columns method, measure, estimate; measures of :data:`MEASURES`, then Dice on each other
    cohort by its name."""
    rows = []
    for name in family.names:
        ordinary = family.tables(name)
        rows += [(name, key, estimate(ordinary, q, family.resamples)) for key, q in MEASURES.items()]
        rows += [(name, cohort, estimate(family.tables(name, cohort), MEASURES["all"], family.resamples))
                 for cohort in family.videos if cohort != ORDINARY]
    return pd.DataFrame(rows, columns=["method", "measure", "estimate"])


def chance_of_best(family: Family) -> pd.Series:
    """How often each method has the highest Dice over all frames of ordinary videos, seeds and patients resampled together."""
    drawn = resample(cube({name: [t["studies"] for t in family.tables(name)] for name in family.names}), family.resamples)
    top = drawn == drawn.max(0)
    return pd.Series((top / top.sum(0)).mean(1), index=family.names)


def claims() -> list[tuple[str, str, str, str]]:
    """(paper, statement, better, worse) of every claim that a paper makes about two of the methods here."""
    out = [(m.paper, f"{m.name} beats {other}", m.name, other) for m in METHODS for other in m.beats]
    return out + [(m.paper, f"its self- or semi-supervision helps {m.name}", m.name, m.plain) for m in METHODS if m.plain]


def comparisons(names: Iterable[str]) -> int:
    """How many comparisons the claims about some methods ask for."""
    return len(PLACES) * sum({better, worse} <= set(names) for _, _, better, worse in claims())


def judge(family: Family, profile: Profile) -> pd.DataFrame:
    """Every claim on the traced frames, which the papers score, and on all frames of whole videos.

    Returns:
        Columns paper, claim, on, status, why. Each test is at 0.05 divided by the number of comparisons of the page.
    """
    alpha, rows = 0.05 / max(1, comparisons(family.names)), []
    for paper, text, better, worse in claims():
        for where in PLACES:
            if not {better, worse} <= set(family.names):
                lacking = next(name for name in (better, worse) if name not in family.names)
                verdict = Verdict("not run", f"profile {profile.name!r} does not run {lacking}")
            else:
                sides = [_scores(family, name, where) for name in (better, worse)]
                verdict = order_verdict(*sides, quotable=profile.quotable, alpha=alpha)
            rows.append((paper, text, where, verdict.status, verdict.why))
    return pd.DataFrame(rows, columns=["paper", "claim", "on", "status", "why"])


def _scores(family: Family, name: str, where: str) -> list[pd.DataFrame]:
    if where == "traced frames":
        return family.scores[name]
    return [t["studies"][["study", "patient", "dice"]].assign(frame=0, phase="") for t in family.tables(name)]


def judged(ledger: Ledger, options: Options) -> pd.DataFrame:
    """:func:`judge` for the scorecard: columns claim, status, why."""
    found = judge(load(ledger, options), ledger.workspace.profile)
    return found.assign(claim=found.paper + ": " + found.claim + ", " + found.on)[["claim", "status", "why"]]


def best_of(family: Family) -> dict[str, tuple[str, Estimate]]:
    """By measure the method with the best mean; of distances, flicker and errors the smallest."""
    found, out = table(family), {}
    for measure, part in found.groupby("measure", sort=False):
        known = [(r.method, r.estimate) for r in part.itertuples() if np.isfinite(r.estimate.value)]
        if known:
            smallest = measure in ("hd95", "flicker", "ef", "lost")
            out[measure] = (min if smallest else max)(known, key=lambda pair: pair[1].value)
    return out


def quote(ledger: Ledger, options: Options) -> str:
    """What the front page says of it."""
    profile = ledger.workspace.profile
    if not methods_of(profile):
        return ""
    family = load(ledger, options)
    best, chance = best_of(family), chance_of_best(family).sort_values(ascending=False)
    name, one = best["all"]
    verdicts = judge(family, profile).status.value_counts()
    words = ", ".join(f"{count} {status}" for status, count in verdicts.items())
    seeds = f"{len(profile.seeds)} seed{'s' * (len(profile.seeds) > 1)}"
    patients = family.scores[name][0].patient.nunique()
    warning = "" if profile.quotable else "This profile only proves that the path works; its numbers are no results. "
    return (f"<p>{warning}{len(family.names)} methods of the papers, trained on one cohort with one budget ({seeds}) and tested "
            f"on the same {patients} patients. {html.escape(name)} has the highest Dice over all frames of whole videos, "
            f"{one.value:.2f} % ({one.low:.2f}–{one.high:.2f}), and is the best in {100 * chance[name]:.0f} % of the "
            f"resamples. The papers' claims that one beats another, each on traced frames and on all: {words}. See "
            '<a href="../notebooks/family.html">All methods on the same footing</a>.</p>')


def needed(profile: Profile, options: Options) -> Needs:
    """What the pages ask for beside their own runs."""
    videos = tuple(spec for by in specs(profile, options).values() for each in by.values() for spec in each)
    parents = tuple(parent for seed in profile.seeds for run in groups(profile, seed, options).values()
                    for parent in run.parents.values())
    return Needs(runs=parents, evaluations=videos)


def runs_of(profile: Profile, options: Options) -> list[RunSpec]:
    """Every run of the page."""
    return [run for seed in profile.seeds for run in groups(profile, seed, options).values()]


FAMILY = Experiment(id="family", number="Family", title="All methods on the same footing", place=0, notebook="family",
                    groups=groups, judge=judged, more=needed, quote=quote, options=FamilyOptions(), times=page_times)

PAGES = (FAMILY,)
