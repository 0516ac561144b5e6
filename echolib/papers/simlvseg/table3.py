"""Table 3: networks trained on EchoNet-Dynamic, tested on CAMUS; which frames a reading takes, the cells and the verdicts.

One evaluation scores every frame of every half cycle (:mod:`echolib.evaluation.half_cycles`). What the paper's text and the
released program do differently (row 11 of the audit) is a :class:`Reading`: which frames are taken, and which interval is made
of them. The text's reading (:data:`TEXT`) makes the cells and the verdicts; the others stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config import Profile, RunSpec
from echolib.data.camus import QUALITIES, VIEWS
from echolib.errors import ConfigError, DataError
from echolib.evaluation.bootstrap import legacy_frame_interval
from echolib.evaluation.half_cycles import Aspect, Padding, scores
from echolib.evaluation.kinds.half_cycle import HalfCycleSpec
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.estimates import cube, resample
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.pages.scorecard import Cell
from echolib.pages.verdict import MIN_SEEDS, Verdict, order_verdict, value_verdict
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.simlvseg.videos import on_test_videos

PUBLISHED = "simlvseg_table3_camus"
#: Column ``frame`` of the published CSV -> (column of the scorecard, phase as here).
COLUMNS = {"overall": ("dsc_overall", "overall"), "middle": ("dsc_middle", "middle"), "es": ("dsc_es", "ES"),
           "ed": ("dsc_ed", "ED")}
#: Column ``ssl`` of the published CSV -> name of the group of runs: those of Table 1, tested on half cycles of another data set.
CAMUS_ROWS = {"no": "3D U-Net, no pre-training", "yes": "SimLVSeg-3D"}
WITHOUT, WITH = CAMUS_ROWS["no"], CAMUS_ROWS["yes"]
#: (statement of the paper, phase, the side that scores higher, the other side).
CLAIMS = (("Pre-training helps out of distribution, over all frames", "overall", WITH, WITHOUT),
          ("Pre-training helps in the middle frame", "middle", WITH, WITHOUT),
          ("Pre-training helps in the ES frame", "ES", WITH, WITHOUT),
          ("In the ED frame pre-training costs Dice", "ED", WITHOUT, WITH))
APART = "The 95 % intervals over all frames, with pre-training and without, do not overlap"


@dataclass(frozen=True)
class Reading:
    """How a table of scored frames becomes one number with an interval.

    Attributes:
        name: in words.
        padding, aspect: see :class:`echolib.evaluation.half_cycles.HalfCycleSpec`.
        quality: image qualities that are used.
        ends: "overall" means the ED and ES frames; else all frames.
        frames: the released program's number: Dice pooled over all frames, 5th and 95th percentile of resampled frames. Else the
            mean over frames and a 95 % interval, patients (and seeds, where there are several) resampled.
        twice: each patient enters the list twice, as in the released program.
    """

    name: str
    padding: Padding = "before"
    aspect: Aspect = "ignored"
    quality: tuple[str, ...] = ("Good", "Medium")
    ends: bool = False
    frames: bool = False
    twice: bool = False


TEXT = Reading("as the text says")
#: The text, one difference at a time, and the program as a whole in both of its scripts.
READINGS = (
    TEXT,
    Reading("overall: ED and ES frames only", ends=True),
    Reading("poor image quality included", quality=QUALITIES),
    Reading("zeros after normalisation", padding="after"),
    Reading("aspect of the frames kept", aspect="kept"),
    Reading("pooled, frames resampled, 5–95 %", frames=True),
    Reading("the same, each patient listed twice", frames=True, twice=True),
    Reading("as the program, all frames", padding="after", quality=QUALITIES, frames=True, twice=True),
    Reading("as the program, ED and ES only", padding="after", quality=QUALITIES, ends=True, frames=True, twice=True),
)


@dataclass(frozen=True)
class Estimate:
    """Dice in % with its interval, and how many frames and patients it rests on (of one seed)."""

    value: float
    low: float
    high: float
    frames: int
    patients: int


@dataclass
class Results:
    """Evaluations by (group of runs, padding, aspect), one for each seed.

    Attributes:
        evaluations: empty where the profile has no CAMUS cohort.
        resamples: of every interval.
        text: the reading that makes the cells and the verdicts.
    """

    evaluations: dict[tuple[str, Padding, Aspect], list[Evaluation]]
    resamples: int = 10_000
    text: Reading = TEXT
    _scores: dict[tuple[str, Padding, Aspect], list[pd.DataFrame]] = field(default_factory=dict, repr=False)

    @property
    def all(self) -> list[Evaluation]:
        """Every evaluation once."""
        return [e for group in self.evaluations.values() for e in group]

    def tables(self, group: str, reading: Reading | None = None, phase: str = "overall") -> list[pd.DataFrame]:
        """The scored frames of a reading, or of the text's (columns of :func:`half_cycles.scores`), one table a seed."""
        reading = reading or self.text
        key = group, reading.padding, reading.aspect
        if key not in self._scores:
            self._scores[key] = [scores(e.studies, e.frames) for e in self.evaluations[key]]
        return [chosen(table, reading, phase) for table in self._scores[key]]


class Table3Options(SeedOptions):
    """Which half cycles are tested (views, image qualities), and what fills up a short clip in the text's reading."""

    views: tuple[Literal[VIEWS], ...] | None = Field(None, description=f"a list of different views: {', '.join(VIEWS)}")
    qualities: tuple[Literal[QUALITIES], ...] | None = Field(
        None, description=f"a list of different image qualities: {', '.join(QUALITIES)}")
    padding: Padding | None = Field(None, description=f"one of {', '.join(get_args(Padding))}")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other views of its CAMUS cohort."""
        profile = super().applied(profile)
        if self.views is None or profile.camus is None:
            return profile
        return profile.model_copy(update={"camus": profile.camus.model_copy(update={"views": self.views})})


def text_of(options: Options) -> Reading:
    """The text's reading, with a reader's values."""
    return replace(TEXT, quality=options.qualities or TEXT.quality, padding=options.padding or TEXT.padding)


def readings_of(text: Reading) -> tuple[Reading, ...]:
    """Every reading of the page, the text's first."""
    return (text, *READINGS[1:])


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs: those of Table 1 with pre-training and without."""
    if profile.camus is None:
        return {}
    return {name: segment_run(profile, "unet3d", seed=seed, pretrained=ssl == "yes") for ssl, name in CAMUS_ROWS.items()}


def _specs(profile: Profile, options: Options) -> dict[tuple[str, Padding, Aspect], list[HalfCycleSpec]]:
    """Every evaluation of the page: each run as often as the readings have ways to prepare a clip."""
    ways = dict.fromkeys((r.padding, r.aspect) for r in readings_of(text_of(options)))
    runs = [groups(profile, seed, options) for seed in profile.seeds]
    return {(group, padding, aspect): [HalfCycleSpec(run=of[group], data=profile.camus, padding=padding, aspect=aspect)
                                       for of in runs] for group in runs[0] for padding, aspect in ways}


def load(ledger: Ledger, options: Options) -> Results:
    """All evaluations of the page, computed where they are missing."""
    profile = ledger.workspace.profile
    return Results({key: ledger.evaluate(specs) for key, specs in _specs(profile, options).items()}, profile.bootstrap,
                   text_of(options))


def runs_of(profile: Profile, options: Options) -> list[RunSpec]:
    """The runs that are tested."""
    found = [groups(profile, seed, options) for seed in profile.seeds]
    return [of[name] for name in found[0] for of in found]


def chosen(table: pd.DataFrame, reading: Reading, phase: str = "overall") -> pd.DataFrame:
    """The frames of a reading.

    Args:
        table: from :func:`half_cycles.scores`.
        reading: which image qualities; with ``twice``, every frame is there twice.
        phase: ``ED``, ``ES``, ``middle``; or ``overall``: all frames, or with ``reading.ends`` those of ED and ES.

    Raises:
        DataError: no frame is left.
    """
    wanted = [phase] if phase != "overall" else ["ED", "ES"] if reading.ends else ["ED", "ES", "middle", "other"]
    part = table[table.quality.isin(reading.quality) & table.phase.isin(wanted)]
    if part.empty:
        raise DataError("no frame is left to score", value=f"quality {', '.join(reading.quality)}; frames {', '.join(wanted)}",
                        expected=f"some of the qualities {', '.join(sorted(set(table.quality)))}")
    return pd.concat([part, part], ignore_index=True) if reading.twice else part


def estimates(results: Results, reading: Reading | None = None, phase: str = "overall") -> dict[str, Estimate]:
    """Dice of both groups under a reading, and ``gain``: pre-trained minus not, in Dice points.

    The gain's interval comes from the same resamples of patients and seeds as the two values; for the program's interval it
    is not defined (NaN).
    """
    reading = reading or results.text
    tables = {group: results.tables(group, reading, phase) for group in (WITHOUT, WITH)}
    first = tables[WITHOUT][0]
    about = len(first), first.patient.nunique()
    if reading.frames:
        out = {}
        for group, seeds in tables.items():
            found = [legacy_frame_interval(table, resamples=results.resamples) for table in seeds]
            ends = np.mean([(i.mean, i.low, i.high) for i in found], axis=0)
            out[group] = Estimate(*map(float, 100 * ends), *about)
        return out | {"gain": Estimate(out[WITH].value - out[WITHOUT].value, np.nan, np.nan, *about)}
    data = cube(tables)
    means, drawn = 100 * (data.sums.sum(2) / data.frames.sum()).mean(1), resample(data, results.resamples)
    sides = {WITHOUT: (means[0], drawn[0]), WITH: (means[1], drawn[1]), "gain": (means[1] - means[0], drawn[1] - drawn[0])}
    return {name: Estimate(float(v), *map(float, np.quantile(d, (0.025, 0.975))), *about) for name, (v, d) in sides.items()}


def absent(ledger: Ledger) -> str:
    """Why there is nothing to test on, "" where there is: no cohort in the profile, or the real one is not named."""
    profile = ledger.workspace.profile
    if profile.camus is None:
        return f"profile {profile.name!r} has no CAMUS cohort"
    try:
        ledger.workspace.cohort_dir(profile.camus)
    except ConfigError as error:
        return str(error)
    return ""


def cells(results: Results, profile: Profile, missing: str = "") -> pd.DataFrame:
    """The published cells beside ours, Dice in %; columns as :class:`~echolib.pages.scorecard.Cell`.

    Without an evaluation, ``missing`` says why there is none.
    """
    ours = {phase: estimates(results, phase=phase) for _, phase in COLUMNS.values()} if results.evaluations else {}
    out = []
    for entry in published.load(PUBLISHED).to_dict("records"):
        (column, phase), group = COLUMNS[entry["frame"]], CAMUS_ROWS[entry["ssl"]]
        printed = tuple(100 * entry[k] for k in ("dsc", "lo", "hi"))
        here = ours[phase][group] if ours else Estimate(np.nan, np.nan, np.nan, 0, 0)
        verdict = _cell_verdict(printed, here, profile) if ours else Verdict("not run", missing)
        out.append(Cell(group, column, *printed, here.value, here.low, here.high, verdict.status, verdict.why))
    return pd.DataFrame(out)


def _cell_verdict(printed: tuple[float, float, float], ours: Estimate, profile: Profile) -> Verdict:
    if profile.camus.phantom is not None or profile.echonet.phantom is not None:
        return Verdict("awaiting data", "published on CAMUS, ours on phantoms: not the same experiment")
    return value_verdict(printed, (ours.value, ours.low, ours.high), seeds=len(profile.seeds), quotable=profile.quotable)


def claims(results: Results, profile: Profile, missing: str = "") -> pd.DataFrame:
    """Each claim with its verdict under the text's reading: columns claim, status, why. ``missing`` as in :func:`cells`."""
    rows = []
    for text, phase, better, worse in CLAIMS:
        if results.evaluations:
            verdict = order_verdict(results.tables(better, phase=phase), results.tables(worse, phase=phase),
                                    quotable=profile.quotable)
        else:
            verdict = Verdict("not run", missing)
        rows.append({"claim": text, "status": verdict.status, "why": verdict.why})
        if phase == "overall":
            apart = apart_verdict(estimates(results), profile) if results.evaluations else verdict
            rows.append({"claim": APART, "status": apart.status, "why": apart.why})
    return pd.DataFrame(rows)


def apart_verdict(found: dict[str, Estimate], profile: Profile) -> Verdict:
    """Do the intervals of the two groups lie apart, the pre-trained one above? A statement about intervals is settled by them."""
    low, high = found[WITHOUT], found[WITH]
    seen = f"{low.low:.2f}–{low.high:.2f} without, {high.low:.2f}–{high.high:.2f} with pre-training"
    if not profile.quotable or len(profile.seeds) < MIN_SEEDS:
        return Verdict("undecided", f"{seen}; " + ("this profile only proves that the path works" if not profile.quotable else
                                                   f"at least {MIN_SEEDS} seeds are needed"))
    return Verdict("holds" if low.high < high.low else "does not hold",
                   f"{seen}; {len(profile.seeds)} seeds, {low.patients} patients")


def measured_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """:func:`cells` from the ledger's evaluations, for the scorecard."""
    missing = absent(ledger)
    return cells(Results({}) if missing else load(ledger, options), ledger.workspace.profile, missing)


def judged_claims(ledger: Ledger, options: Options) -> pd.DataFrame:
    """:func:`claims` from the ledger's evaluations, for the scorecard."""
    missing = absent(ledger)
    return claims(Results({}) if missing else load(ledger, options), ledger.workspace.profile, missing)


def shifted(profile: Profile, options: Options) -> tuple[VideoSpec, HalfCycleSpec]:
    """The evaluations of which ``table3_drawing.shift_figure`` shows a clip each: the pre-trained network of the first seed on
    whole videos like those it learnt from, and on half cycles as the text reads."""
    run, text = groups(profile, profile.seeds[0], options)[WITH], text_of(options)
    return on_test_videos(profile, run), HalfCycleSpec(run=run, data=profile.camus, padding=text.padding, aspect=text.aspect)


def _more(profile: Profile, options: Options) -> Needs:
    if profile.camus is None:
        return Needs()
    needed = [spec for specs in _specs(profile, options).values() for spec in specs]
    return Needs(evaluations=(*needed, *shifted(profile, options)))


TABLE3 = Experiment(
    id="simlvseg_table3", number="Table 3", place=9, title="Out of distribution: CAMUS", published=PUBLISHED,
    notebook="simlvseg_table3", options=Table3Options(), groups=groups, measure=measured_cells, judge=judged_claims, more=_more)

PAGES = (TABLE3,)
