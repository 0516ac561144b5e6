"""Table 1, PKEcho-Net beside other networks on both data sets, and Figures 5, 6 and 9: comparison, EF and volumes, failures.

A row is measured as its paper measures: PKEcho-Net from one clip a study that runs from ED to ES, chosen by the labels; the
others, and the claims that compare them, from clips in whose middle the traced frame stands.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec, SubsetSpec
from echolib.evaluation.bootstrap import paired_test
from echolib.evaluation.kinds.traced import TracedSpec
from echolib.evaluation.rank_sum import rank_sum
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Measure, Options, SeedOptions
from echolib.pages.quantities import Asked, Quantity, cells
from echolib.pages.scorecard import Cell
from echolib.pages.verdict import SMALL_DICE, SMALL_EF, Verdict
from echolib.papers.pkecho.runs import DATASETS, beside, data_of, pkecho_run, size_of, subset_of, tested
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.sscf.runs import sscf_run

PUBLISHED = "pkecho_table1"
#: Columns of the published table that are measured -> how. Ejection fractions are by the paper's triangle.
QUANTITIES = {
    "dsc": Quantity("Dice, %", "frames", "dice", factor=100, decimals=1),
    "hd95": Quantity("HD95, px", "frames", "hd95_px", decimals=1), "asd": Quantity("ASD, px", "frames", "asd_px", decimals=1),
    "ef_corr": Quantity("EF: r × 100", "studies", "ef_triangle", "ef", "r", factor=100, decimals=1),
    "ef_bias": Quantity("EF: bias, points", "studies", "ef_triangle", "ef", "bias", decimals=1),
    "ef_std": Quantity("EF: sd, points", "studies", "ef_triangle", "ef", "sd", decimals=1)}
HEADINGS = {name: (q.heading, q.decimals) for name, q in QUANTITIES.items()} | {
    "p_value": ("p of the rank-sum test against ResNet-50", 3)}
#: Networks beside PKEcho-Net, by their name on the page.
OTHERS = {"SSCF": "sscf", "DeepLabV3": "deeplabv3_r50", "nnU-Net": "nnunet2d", "SimLVSeg-3D": "unet3d"}
OURS = {depth: f"PKEcho-Net R{depth}" for depth in (18, 34, 50)}
#: The smallest network under another division of EchoNet-Dynamic than the data set's own.
RESPLIT = f"{OURS[18]} on EchoNet-Dynamic, split 7 : 1 : 2"
#: Dice of each study, mean of its two traced frames.
STUDY_DICE = Measure("dice", "Dice points", factor=100.0, small=SMALL_DICE)
STUDY_EF = Measure("ef_error", "points of EF", less=True, small=SMALL_EF)
ABSENT = "not among the networks that profile {!r} runs"


class Table1Options(SeedOptions):
    """Which data sets, and how many frames are shown."""

    datasets: tuple[Literal[DATASETS], ...] | None = Field(
        None, description=f"a list of different data sets: {', '.join(DATASETS)}")
    shown: int = Field(4, ge=1, le=12, description="a whole number from 1 to 12")


def on(name: str, dataset: str) -> str:
    """The group of a network on a data set."""
    return f"{name} on {dataset}"


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs by :func:`on`."""
    if profile.pkecho is None:
        return {}
    size, out = size_of(profile), {}
    for dataset in options.datasets or DATASETS:
        data, subset = data_of(profile, dataset), subset_of(profile, dataset, seed)
        if data is None:
            continue
        out |= {on(OURS[depth], dataset): pkecho_run(profile, depth, seed=seed, data=data, subset=subset)
                for depth in size.backbones}
        if dataset == "CAMUS":
            out |= {on(name, dataset): beside(profile, model, seed=seed, data=data, subset=subset)
                    for name, model in OTHERS.items() if model in size.others}
        else:
            out |= {on(name, dataset): segment_run(profile, model, seed=seed, pretrained=name == "SimLVSeg-3D")
                    for name, model in OTHERS.items() if model != "sscf"}
            if profile.sscf is not None:
                out[on("SSCF", dataset)] = sscf_run(profile, "full", seed=seed, data=data)
            if size.other_split:
                out[RESPLIT] = pkecho_run(profile, 18, seed=seed, data=data, subset=SubsetSpec(parts=size.parts, seed=seed))
    return out


def evaluations(profile: Profile, options: Options) -> dict[str, list[TracedSpec]]:
    """Every group as its paper measures it, one a seed."""
    found: dict[str, list[TracedSpec]] = {}
    for seed in profile.seeds:
        for name, run in groups(profile, seed, options).items():
            found.setdefault(name, []).append(tested(run, "ends" if name.startswith("PKEcho-Net") else "centred"))
    return found


def load(ledger: Ledger, options: Options) -> dict[str, list[Evaluation]]:
    """All evaluations of the page, computed where they are missing."""
    return {name: ledger.evaluate(specs) for name, specs in evaluations(ledger.workspace.profile, options).items()}


def rows(profile: Profile, options: Options) -> list[Asked]:
    """Every row of the published table and what answers it."""
    ran, out = groups(profile, profile.seeds[0], options), []
    for entry in published.load(PUBLISHED).to_dict("records"):
        name = f"PKEcho-Net R{entry['backbone'].removeprefix('ResNet-')}" if entry["method"] == "PKEcho-Net" else entry["method"]
        group, mine = on(name, entry["dataset"]), entry["method"] in ("PKEcho-Net", "SSCF")
        reason = (ABSENT.format(profile.name) if data_of_row(profile, entry["dataset"]) is not None else
                  f"profile {profile.name!r} does not train on {entry['dataset']}")
        out.append(Asked(row_of(entry), entry, group if group in ran else "", other=not mine, absent=reason,
                         data=data_of_row(profile, entry["dataset"]), note=note_of(entry["dataset"])))
    return out


def row_of(entry: dict) -> str:
    """The name of a published row."""
    backbone = f" {entry['backbone']}" if isinstance(entry["backbone"], str) else ""
    return f"{entry['method']}{backbone}, {entry['dataset']}"


def note_of(dataset: str) -> str:
    """What differs in how a data set is divided."""
    return ("a split of its own for each seed, 7 : 1 : 2 over patients" if dataset == "CAMUS" else
            "on the data set's own split; the paper draws one at random, 7 : 1 : 2")


def data_of_row(profile: Profile, dataset: str):
    """The cohort of a published row; None where it is not run."""
    return None if profile.pkecho is None else data_of(profile, dataset)


def measured_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell with its status, for the scorecard."""
    profile = ledger.workspace.profile
    found = {name: [e.tables for e in group] for name, group in load(ledger, options).items()}
    asked = rows(profile, options)
    table = cells(asked, found, QUANTITIES, profile)
    tests = pd.DataFrame([_p_cell(one, found, profile) for one in asked])
    return pd.concat([table, tests], ignore_index=True)


def _p_cell(asked: Asked, found: dict, profile: Profile) -> Cell:
    """The printed p of a row, and ours by the same test: the median over the seeds."""
    printed = (asked.row, "p_value", float(asked.printed["p_value"]), np.nan, np.nan)
    best = on(OURS[50], asked.printed["dataset"])
    if np.isnan(printed[2]):
        verdict = Verdict("as published", "the row that the others are compared with")
    elif asked.group in found and best in found:
        ours = float(np.median([rank_sum(a["frames"].dice, b["frames"].dice)
                                for a, b in zip(found[asked.group], found[best], strict=True)]))
        why = "an unpaired test of paired scores; the paired one stands in the claims"
        status = "awaiting data" if asked.data.phantom is not None else "undecided"
        return Cell(*printed, ours, np.nan, np.nan, status, f"{why}; {asked.note}")
    elif asked.other:
        verdict = Verdict("as published", "another group's program, not run here")
    else:
        verdict = Verdict("not run", asked.absent or ABSENT.format(profile.name))
    return Cell(*printed, np.nan, np.nan, np.nan, **asdict(verdict))


def tests_table(results: dict[str, list[Evaluation]], dataset: str) -> pd.DataFrame:
    """Each network of a data set against PKEcho-Net R50 (or the deepest that was run), both tests of the same scores.

    Returns:
        Columns ``network``, ``difference`` (Dice points, positive: the deepest is better), ``signed_rank`` (paired, patients, the
        scores of all seeds averaged), ``rank_sum`` (unpaired, frames, median over the seeds), ``patients``.
    """
    here = {name: group for name, group in results.items() if name.endswith(on("", dataset))}
    best = next((on(OURS[depth], dataset) for depth in (50, 34, 18) if on(OURS[depth], dataset) in here), None)
    out = []
    for name, group in here.items():
        if best is None or name == best:
            continue
        pairs = list(zip(here[best], group, strict=True))
        sides = [pd.concat([pair[k].frames for pair in pairs]).groupby(["study", "patient", "frame"], as_index=False).dice.mean()
                 for k in (0, 1)]
        paired = paired_test(*sides)
        out.append({"network": name.removesuffix(on("", dataset)), "difference": 100 * paired.difference,
                    "signed_rank": paired.p_value, "patients": paired.patients,
                    "rank_sum": float(np.median([rank_sum(a.frames.dice, b.frames.dice) for a, b in pairs]))})
    return pd.DataFrame(out, columns=["network", "difference", "signed_rank", "rank_sum", "patients"])


def _claims() -> tuple[Claim, ...]:
    out = []
    for dataset in DATASETS:
        deep, middle, small = (on(OURS[depth], dataset) for depth in (50, 34, 18))
        out += [Claim(f"A deeper encoder helps, R34 over R18, {dataset}", middle, small, measure=STUDY_DICE),
                Claim(f"A deeper encoder helps, R50 over R34, {dataset}", deep, middle, measure=STUDY_DICE),
                *(Claim(f"PKEcho-Net R50 scores above {name}, {dataset}", deep, on(name, dataset)) for name in OTHERS),
                Claim(f"PKEcho-Net R50 has the smaller EF error, against {', '.join(OTHERS)}, {dataset}", deep,
                      tuple(on(name, dataset) for name in OTHERS), measure=STUDY_EF)]
    return tuple(out)


TABLE1 = Experiment(
    id="pkecho_table1", number="Table 1", place=2, title="PKEcho-Net beside other networks", published=PUBLISHED,
    notebook="pkecho_table1", groups=groups, evaluations_of=evaluations, measure=measured_cells, claims=_claims(),
    headings=HEADINGS, options=Table1Options())
FIGURES = tuple(Experiment(id=f"pkecho_figure{number}", number=f"Figure {number}", place=2, title=title, published=PUBLISHED,
                           notebook="pkecho_table1", groups=groups, evaluations_of=evaluations, options=Table1Options(),
                           draws="pkecho_table1")
                for number, title in ((5, "Comparison of outlines"), (6, "Ejection fraction and volumes"), (9, "Failures")))

PAGES = (TABLE1, *FIGURES)
