"""Figures 5 and A2, and what the paper could not know: is the matched phase the true one, in sinus rhythm and in arrhythmia?"""

from __future__ import annotations

from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from echolib.config.profile import Profile
from echolib.config.specs import DataSpec, PhantomSpec, RunSpec
from echolib.errors import ConfigError
from echolib.evaluation.kinds.cycle import CycleSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions, with_further
from echolib.pages.quantities import Quantity
from echolib.pages.verdict import Scale, Verdict, all_verdict
from echolib.papers.css.measuring import left_out
from echolib.papers.css.runs import data_of, segmenter
from echolib.papers.css.segmenters import segmenters

PIXELS = "no network: pixels"
#: % of a beat within which two errors count as equal: half the time between two frames of the clip, period 3 of 50 Hz at 72 beats
#: a minute. A match that is nearer than that takes the same frame. A convention of this book.
SMALL = 100 * 0.5 * 3 / 50 * 72 / 60
RHYTHMS = ("sinus", "arrhythmia")
#: What is measured of every segmenter: errors in beats, a quarter where the match is blind.
QUANTITIES = {
    "error": Quantity("error of the likeliest match, beats", "studies", "error", decimals=3),
    "soft_error": Quantity("error of the soft match, beats", "studies", "soft_error", decimals=3),
    "entropy": Quantity("entropy of the match", "studies", "entropy", decimals=2),
    "came_round": Quantity("came round, %", "studies", "came_round", factor=100, decimals=1),
    "phase_correlation": Quantity("correlation with the phase", "studies", "phase_correlation", decimals=2)}


#: A cyclical term whose match is soft and whose gradient counts, see the audit.
WORKING = "CSS, soft and weighted"
#: Weight with which the term's gradient is some tenths of the other's; its size was measured on this book's phantoms.
WORKING_WEIGHT = 100.0


def working(profile: Profile, seed: int) -> RunSpec:
    """A segmenter trained with a cyclical term that is neither one-hot, nor blind, nor without weight."""
    return segmenter(profile, "CSS", profile.css.base, seed, scale="spread", weight=WORKING_WEIGHT)


class PhaseOptions(SeedOptions):
    """How the match is scaled, and how many studies are drawn."""

    temperature: float = Field(10.0, gt=0, description="a number above 0")
    scale: Annotated[float, Field(gt=0)] | Literal["spread"] = Field("spread", description='a number above 0, or "spread"')
    drawn: int = Field(6, ge=2, le=12, description="a whole number from 2 to 12")


def arrhythmic(profile: Profile) -> DataSpec:
    """Test videos with an irregular rhythm, as long as those that the networks were trained on."""
    main = data_of(profile)
    frames = profile.probe.frames if main.phantom is None else main.phantom.frames
    phantom = PhantomSpec(preset="arrhythmia", train=0, val=0, test=profile.probe.studies, seed=profile.probe.seed, frames=frames)
    return main.model_copy(update={"phantom": phantom})


def evaluations(profile: Profile, options: Options) -> dict[str, list[CycleSpec]]:
    """Every segmenter and rhythm by name, one a seed. None of real data, whose true phases nobody knows."""
    if profile.css is None or data_of(profile).phantom is None:
        return {}
    size, out = profile.css, {}
    how = dict(frames=size.cycle.frames, period=size.cycle.period, template=size.template, studies=size.followed,
               temperature=options.temperature, scale=options.scale, drawn=options.drawn)
    for rhythm, data in (("sinus", data_of(profile)), ("arrhythmia", arrhythmic(profile))):
        for seed in profile.seeds:
            for name, run in (segmenters(profile, seed) | {WORKING: working(profile, seed)}).items():
                out.setdefault(of(name, rhythm), []).append(CycleSpec(run=run, data=data, **how))
    return out


def pixels(profile: Profile, options: Options) -> dict[str, CycleSpec]:
    """The same match on the pixels themselves, by rhythm."""
    found = evaluations(profile, options)
    return {rhythm: found[of("Supervised", rhythm)][0].model_copy(update={"run": None}) for rhythm in RHYTHMS} if found else {}


def of(method: str, rhythm: str) -> str:
    """The group of a segmenter on a rhythm."""
    return f"{method}, {rhythm}"


def load(ledger: Ledger, options: Options) -> dict[str, list[Evaluation]]:
    """All evaluations of the page, the pixels among them."""
    profile = ledger.workspace.profile
    found = {name: ledger.evaluate(specs) for name, specs in evaluations(profile, options).items()}
    return {of(PIXELS, rhythm): ledger.evaluate([spec]) for rhythm, spec in pixels(profile, options).items()} | found


def claims() -> list[tuple[str, str, str]]:
    """(claim, better, worse)."""
    return [*((f"Training by the cycle brings the matched phase nearer to the true one, {rhythm}", of("CSS", rhythm),
               of("Supervised", rhythm)) for rhythm in RHYTHMS),
            *((f"So does a soft match whose gradient counts, {rhythm}", of(WORKING, rhythm), of("Supervised", rhythm))
              for rhythm in RHYTHMS)]


def judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Does training by the cycle bring the matched phase nearer to the true one, in sinus rhythm and in arrhythmia?"""
    profile, out = ledger.workspace.profile, []
    specs, more = evaluations(profile, options), PHASES.turned(options.changed).further(profile).evaluations
    for text, better, worse in claims():
        missing = [name for name in (better, worse) if name not in specs]
        if missing:
            verdict = Verdict("not run", left_out(profile, missing[0]) if profile.css is None or data_of(profile).phantom
                              else "the true phase of a real heart is not known")
        else:
            groups = with_further(specs, more, (better, worse))
            sides = [[_scores(one) for one in ledger.evaluate(group)] for group in groups.values()]
            verdict = all_verdict([(f"{better} against {worse}", *sides)], quotable=profile.quotable,
                                  scale=Scale("score", 100.0, "% of a beat", SMALL))
        out.append({"claim": text, "status": verdict.status, "why": verdict.why})
    return pd.DataFrame(out, columns=["claim", "status", "why"])


def _scores(one: Evaluation) -> pd.DataFrame:
    return one.studies[["study", "patient"]].assign(frame=0, phase="", score=-one.studies.error)


def drawable(ledger: Ledger, options: Options) -> None:
    """ConfigError where a reader asks for values and the profile's data have no true phases."""
    profile = ledger.workspace.profile
    if options.changed.keys() - {"seeds"} and profile.css is not None and data_of(profile).phantom is None:
        raise ConfigError(f"css_phases: profile {profile.name!r} reads real data, whose true phases nobody knows; expected a "
                          "profile of phantoms")


PHASES = Experiment(
    id="css_phases", number="Matched phases", place=7, title="Is the matched phase the true phase?", notebook="css_phases",
    evaluations_of=evaluations, judge=judge, inspect=drawable, options=PhaseOptions(),
    compares=lambda profile, options: [frozenset(claim[1:]) for claim in claims()],
    more=lambda profile, options: Needs(evaluations=tuple(pixels(profile, options).values())))
FIGURE5 = Experiment(
    id="css_figure5", number="Figure 5", place=7, title="Features of frames in the plane", notebook="css_phases",
    evaluations_of=evaluations, options=PhaseOptions())
FIGURE_A2 = Experiment(
    id="css_figureA2", number="Figure A2", place=7, title="Distance between frames", notebook="css_phases",
    evaluations_of=evaluations, options=PhaseOptions())

PAGES = (PHASES, FIGURE5, FIGURE_A2)
