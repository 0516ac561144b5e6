"""The page of Figure 9: how steady the area curves of whole videos are, how right they are, and one clip to look at."""

from __future__ import annotations

import html
import math
from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import HTML
from pydantic import Field

from echolib.config import Profile
from echolib.errors import ConfigError, DataError
from echolib.evaluation.bootstrap import paired_test, patient_interval
from echolib.evaluation.consistency import FLICKER_HZ
from echolib.evaluation.evaluation import Case
from echolib.evaluation.kinds.video import VideoSpec
from echolib.evaluation.whole_video import flicker
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Measure, Needs, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.papers.simlvseg import windows
from echolib.papers.simlvseg.figure6 import FRAMEWISE
from echolib.papers.simlvseg.table1 import TABLE1, UNTRAINED
from echolib.papers.simlvseg.tables import label_of, pooled
from echolib.papers.simlvseg.videos import on_videos

#: The three networks of the paper's figure, in its order.
DRAWN = (FRAMEWISE, UNTRAINED, "SimLVSeg-3D")
#: Frames that are shown of the chosen clip.
SHOWN = 5
#: Column of the studies -> (heading, unit). Flicker is shown as an rms, the square root of the energy.
MEASURES = {"flicker": ("Flicker, % of the mean area", "%"), "area_rmse": ("Error of the area, % of the ED area", "%"),
            "slope_rmse": ("Error of its slope, % of the ED area per second", "%/s")}
Groups = dict[str, list[Evaluation]]
#: Energy of the area curve above the heart beat's frequencies, see ``evaluation.consistency``.
FLICKER = Measure("flicker", "dB less high-frequency energy", decibels=True, less=True)


class Figure9Options(SeedOptions):
    """The study that is drawn, and the frequency above which an area curve is flicker."""

    study: str | None = Field(None, min_length=1, description="the name of a test video")
    cutoff_hz: float | None = Field(None, gt=0, le=25, description="a frequency above 0 Hz, up to 25 Hz")


def cutoff_of(options: Options) -> float:
    """The frequency above which an area curve is flicker, Hz."""
    return options.cutoff_hz or FLICKER_HZ


def needed(profile: Profile, options: Options) -> dict[str, list[VideoSpec]]:
    """Evaluations by network, one a seed: the test videos that the page on the ejection fraction takes as well."""
    runs = {label_of(name): specs for name, specs in TABLE1.runs(profile).items()}
    order = [*(n for n in runs if n not in DRAWN), *DRAWN]
    return {name: on_videos(runs[name], profile.echonet, profile.probe.videos) for name in order}


def load(ledger: Ledger, options: Options) -> Groups:
    """All evaluations of the page, computed where they are missing, with flicker above the options' frequency."""
    return {name: [adjusted(ledger, one, options) for one in ledger.evaluate(specs)]
            for name, specs in needed(ledger.workspace.profile, options).items()}


def adjusted(ledger: Ledger, evaluation: Evaluation, options: Options) -> Evaluation:
    """An evaluation with flicker above the options' frequency; raises as :func:`above`."""
    cutoff = cutoff_of(options)
    return evaluation if cutoff == FLICKER_HZ else above(evaluation, cutoff)


def known_study(ledger: Ledger, options: Options) -> None:
    """Hold the name of the study that is to be drawn against the test videos.

    Raises:
        ConfigError: there is no such study.
    """
    if options.study is None:
        return
    profile = ledger.workspace.profile
    spec = needed(profile, options)[FRAMEWISE][0]
    if ledger.evaluations.find(spec).record is not None:
        names = sorted(ledger.evaluate([spec])[0].studies.study)
    else:
        studies = ledger.store.studies
        names = sorted(studies.index[studies.split == spec.split])[:spec.studies]
    if options.study not in names:
        raise ConfigError(f"simlvseg_figure9: parameter 'study' takes the name of a test video of profile {profile.name!r}, "
                          f"such as {', '.join(names[:3])}; not {options.study!r}")


def above(evaluation: Evaluation, cutoff_hz: float) -> Evaluation:
    """The evaluation with the flicker of its area curves above another frequency; nothing is segmented again.

    Raises:
        RecordError: it was committed without its area curves.
    """
    curves = dict(tuple(evaluation.bulk("areas").groupby("study")))
    studies = evaluation.studies.assign(recorded_flicker=evaluation.studies.flicker)
    for column, area in (("flicker", "area_px"), ("exact_flicker", "exact_area_px")):
        studies[column] = [_flicker(curves[s][area], rate, cutoff_hz) for s, rate in zip(studies.study, studies.fps, strict=True)]
    return replace(evaluation, tables=evaluation.tables | {"studies": studies})


def _flicker(area: pd.Series, fps: float, cutoff_hz: float) -> float:
    return flicker(area.to_numpy(float), float(fps), cutoff_hz) if area.notna().all() else np.nan


def choose(groups: Groups, asked: str | None = None) -> str:
    """The study to look at: the one that was asked for, else, of the quarter whose mitral valve is least clear, the one on which
    the frame-wise network flickers most (over all seeds). The clearness is measured on the image and the tracing; SimLVSeg has
    no say, and a reader's cut-off changes nothing about the choice.

    Raises:
        DataError: no study has a valve contrast.
    """
    if asked is not None:
        return asked
    column = "recorded_flicker" if "recorded_flicker" in groups[FRAMEWISE][0].studies else "flicker"
    table = pooled(groups[FRAMEWISE], "studies").groupby("study")[["valve_contrast", column]].mean()
    known = table.valve_contrast.dropna().sort_values(kind="stable")
    if known.empty:
        raise DataError("no study has a tracing by which to find its mitral valve")
    unclear = table.loc[known.index[:math.ceil(len(known) / 4)], column]
    return str(unclear.fillna(-1.0).idxmax())


def cases(groups: Groups, study: str) -> list[Case]:
    """Consecutive frames of the chosen study around the one at which the frame-wise network's area jumps most (first seed)."""
    row = groups[FRAMEWISE][0].studies.set_index("study").loc[study]
    first = int(np.clip(row.jump_frame - SHOWN // 2, 0, max(0, row.frames - SHOWN)))
    return [(study, frame) for frame in range(first, min(first + SHOWN, int(row.frames)))]


def flicker_percent(evaluation: Evaluation, study: str) -> float:
    """Flicker of one study, rms in % of its mean area; NaN where nothing was outlined."""
    return float(shown(score(evaluation.studies.set_index("study").flicker, "flicker")[study], "flicker"))


def cohort_table(groups: Groups, resamples: int) -> pd.DataFrame:
    """Mean of each measure over studies and seeds with its 95 % interval (patients resampled).

    Returns:
        Columns ``network``, ``measure`` (of :data:`MEASURES`), ``value``, ``low``, ``high``, ``studies`` (with a value in some
        seed), ``without`` (studies times seeds that have none). Flicker is averaged as the logarithm of its energy and given as
        an rms in % of the mean area; the row "exact masks" is that of the exact curves, where there are any.
    """
    rows = []
    for name, group in groups.items():
        studies = pooled(group, "studies")
        rows += [_mean(name, measure, studies, measure, resamples) for measure in MEASURES]
    exact = next(iter(groups.values()))[0].studies
    if exact.exact_flicker.notna().any():
        rows.append(_mean("exact masks", "flicker", exact, "exact_flicker", resamples))
    return pd.DataFrame(rows)


def _mean(name: str, measure: str, studies: pd.DataFrame, column: str, resamples: int) -> dict:
    value = score(studies[column], measure)
    row = {"network": name, "measure": measure, "value": np.nan, "low": np.nan, "high": np.nan,
           "studies": studies.study[value.notna()].nunique(), "without": int(value.isna().sum())}
    if value.notna().any():
        found = patient_interval(studies.assign(value=value), "value", resamples=resamples)
        row |= {key: float(shown(getattr(found, part), measure)) for key, part in (("value", "mean"), ("low", "low"),
                                                                                  ("high", "high"))}
    return row


def score(value: pd.Series, measure: str) -> pd.Series:
    """What is averaged and tested: dB of the energy for flicker, the value itself for the errors; less is better."""
    return 10 * np.log10(value.astype(float).where(value > 0)) if measure == "flicker" else value.astype(float)


def shown(value: float | pd.Series, measure: str) -> float | pd.Series:
    """A score in the unit of :data:`MEASURES`: dB become an rms in %."""
    return 100 * 10 ** (value / 20) if measure == "flicker" else value


def paired_table(groups: Groups, ours: str = "SimLVSeg-3D") -> pd.DataFrame:
    """One network against each other one, study by study, each the mean over the seeds; paired Wilcoxon test over patients.

    Returns:
        Columns ``against``, ``measure``, ``difference`` (dB for flicker, points of % otherwise; negative: ours is better),
        ``p``, ``patients``. Studies without a value on either side in any seed are left out.
    """
    rows, mine = [], pooled(groups[ours], "studies")
    for name, group in groups.items():
        other = pooled(group, "studies")
        for measure in MEASURES:
            if name == ours:
                continue
            sides = [t.assign(frame=0, value=score(t[measure], measure)) for t in (mine, other)]
            lost = {study for t in sides for study in t.study[t.value.isna()]}
            a, b = (t[~t.study.isin(lost)].groupby(["study", "patient", "frame"], as_index=False).value.mean() for t in sides)
            found = paired_test(a, b, "value") if len(a) else None
            rows.append({"against": name, "measure": measure, "difference": found.difference if found else np.nan,
                         "p": found.p_value if found else np.nan, "patients": found.patients if found else 0})
    return pd.DataFrame(rows)


def untraced_table(groups: Groups) -> pd.DataFrame:
    """Dice on the traced frames beside Dice on all frames of the same videos, a row for each network and seed.

    Returns:
        Columns ``network``, ``seed``, ``traced``, ``all`` (%, means over videos; ``all`` is NaN where no exact masks are known).
    """
    rows = [(name, one.record.spec.run.seed, 100 * one.studies.traced_dice.mean(), 100 * one.studies.dice.mean())
            for name, group in groups.items() for one in group]
    return pd.DataFrame(rows, columns=["network", "seed", "traced", "all"])


def untraced_html(table: pd.DataFrame) -> HTML:
    """:func:`untraced_table` for the page, a row a network, and the run with the widest gap in words."""
    rows = [(html.escape(name), *(", ".join(f"{v:.1f}" if np.isfinite(v) else "–" for v in part[c]) for c in ("traced", "all")))
            for name, part in table.groupby("network", sort=False)]
    caption = "Dice in %, one number a seed: on the traced frames (ED and ES), and on all frames of the same videos"
    page = html_table(caption, ("Network", "Traced frames", "All frames"), rows)
    gap = table.traced - table["all"]
    if gap.notna().any():
        widest = table.loc[gap.idxmax()]
        page += (f"<p>The widest gap: {html.escape(widest.network)}, seed {widest.seed}, {widest.traced:.1f} % on traced "
                 f"frames and {widest['all']:.1f} % on all.</p>")
    return HTML(page)


def cohort_html(table: pd.DataFrame, cutoff_hz: float) -> HTML:
    """:func:`cohort_table` for the page, a row a network."""
    rows = []
    for name, part in table.groupby("network", sort=False):
        by = part.set_index("measure")
        rows.append((html.escape(name), *(_cell(by.loc[m]) if m in by.index else "–" for m in MEASURES),
                     str(int(part.studies.max())), str(int(part.without.max()))))
    caption = ("Area curves of whole test videos: means over videos and seeds with 95 % intervals, patients resampled. Flicker "
               f"is the root of the energy above {cutoff_hz:g} Hz (geometric mean); errors are root mean squares against the "
               "exact curve")
    return HTML(html_table(caption, ("Masks by", *(h for h, _ in MEASURES.values()), "Videos", "Without a value"), rows,
                           "echo-claims"))


def paired_html(table: pd.DataFrame, ours: str = "SimLVSeg-3D") -> HTML:
    """:func:`paired_table` for the page."""
    rows = [(html.escape(name), *(f"{r.difference:+.2f}{' dB' if r.measure == 'flicker' else ''} <small>(p = {r.p:.2g})</small>"
                                  if np.isfinite(r.difference) else "–" for r in part.itertuples()), str(part.patients.max()))
            for name, part in table.groupby("against", sort=False)]
    caption = (f"{ours} less each other network, the same videos: negative is better for {ours}; paired Wilcoxon test over "
               "patients")
    return HTML(html_table(caption, ("Against", "Flicker", "Error of the area, points", "Error of the slope, points per second",
                                     "Patients"), rows, "echo-claims"))


def _cell(row: pd.Series) -> str:
    return "–" if not np.isfinite(row.value) else f"{row.value:.2f} <small>({row.low:.2f}–{row.high:.2f})</small>"


def _more(profile: Profile, options: Options) -> Needs:
    """The same network with its windows laid in another way."""
    return Needs(evaluations=tuple(spec for group in windows.needed(profile).values() for spec in group))


FIGURE9 = Experiment(
    id="simlvseg_figure9", number="Figure 9", place=7, title="Temporal consistency", notebook="simlvseg_figure9",
    options=Figure9Options(), evaluations_of=needed, adjust=adjusted, inspect=known_study, more=_more,
    claims=(
        Claim("Pre-training lowers the high-frequency energy of the area curve", "SimLVSeg-3D", UNTRAINED, measure=FLICKER),
        Claim("SimLVSeg-3D gives a smoother area curve than the frame-wise network", "SimLVSeg-3D", FRAMEWISE, measure=FLICKER),
    ),
)

PAGES = (FIGURE9,)
