"""The audit of CSS: what the released program does differently, or the text leaves open, switched one by one.

The base follows the text, and where that is silent the program (see :mod:`echolib.papers.css.runs`). A switch of the segmenter is
judged by the Dice of traced and of other frames, one of the student by the error of the ejection fraction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.kinds.number import NumberSpec
from echolib.evaluation.kinds.video import VideoSpec
from echolib.evaluation.numbers import one_clip_runs
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.pages.quantities import Quantity, estimate
from echolib.pages.verdict import DICE, MIN_SEEDS, SMALL_DICE, Scale, Verdict, order_verdict
from echolib.papers.css.measuring import EF_SCALE, left_out
from echolib.papers.css.phases import WORKING, working
from echolib.papers.css.runs import data_of, multi_input, segmenter, student

SEGMENTER, STUDENT = "segmenter of CSS", "student of CSS"
#: Clips that the paper's five runs may be.
FIVE = 5
NARROWER = "Five clips of one training spread less than trainings do: the paper's sd understates what a new training would give"


@dataclass(frozen=True)
class Switch:
    """One option turned from this book's base.

    Attributes:
        name: as a profile names it.
        row: of the specification's list, for the prose.
        text: what is turned, in a few words.
        student: it changes the student; else the segmenter.
        options: of the recipe.
        positions: unlabelled studies keep the numbers of their traced frames.
    """

    name: str
    row: int
    text: str
    student: bool = False
    options: dict[str, object] = field(default_factory=dict)
    positions: bool = False


SWITCHES = (
    Switch("scale", 3, "features are means, not sums", options={"scale": 1.0}),
    Switch("scale", 3, "features relative to their spread", options={"scale": "spread"}),
    Switch("clips", 2, "clips of unlabelled studies alone (released)", options={"clips": "unlabelled"}),
    Switch("candidates", 4, "11 classes in place of 15 (released)", options={"candidates": "inside"}),
    Switch("traced", 17, "clips that hold a traced frame (released)", student=True, options={"clips": "traced"}, positions=True),
    Switch("start", 15, "student from random weights", student=True, options={"start": "random"}),
    Switch("halved", 16, "unlabelled term halved (released)", student=True, options={"halved": True}))


def switches(profile: Profile) -> tuple[Switch, ...]:
    """Those that the profile turns."""
    return () if profile.css is None else tuple(one for one in SWITCHES if one.name in profile.css.audit)


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs: the base, each switch alone, and a cyclical term that is soft and counts."""
    if profile.css is None:
        return {}
    share = profile.css.base
    base = segmenter(profile, "CSS", share, seed)
    teacher = multi_input(profile, base, share, seed)
    start = "kinetics" if profile.css.kinetics else "random"
    out = {SEGMENTER: base, STUDENT: student(profile, teacher, share, seed),
           "supervised": segmenter(profile, "Supervised", share, seed), WORKING: working(profile, seed)}
    for one in switches(profile):
        asked = one.options | ({"start": start} if one.name == "start" else {})
        out[one.text] = (student(profile, teacher, share, seed, positions=one.positions, **asked) if one.student else
                         segmenter(profile, "CSS", share, seed, **asked))
    return out


def of_segmenter(profile: Profile) -> tuple[str, ...]:
    """The groups of segmenters, the base first."""
    if profile.css is None:
        return ()
    return (SEGMENTER, "supervised", *(one.text for one in switches(profile) if not one.student), WORKING)


def videos(profile: Profile) -> dict[str, list[VideoSpec]]:
    """The segmenters on whole test videos, by group, one a seed."""
    runs = AUDIT.runs(profile)
    return {name: [VideoSpec(run=run, data=data_of(profile)) for run in runs[name]] for name in of_segmenter(profile)}


def clips(profile: Profile) -> list[NumberSpec]:
    """The student on every clip of the test videos, one a seed."""
    return [NumberSpec(run=run, data=data_of(profile), stride=profile.css.stride) for run in AUDIT.runs(profile).get(STUDENT, [])]


def training(ledger: Ledger) -> pd.DataFrame:
    """How each cyclical term behaved while it trained: medians over the steps and seeds.

    Returns:
        Columns ``group``, ``supervised``, ``cyclical`` (losses), ``share`` (weighted cyclical loss over the other),
        ``entropy`` (of the match, as a share of the largest), ``came_round`` (mean), ``gradient_ratio`` (of the weighted
        term's gradient to the other's).
    """
    profile, rows = ledger.workspace.profile, []
    runs = AUDIT.runs(profile)
    for name in of_segmenter(profile):
        if name == "supervised":
            continue
        log = pd.concat([ledger.log(spec) for spec in runs[name]], ignore_index=True)
        weight = runs[name][0].recipe.weight
        rows.append({"group": name, "supervised": log.supervised.median(), "cyclical": log.cyclical.median(),
                     "share": (weight * log.cyclical / log.supervised).median(), "entropy": log.entropy.median(),
                     "came_round": log.came_round.mean(), "gradient_ratio": log.gradient_ratio.median()})
    return pd.DataFrame(rows, columns=["group", "supervised", "cyclical", "share", "entropy", "came_round", "gradient_ratio"])


def effects(ledger: Ledger) -> pd.DataFrame:
    """Every switch against the base: columns ``switch``, ``row``, ``of``, ``base``, ``switched``, ``status``, ``why``.

    Values are means over the seeds: Dice of traced and of other frames in %, error of the ejection fraction in points.
    """
    profile, out = ledger.workspace.profile, []
    if profile.css is None:
        return pd.DataFrame(columns=["switch", "row", "of", "base", "switched", "status", "why"])
    runs, filmed = AUDIT.runs(profile), videos(profile)
    for one in (*switches(profile), Switch("", 0, WORKING)):
        if one.student:
            sides = [[_error(ledger.scores(spec)) for spec in runs[name]] for name in (one.text, STUDENT)]
            out.append(_effect(one, "MAE of the EF, points", sides, EF_SCALE, profile, -1.0))
            continue
        sides = [[ledger.scores(spec) for spec in runs[name]] for name in (one.text, SEGMENTER)]
        out.append(_effect(one, "Dice of traced frames, %", sides, DICE, profile, 100.0))
        sides = [[_untraced(e) for e in ledger.evaluate(filmed[name])] for name in (one.text, SEGMENTER)]
        if all(np.isfinite(t.score).any() for side in sides for t in side):
            scale = Scale("score", 100.0, "Dice points", SMALL_DICE)
            out.append(_effect(one, "Dice of other frames, %", sides, scale, profile, 100.0))
    return pd.DataFrame(out)


def _effect(one: Switch, of: str, sides: list[list[pd.DataFrame]], scale: Scale, profile: Profile, factor: float) -> dict:
    found = order_verdict(*sides, quotable=profile.quotable, scale=scale)
    words = {"holds": "better", "does not hold": "worse", "no difference": "no difference",
             "undecided": "no difference found"}
    decided = profile.quotable and len(profile.seeds) >= MIN_SEEDS
    means = [factor * float(np.mean([t[scale.column].mean() for t in side])) for side in sides]
    return {"switch": one.text, "row": one.row, "of": of, "base": means[1], "switched": means[0],
            "status": words[found.status] if decided else "undecided", "why": found.why}


def _error(table: pd.DataFrame) -> pd.DataFrame:
    return table[["study", "patient"]].assign(frame=0, phase="", score=-(table.predicted_ef - table.ef).abs())


def _untraced(one: Evaluation) -> pd.DataFrame:
    return one.studies[["study", "patient"]].assign(frame=0, phase="", score=one.studies.untraced_dice)


def five_runs(found: list[Evaluation], resamples: int) -> pd.DataFrame:
    """"Mean and standard deviation of five runs", read in two ways, beside an interval over patients.

    Args:
        found: the student on every clip of the test videos, one a seed.
        resamples: of the bootstrap.

    Returns:
        Columns ``reading``, ``mean``, ``sd``, ``low``, ``high`` (points of MAE): five random clips of one training, a row a seed;
        one clip of several trainings; all clips of several trainings with the interval over seeds and patients.
    """
    rows = []
    for one in found:
        values = one_clip_runs(one.tables["studies"], one.tables["clips"], FIVE)
        rows.append({"reading": f"{FIVE} clips of one training, seed {one.record.spec.run.seed}", "mean": values.mean(),
                     "sd": values.std(ddof=1), "low": np.nan, "high": np.nan})
    first = [one_clip_runs(one.tables["studies"], one.tables["clips"], 1)[0] for one in found]
    rows.append({"reading": f"one clip of {len(found)} trainings", "mean": np.mean(first),
                 "sd": np.std(first, ddof=1) if len(first) > 1 else np.nan, "low": np.nan, "high": np.nan})
    whole = estimate([e.tables for e in found], Quantity("MAE", "studies", "predicted_ef", "ef", "mae"), resamples)
    rows.append({"reading": f"all clips averaged, {len(found)} trainings", "mean": whole.value, "sd": whole.spread,
                 "low": whole.low, "high": whole.high})
    return pd.DataFrame(rows)


def narrower(table: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Is the spread over five clips smaller than that over trainings? One claim: claim, status, why."""
    inside = table.sd[table.reading.str.contains("clips of one training")]
    across = float(table.sd[table.reading.str.startswith("one clip of")].iloc[0])
    if not profile.quotable or len(inside) < MIN_SEEDS:
        verdict = Verdict("undecided", "this profile only proves that the path works" if not profile.quotable else
                          f"at least {MIN_SEEDS} seeds are needed")
    else:
        verdict = Verdict("holds" if inside.max() < across else "does not hold",
                          f"{', '.join(f'{v:.2f}' for v in inside)} points over clips, {across:.2f} over trainings")
    return pd.DataFrame([{"claim": NARROWER, "status": verdict.status, "why": verdict.why}])


def judge(ledger: Ledger, options: Options) -> pd.DataFrame:
    """The one claim of the audit."""
    profile = ledger.workspace.profile
    if profile.css is None:
        return pd.DataFrame([{"claim": NARROWER, "status": "not run", "why": left_out(profile, STUDENT)}])
    return narrower(five_runs(ledger.evaluate(clips(profile)), profile.bootstrap), profile)


def _more(profile: Profile, options: Options) -> Needs:
    """Whole videos, clips, and the logs of the segmenters."""
    if profile.css is None:
        return Needs()
    runs, filmed = AUDIT.runs(profile), videos(profile)
    return Needs(evaluations=(*(spec for group in filmed.values() for spec in group), *clips(profile)),
                 logs=tuple(spec for name in of_segmenter(profile) for spec in runs[name]))


AUDIT = Experiment(id="css_audit", number="Audit", place=8, title="What the differences do", notebook="css_audit", groups=groups,
                   more=_more, judge=judge, options=SeedOptions(), prose=("book/css_audit",))

PAGES = (AUDIT,)
