"""The page on the ejection fraction: which evaluations it needs, its tables, and where they came from."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from IPython.display import HTML
from pydantic import Field

from echolib import published
from echolib.config import Profile
from echolib.evaluation.agreement import Agreement, agreement
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.papers.simlvseg.table1 import ROWS, TABLE1
from echolib.papers.simlvseg.tables import label_of, pooled
from echolib.papers.simlvseg.videos import on_videos

#: The row without a network: what is left of the error when every mask is exact.
CEILING = "exact masks"
#: Networks of the page, by their names on it.
NETWORKS = tuple(label_of(row.published) for row in ROWS)


@dataclass(frozen=True)
class Results:
    """Evaluations by row, one for each seed: of the test split, and of the arrhythmia cohort."""

    main: dict[str, list[Evaluation]]
    arrhythmia: dict[str, list[Evaluation]]

    @property
    def all(self) -> list[Evaluation]:
        """Every evaluation once."""
        return [e for part in (self.main, self.arrhythmia) for group in part.values() for e in group]


def needed(profile: Profile) -> tuple[dict[str, list[VideoSpec]], dict[str, list[VideoSpec]]]:
    """Specifications by row of the test split and of the arrhythmia cohort; the exact masks come first where there are any."""
    runs = {label_of(row.published): TABLE1.runs(profile)[row.published] for row in ROWS}
    cohorts = []
    for data, studies in ((profile.echonet, profile.probe.videos), (profile.probe_data("arrhythmia"), None)):
        part = {CEILING: [VideoSpec(run=None, data=data, studies=studies)]} if data.phantom is not None else {}
        cohorts.append(part | {name: on_videos(specs, data, studies) for name, specs in runs.items()})
    return cohorts[0], cohorts[1]


def load(ledger: Ledger) -> Results:
    """All evaluations of the page, computed where they are missing."""
    return Results(*({name: ledger.evaluate(specs) for name, specs in part.items()}
                     for part in needed(ledger.workspace.profile)))


def ef_table(results: Results, resamples: int) -> HTML:
    """EF and volumes of each row against what the data set gives for the traced beat."""
    rows = []
    first = next(iter(results.main.values()))
    exact = pooled(first, "studies").exact_ef
    rows.append(("always the mean EF", f"{(exact - exact.mean()).abs().mean():.2f}", "0.00", "–", "0.0 ± "
                 f"{1.96 * exact.std():.1f}", "–", "–", f"{len(exact)}", "0"))
    for name, group in results.main.items():
        table, mL = pooled(group, "studies"), group[0].record.unit == "mL"
        ef = agreement(table, "ef", "exact_ef", resamples)
        volumes = [agreement(table, v, f"exact_{v}", resamples) if mL else None for v in ("edv", "esv")]
        rows.append((html.escape(name), *_agreed(ef), *(f"{v.bias:+.1f} <small>(MAE {v.mae:.1f})</small>" if v else "–"
                                                         for v in volumes),
                     f"{len(table)}", _none_found(table)))
    caption = ("EF of whole videos against the exact EF of the traced beat: mean absolute error with its 95 % interval (patients "
               "resampled), agreement, and the error of the volumes")
    return HTML(html_table(caption, ("Masks by", "MAE of EF, points", "R²", "r", "Bias ± 1.96 sd, points", "EDV bias, mL",
                                     "ESV bias, mL", "Videos", "Without a beat"), rows, "echo-claims"))


def beat_html(results: Results, resamples: int) -> HTML:
    """Beat by beat under arrhythmia: beats found, EF of each against its exact EF, and the spread within a study."""
    rows = []
    for name, group in results.arrhythmia.items():
        beats, studies = pooled(group, "beats"), pooled(group, "studies")
        kinds = beats.kind.value_counts()
        matched, exact = int(kinds.get("matched", 0)), int(kinds.get("matched", 0) + kinds.get("missed", 0))
        ef = agreement(beats, "found_ef", "exact_ef", resamples)
        many = studies[studies.exact_ef_sd.notna()]
        rows.append((html.escape(name), f"{matched} of {exact}", str(int(kinds.get("extra", 0))), *_agreed(ef),
                     f"{many.ef_sd.mean():.1f} <small>(exact {many.exact_ef_sd.mean():.1f})</small>" if len(many) else "–",
                     _none_found(studies)))
    caption = ("Irregular rhythm, beat by beat: whole beats found, beats that are none, EF of each found beat against its exact "
               "EF (interval: patients resampled), and the standard deviation of EF between the beats of a study")
    return HTML(html_table(caption, ("Masks by", "Beats found", "Extra", "MAE of EF, points", "R²", "r",
                                     "Bias ± 1.96 sd, points", "Spread within a study, points", "Videos without a beat"), rows,
                           "echo-claims"))


def published_html() -> HTML:
    """EF from masks as other programs report it on EchoNet-Dynamic; for orientation."""
    table = published.load("sscf_table6_ef").query("dataset == 'EchoNet-Dynamic'")
    rows = [(html.escape(r.method), f"{r.ef_corr:.3f}", f"{r.ef_abs_bias:.1f}", f"{r.ef_std:.1f}") for r in table.itertuples()]
    caption = "Published, on EchoNet-Dynamic: EF from masks of other programs, as printed in Table 6 of the SSCF paper"
    return HTML(html_table(caption, ("Method", "r", "|Bias|, points", "sd, points"), rows))


def _agreed(ef: Agreement | None) -> tuple[str, str, str, str]:
    if ef is None:
        return ("–",) * 4
    return (f"{ef.mae:.2f} <small>({ef.mae_low:.2f}–{ef.mae_high:.2f})</small>", _number(ef.r2, 2), _number(ef.r, 2),
            f"{ef.bias:+.1f} ± {_number(1.96 * ef.sd, 1)}")


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if np.isfinite(value) else "–"


def _none_found(studies: pd.DataFrame) -> str:
    return f"{int((studies.beats == 0).sum())}"


def _more(profile: Profile, options: Options) -> Needs:
    """Both cohorts; of one arrhythmic evaluation single beats are drawn."""
    main, arrhythmia = needed(profile)
    specs = [s for cohort in (main, arrhythmia) for group in cohort.values() for s in group]
    return Needs(tuple(s.run for s in specs if s.run is not None), tuple(specs), bulk=(arrhythmia["SimLVSeg-3D"][0],))


class EjectionOptions(SeedOptions):
    """The network whose volume curve is drawn beat by beat."""

    network: Literal[NETWORKS] = Field("SimLVSeg-3D", description=f"one of {', '.join(NETWORKS)}")


EJECTION = Experiment(id="ejection_fraction", number="EF", title="Ejection fraction", place=1, notebook="ejection_fraction",
                      more=_more, options=EjectionOptions())

PAGES = (EJECTION,)
