"""Table 2 and Figure 5: a U-Net, the same under a mean teacher (baseline), and what each part of SSCF adds."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec, SubsetSpec
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Groups, Needs, Options, SeedOptions
from echolib.papers.sscf.folds import HEADINGS, asked_row, compared, judged, laid_out, on, published_cells, tested
from echolib.papers.sscf.runs import DATASETS, WEIGHT, data_of, sscf_run

PUBLISHED = "sscf_table2_ablation"
#: Row of the table by its name in a profile.
ROWS = {"unet": "U-Net", "baseline": "Baseline", "tce": "Baseline+TCE", "bssf": "Baseline+BSSF", "full": "Baseline+TCE+BSSF"}


class Table2Options(SeedOptions):
    """Which data sets, and how many frames are shown."""

    datasets: tuple[Literal[DATASETS], ...] | None = Field(
        None, description=f"a list of different data sets: {', '.join(DATASETS)}")
    shown: int = Field(3, ge=1, le=12, description="a whole number from 1 to 12")


def run(profile: Profile, name: str, dataset: str, seed: int, subset: SubsetSpec) -> RunSpec:
    """The run of a row on one fold."""
    row = next(key for key, value in ROWS.items() if value == name)
    return sscf_run(profile, row, seed=seed, data=data_of(profile, dataset), subset=subset)


def on_camus(profile: Profile, options: Options) -> dict[tuple[str, float], list[RunSpec]]:
    """The trainings on CAMUS, of all seeds and folds, by row and weight of the consistency: each row at the profile's weight, the
    whole network at the printed one as well. None where the profile does not train on CAMUS or a reader leaves it out."""
    size, chosen = profile.sscf, getattr(options, "datasets", None) or DATASETS
    if size is None or profile.camus_training is None or "CAMUS" not in chosen:
        return {}
    wanted = [(row, size.camus_weight) for row in size.rows if row != "unet"]
    wanted += [("full", WEIGHT)] if "full" in size.rows and size.camus_weight != WEIGHT else []
    out = {}
    for row, weight in wanted:
        sized = profile.model_copy(update={"sscf": size.model_copy(update={"camus_weight": weight})})
        out[ROWS[row], weight] = [one for seed in profile.seeds
                                  for one in laid_out(sized, seed, [ROWS[row]], run, ["CAMUS"]).values()]
    return out


def trainings_table(ledger: Ledger, options: Options) -> pd.DataFrame:
    """How many trainings on CAMUS ended with empty masks: columns row, weight (of the consistency), trainings, emptied (a Dice of
    0 on every traced test frame), dice and sd (of the others, %)."""
    rows = []
    for (row, weight), specs in on_camus(ledger.workspace.profile, options).items():
        dice = np.array([100 * record.scores["overall"].mean for record in ledger.require(specs)])
        left = dice[dice > 0]
        rows.append({"row": row, "weight": weight, "trainings": len(dice), "emptied": int((dice == 0).sum()),
                     "dice": left.mean() if len(left) else np.nan, "sd": left.std(ddof=1) if len(left) > 1 else np.nan})
    return pd.DataFrame(rows, columns=["row", "weight", "trainings", "emptied", "dice", "sd"])


def _more(profile: Profile, options: Options) -> Needs:
    return Needs(runs=tuple(one for specs in on_camus(profile, options).values() for one in specs))


def groups(profile: Profile, seed: int, options: Options) -> Groups:
    """One seed's runs by group and fold."""
    rows = profile.sscf.rows if profile.sscf else ()
    return laid_out(profile, seed, [ROWS[row] for row in rows], run, getattr(options, "datasets", None) or DATASETS)


def measured_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell with its status."""
    profile = ledger.workspace.profile
    ran = groups(profile, profile.seeds[0], options)
    rows = [asked_row(profile, entry, entry["method"], entry["dataset"], ran, mine=True)
            for entry in published.load(PUBLISHED).to_dict("records")]
    return published_cells(ledger, rows, EVALUATIONS(profile, options))


def _claims() -> tuple[Claim, ...]:
    out = []
    for dataset in DATASETS:
        unet, base, tce, bssf, full = (on(ROWS[row], dataset) for row in ROWS)
        out += [Claim(f"The mean teacher helps, {dataset}", base, unet), Claim(f"TCE helps, {dataset}", tce, base),
                Claim(f"BSSF helps, {dataset}", bssf, base), Claim(f"TCE helps more than BSSF, {dataset}", tce, bssf),
                Claim(f"Both together beat each alone, {dataset}", full, (tce, bssf))]
    return tuple(out)


def judged_claims(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Each claim with its verdict."""
    return judged(ledger, _claims(), TABLE2.turned(options.changed))


EVALUATIONS = tested(groups)
TABLE2 = Experiment(id="sscf_table2", number="Table 2", place=2, title="Mean teacher, encoders, calibration", published=PUBLISHED,
                    notebook="sscf_table2", groups=groups, evaluations_of=EVALUATIONS, measure=measured_cells,
                    judge=judged_claims, headings=HEADINGS, more=_more, options=Table2Options(),
                    compares=lambda profile, options: compared(_claims(), EVALUATIONS(profile, options)))
FIGURE5 = Experiment(id="sscf_figure5", number="Figure 5", place=2, title="Outlines of the ablation", published=PUBLISHED,
                     notebook="sscf_table2", groups=groups, evaluations_of=EVALUATIONS, draws="sscf_table2",
                     options=Table2Options())

PAGES = (TABLE2, FIGURE5)
