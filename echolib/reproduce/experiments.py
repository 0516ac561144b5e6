"""The registry: each table and figure of a paper, its published cells, its notebook, the runs it needs, its claims.

An entry says which runs it needs (:meth:`Experiment.runs`, by a name of the run's own, one specification a seed) and what
answers each published cell (:meth:`Experiment.cells`): the Dice of a group of runs, a count of a network, or a reason why
nothing here does. Results of another kind (an evaluation, a benchmark) come from the entry's ``measure``, and claims about them
from its ``judge``. Ablation runs are named by their specification alone, so that pages that need the same run share it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from echolib import published
from echolib.config import ClipSpec, ModelName, Profile, RunSpec
from echolib.reproduce import audit_runs

if TYPE_CHECKING:
    import pandas as pd

    from echolib.reproduce.evaluations import EvaluationSpec
    from echolib.reproduce.ledger import Ledger

Quantity = Literal["params_m", "gflops_per_frame", "gflops_single_pass"]


@dataclass(frozen=True)
class Row:
    """One row of a published table that this repository can run.

    Attributes:
        published: the row's name in the published CSV.
        model: the network of ``models.build``.
        pretrained: with temporal masking first.
        exact: the published parameter and FLOP counts are those of this very network, so they can be checked exactly.
        note: what a reader must know to compare the two.
    """

    published: str
    model: ModelName
    pretrained: bool
    exact: bool
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """What a claim compares, where that is not the Dice of a run's traced frames: a column of the studies of evaluations.

    Attributes:
        column: its name in an evaluation's ``studies``.
        unit: of a difference.
        factor: from the column to the unit.
        decibels: compare 10 log10 of the column (an energy that varies by orders of magnitude between studies).
        less: less of it is better.
    """

    column: str
    unit: str
    factor: float = 1.0
    decibels: bool = False
    less: bool = False


@dataclass(frozen=True)
class Claim:
    """A statement of the paper about an order.

    Attributes:
        text: the statement.
        better: name of the group of runs that scores above the others.
        worse: the other group, or several: then it must hold against each.
        margin: Dice points that ``better`` may lie below and the claim still holds ("loses less than").
        every: turns the claim around: each of ``worse`` scores above ``better`` ("helps at every ratio").
        measure: what is compared between groups of evaluations; None: the Dice of groups of runs.
    """

    text: str
    better: str
    worse: str | tuple[str, ...]
    margin: float = 0.0
    every: bool = False
    measure: Measure | None = None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(the side that must score higher, the other side) of every comparison."""
        others = (self.worse,) if isinstance(self.worse, str) else self.worse
        return tuple((other, self.better) if self.every else (self.better, other) for other in others)


@dataclass(frozen=True)
class Printed:
    """One published cell and what answers it here.

    Attributes:
        row, column: where it stands; the column's name in the published CSV.
        value, low, high: as printed, NaN where nothing is; Dice in %.
        group: group of runs whose Dice answers it, "" for none.
        phase: which Dice of those runs (``overall``, ``ES``, ``ED``).
        network: network whose count answers it, or None.
        note: what a reader must know to compare the two.
        absent: why nothing here answers it, when nothing does.
        other: the row is another group's program.
    """

    row: str
    column: str
    value: float
    low: float = np.nan
    high: float = np.nan
    group: str = ""
    phase: str = "overall"
    network: ModelName | None = None
    note: str = ""
    absent: str = ""
    other: bool = False


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper.

    Attributes:
        id, paper, number, title: what it is.
        published: the CSV of ``echolib.published``; "" where the paper prints no number there.
        notebook: the page's notebook, without suffix.
        groups: profile and seed -> the runs of that seed by group name.
        cells: profile -> every published cell.
        claims: statements about an order of groups.
        rows: rows of a main table, where there are such.
        measure: results that are not the Dice of a run or a count: ledger -> a table with the columns of
            ``scorecard.Cell``, one row a published cell. Takes the place of ``cells``.
        judge: claims that are not about the Dice of runs: ledger -> a table with columns claim, status, why. Takes the place
            of ``claims``.
        evaluations: profile -> the evaluations that claims with a measure compare, by group name, one a seed.
        draws: id of the entry whose cells this one draws (a figure of a table's numbers has none of its own).
    """

    id: str
    paper: str
    number: str
    title: str
    published: str
    notebook: str
    groups: Callable[[Profile, int], dict[str, RunSpec]]
    cells: Callable[[Profile], list[Printed]]
    claims: tuple[Claim, ...] = ()
    rows: tuple[Row, ...] = ()
    measure: Callable[[Ledger], pd.DataFrame] | None = None
    judge: Callable[[Ledger], pd.DataFrame] | None = None
    evaluations: Callable[[Profile], dict[str, list[EvaluationSpec]]] = lambda profile: {}
    draws: str = ""

    def runs(self, profile: Profile) -> dict[str, list[RunSpec]]:
        """Runs by group name, one for each seed of the profile; without the groups that the profile does not run."""
        out: dict[str, list[RunSpec]] = {}
        for seed in profile.seeds:
            for name, spec in self.groups(profile, seed).items():
                out.setdefault(name, []).append(spec)
        return out


# -- Table 1 and Figure 5 ---------------------------------------------------------------------------------------------

_TABLE1_ROWS = (
    Row("EchoNet-Dynamic", "deeplabv3_r50", pretrained=False, exact=True,
        note="DeepLabV3-ResNet-50 on single frames, EchoNet-Dynamic's own recipe"),
    Row("nnU-Net", "nnunet2d", pretrained=False, exact=True,
        note="a 2-D U-Net of nnU-Net's design on single frames; the authors' plans are not public, so a count may differ"),
    Row("SimLVSeg-SI", "si_uniformer_s", pretrained=True, exact=True,
        note="super image, UniFormer-S encoder, temporal masking first"),
    Row("SimLVSeg-3D", "unet3d", pretrained=True, exact=True, note="3D U-Net, temporal masking first"),
)


def _table1_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    runs = {row.published: profile.segment_run(row.model, seed=seed, pretrained=row.pretrained) for row in _TABLE1_ROWS}
    return runs | {"SimLVSeg-3D, no pre-training": profile.segment_run("unet3d", seed=seed)}


def _table1_cells(profile: Profile) -> list[Printed]:
    ran, out = {row.published: row for row in _TABLE1_ROWS}, []
    for entry in published.load("simlvseg_table1").to_dict("records"):
        name, row = entry["method"], ran.get(entry["method"])
        for column, phase in (("dsc_overall", "overall"), ("dsc_es", "ES"), ("dsc_ed", "ED")):
            out.append(Printed(name, column, entry[column], entry[f"{column}_lo"], entry[f"{column}_hi"], phase=phase,
                               group=name if row else "", other=row is None))
        out += [Printed(name, column, entry[column], network=row.model if row and row.exact else None,
                        note=row.note if row else "", other=row is None) for column in ("gflops_per_frame", "params_m")]
    return out


TABLE1 = Experiment(
    id="simlvseg_table1", paper="simlvseg", number="Table 1", title="Dice on the test split",
    published="simlvseg_table1", notebook="simlvseg_table1", rows=_TABLE1_ROWS, groups=_table1_groups, cells=_table1_cells,
    claims=(
        Claim("SimLVSeg-3D scores above the frame-wise DeepLabV3", "SimLVSeg-3D", "EchoNet-Dynamic"),
        Claim("SimLVSeg-SI scores above the frame-wise DeepLabV3", "SimLVSeg-SI", "EchoNet-Dynamic"),
        Claim("SimLVSeg-3D scores above nnU-Net", "SimLVSeg-3D", "nnU-Net"),
        Claim("SimLVSeg-SI scores above nnU-Net", "SimLVSeg-SI", "nnU-Net"),
        Claim("Pre-training by temporal masking helps the 3D U-Net", "SimLVSeg-3D", "SimLVSeg-3D, no pre-training"),
    ),
)

FIGURE5 = Experiment(
    id="simlvseg_figure5", paper="simlvseg", number="Figure 5", title="Dice against GFLOPs and parameters",
    published="simlvseg_table1", notebook="simlvseg_table1", groups=_table1_groups, cells=lambda profile: [],
    draws="simlvseg_table1",
)

# -- Figure 7: frames and period --------------------------------------------------------------------------------------

#: The paper's two approaches by their name in the published CSV of Figure 7.
APPROACHES: dict[str, ModelName] = {"SI UniFormer-S": "si_uniformer_s", "3D U-Net": "unet3d"}


def grid_name(approach: str, frames: int, period: int) -> str:
    """The group name of one cell of Figure 7, such as ``3D U-Net 32x1``."""
    return f"{approach} {frames}x{period}"


def _figure7_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    size = profile.ablation
    if size is None:
        return {}
    return {grid_name(approach, f, t): profile.segment_run(model, seed=seed, clip=ClipSpec(frames=f, period=t), ablation=True)
            for approach, model in APPROACHES.items()
            for f in (size.frames_si if model.startswith("si_") else size.frames_3d) for t in size.periods}


def _figure7_cells(profile: Profile) -> list[Printed]:
    ran, out = _figure7_groups(profile, profile.seeds[0]), []
    for entry in published.load("simlvseg_figure7_frames_period").to_dict("records"):
        name = grid_name(entry["approach"], entry["frames"], entry["period"])
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if name in ran else "",
                           absent="" if name in ran else _left_out(profile, "F and T")))
    return out


def _left_out(profile: Profile, what: str) -> str:
    if profile.ablation is None:
        return f"profile {profile.name!r} runs no ablations"
    return f"not among the values of {what} that profile {profile.name!r} runs"


#: Axes of the figure; written here so that a missing CSV stops this entry's page and not the whole registry.
FIGURE7_FRAMES = {"SI UniFormer-S": (4, 9, 16, 25), "3D U-Net": (16, 32)}
FIGURE7_PERIODS = (1, 2, 3, 5)


def _rivals(approach: str, best: str) -> tuple[str, ...]:
    names = [grid_name(approach, f, t) for f in FIGURE7_FRAMES[approach] for t in FIGURE7_PERIODS]
    return tuple(n for n in names if n != best)


FIGURE7 = Experiment(
    id="simlvseg_figure7", paper="simlvseg", number="Figure 7", title="Number of frames and sampling period",
    published="simlvseg_figure7_frames_period", notebook="simlvseg_figure7", groups=_figure7_groups, cells=_figure7_cells,
    claims=(
        Claim("For super images 16 frames at period 5 score best", "SI UniFormer-S 16x5",
              _rivals("SI UniFormer-S", "SI UniFormer-S 16x5")),
        Claim("For the 3D U-Net 32 frames at period 1 score best", "3D U-Net 32x1", _rivals("3D U-Net", "3D U-Net 32x1")),
        Claim("With 32 frames the 3D U-Net loses by a longer period", "3D U-Net 32x1",
              tuple(grid_name("3D U-Net", 32, t) for t in (2, 3, 5))),
    ),
)

# -- Figure 8: mask ratio ---------------------------------------------------------------------------------------------

#: Every ratio of the figure's axis; the paper's text prints two of them.
RATIOS = ("none", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")


def ratio_name(ratio: str | float) -> str:
    """The group name of one mask ratio: ``no pre-training`` or ``mask 60 %``."""
    return "no pre-training" if ratio == "none" else f"mask {round(100 * float(ratio))} %"


def _figure8_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    if profile.ablation is None:
        return {}
    return {ratio_name(r): profile.segment_run("si_uniformer_s", seed=seed, ablation=True) if r == "none" else
            profile.segment_run("si_uniformer_s", seed=seed, ablation=True, pretrained=True, mask_ratio=r)
            for r in profile.ablation.ratios}


def _figure8_cells(profile: Profile) -> list[Printed]:
    ran, out = _figure8_groups(profile, profile.seeds[0]), []
    for entry in published.load("simlvseg_figure8_mask_ratio").to_dict("records"):
        name = ratio_name(entry["mask_ratio"])
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if name in ran else "",
                           absent="" if name in ran else _left_out(profile, "the ratio")))
    return out


FIGURE8 = Experiment(
    id="simlvseg_figure8", paper="simlvseg", number="Figure 8", title="How much to mask",
    published="simlvseg_figure8_mask_ratio", notebook="simlvseg_figure8", groups=_figure8_groups, cells=_figure8_cells,
    claims=(
        Claim("Pre-training with 60 % masked frames helps SimLVSeg-SI", ratio_name(0.6), ratio_name("none")),
        Claim("Pre-training helps at every ratio", ratio_name("none"), tuple(map(ratio_name, RATIOS[1:])), every=True),
        Claim("60 % is the best ratio", ratio_name(0.6), tuple(ratio_name(r) for r in RATIOS if r != "0.6")),
    ),
)

# -- Table 2: backbones -----------------------------------------------------------------------------------------------

#: Published backbone -> network, and the paper's full-size network of the same approach that it is measured against.
BACKBONES: dict[str, tuple[ModelName, str]] = {
    "MobileNetV3": ("si_mobilenetv3", "UniFormer-S"), "ResNet-18": ("si_resnet18", "UniFormer-S"),
    "ViT-B/16": ("si_vit_b16", "UniFormer-S"), "3D U-Net-S": ("unet3d_s", "3D U-Net")}
#: The two that Table 2's networks are measured against; their Dice is printed with Figure 7.
FULL_SIZE: dict[str, ModelName] = {"UniFormer-S": "si_uniformer_s", "3D U-Net": "unet3d"}
#: Dice points that count as "on a par"; the paper's own largest loss is 0.23 (ViT-B/16 against UniFormer-S).
PAR = 0.5


def _table2_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    if profile.ablation is None:
        return {}
    networks = {name: model for name, (model, _) in BACKBONES.items()} | FULL_SIZE
    return {name: profile.segment_run(model, seed=seed, ablation=True) for name, model in networks.items()}


def _table2_cells(profile: Profile) -> list[Printed]:
    ran, out = profile.ablation is not None, []
    for entry in published.load("simlvseg_table2_backbones").to_dict("records"):
        name = entry["backbone"]
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if ran else "",
                           absent="" if ran else _left_out(profile, "the backbone")))
        out += [Printed(name, column, entry[column], network=BACKBONES[name][0])
                for column in ("params_m", "gflops_single_pass", "gflops_per_frame")]
    return out


TABLE2 = Experiment(
    id="simlvseg_table2", paper="simlvseg", number="Table 2", title="Encoder backbones",
    published="simlvseg_table2_backbones", notebook="simlvseg_table2", groups=_table2_groups, cells=_table2_cells,
    claims=tuple(Claim(f"{name} stays within {PAR} Dice points of {full}", name, full, margin=PAR)
                 for name, (_, full) in BACKBONES.items()),
)

# -- Table 3: CAMUS ---------------------------------------------------------------------------------------------------

#: Column ``ssl`` of the published CSV -> name of the group of runs: those of Table 1, tested on half cycles of another data set.
CAMUS_ROWS = {"no": "3D U-Net, no pre-training", "yes": "SimLVSeg-3D"}


def _table3_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    if profile.camus is None:
        return {}
    return {name: profile.segment_run("unet3d", seed=seed, pretrained=ssl == "yes") for ssl, name in CAMUS_ROWS.items()}


def _table3_cells(ledger: Ledger) -> pd.DataFrame:
    from echolib.reproduce.table3 import measured_cells  # it takes the verdicts, which take this module
    return measured_cells(ledger)


def _table3_claims(ledger: Ledger) -> pd.DataFrame:
    from echolib.reproduce.table3 import judged_claims
    return judged_claims(ledger)


TABLE3 = Experiment(
    id="simlvseg_table3", paper="simlvseg", number="Table 3", title="Out of distribution: CAMUS",
    published="simlvseg_table3_camus", notebook="simlvseg_table3", groups=_table3_groups, cells=lambda profile: [],
    measure=_table3_cells, judge=_table3_claims)

# -- Time per frame ---------------------------------------------------------------------------------------------------


def _run_time(ledger: Ledger) -> pd.DataFrame:
    from echolib.reproduce.runtime import measured_cells  # it takes the verdicts, which take this module
    return measured_cells(ledger.workspace)


RUN_TIME = Experiment(
    id="simlvseg_runtime", paper="simlvseg", number="Run time", title="time per frame", published="simlvseg_runtime",
    notebook="simlvseg_runtime", groups=lambda profile, seed: {}, cells=lambda profile: [], measure=_run_time)

# -- Figures 6 and 9: pictures in the paper, claims on whole videos here -----------------------------------------------

#: The frame-wise network that the paper's figures set against SimLVSeg.
FRAMEWISE = "nnU-Net"
#: Energy of the area curve above the heart beat's frequencies, see ``evaluation.consistency``.
FLICKER = Measure("flicker", "dB less high-frequency energy", decibels=True, less=True)


#: Presets of the phantom that stand for the challenging cases of Figure 6 -> their names in words, in the figure's order.
CHALLENGES = {"foreshortening": "foreshortening", "poor_quality": "poor image quality", "effusion": "effusion",
              "arrhythmia": "arrhythmia"}
#: Mean Dice over all frames of a video, against exact masks.
VIDEO_DICE = Measure("dice", "Dice points", factor=100.0)


def on_preset(network: str, preset: str) -> str:
    """The group name of a network on a preset, such as ``nnU-Net on effusion``."""
    return f"{network} on {CHALLENGES.get(preset, preset)}"


def _figure6_evaluations(profile: Profile) -> dict[str, list[EvaluationSpec]]:
    from echolib.reproduce.challenging import needed  # it takes this module
    return needed(profile)


FIGURE6 = Experiment(
    id="simlvseg_figure6", paper="simlvseg", number="Figure 6", title="Challenging cases", published="",
    notebook="simlvseg_figure6", groups=lambda profile, seed: {}, cells=lambda profile: [], evaluations=_figure6_evaluations,
    claims=tuple(Claim(f"SimLVSeg-3D scores above the frame-wise network on {words}", on_preset("SimLVSeg-3D", preset),
                       on_preset(FRAMEWISE, preset), measure=VIDEO_DICE) for preset, words in CHALLENGES.items()),
)


def _figure9_evaluations(profile: Profile) -> dict[str, list[EvaluationSpec]]:
    from echolib.reproduce.temporal import needed  # it takes this module
    return needed(profile)


FIGURE9 = Experiment(
    id="simlvseg_figure9", paper="simlvseg", number="Figure 9", title="Temporal consistency", published="",
    notebook="simlvseg_figure9", groups=lambda profile, seed: {}, cells=lambda profile: [], evaluations=_figure9_evaluations,
    claims=(
        Claim("Pre-training lowers the high-frequency energy of the area curve", "SimLVSeg-3D", "SimLVSeg-3D, no pre-training",
              measure=FLICKER),
        Claim("SimLVSeg-3D gives a smoother area curve than the frame-wise network", "SimLVSeg-3D", FRAMEWISE, measure=FLICKER),
    ),
)

# -- The audit -------------------------------------------------------------------------------------------------------

#: Switches of the two protocols, one at a time. The paper prints nothing of it; rows 1 and 2 re-read the runs of Table 1.
AUDIT = Experiment(
    id="simlvseg_audit", paper="simlvseg", number="Audit", title="What the released program's differences do",
    published="", notebook="simlvseg_audit", groups=audit_runs.groups, cells=lambda profile: [])

REGISTRY: dict[str, Experiment] = {e.id: e for e in (TABLE1, FIGURE5, FIGURE6, FIGURE7, FIGURE8, FIGURE9, TABLE2, TABLE3,
                                                       RUN_TIME, AUDIT)}
