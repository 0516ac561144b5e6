"""The registry: each table and figure of the paper, its published cells, its notebook, the runs it needs, its claims.

What an entry is stands in :mod:`echolib.pages.entries`, those of the ablations in
:mod:`echolib.papers.simlvseg.ablations_registry`. A page finds its entry here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echolib import published
from echolib.config import Profile, RunSpec
from echolib.pages.entries import Claim, Experiment, Measure, Printed, Row
from echolib.papers.simlvseg import audit_runs
from echolib.papers.simlvseg.ablations_registry import FIGURE7, FIGURE8, TABLE2

if TYPE_CHECKING:
    import pandas as pd

    from echolib.ledger.evaluations import EvaluationSpec
    from echolib.ledger.ledger import Ledger

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

# -- Table 3: CAMUS ---------------------------------------------------------------------------------------------------

#: Column ``ssl`` of the published CSV -> name of the group of runs: those of Table 1, tested on half cycles of another data set.
CAMUS_ROWS = {"no": "3D U-Net, no pre-training", "yes": "SimLVSeg-3D"}


def _table3_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    if profile.camus is None:
        return {}
    return {name: profile.segment_run("unet3d", seed=seed, pretrained=ssl == "yes") for ssl, name in CAMUS_ROWS.items()}


def _table3_cells(ledger: Ledger) -> pd.DataFrame:
    from echolib.papers.simlvseg.table3 import measured_cells  # it takes the verdicts, which take this module
    return measured_cells(ledger)


def _table3_claims(ledger: Ledger) -> pd.DataFrame:
    from echolib.papers.simlvseg.table3 import judged_claims
    return judged_claims(ledger)


TABLE3 = Experiment(
    id="simlvseg_table3", paper="simlvseg", number="Table 3", title="Out of distribution: CAMUS",
    published="simlvseg_table3_camus", notebook="simlvseg_table3", groups=_table3_groups, cells=lambda profile: [],
    measure=_table3_cells, judge=_table3_claims)

# -- Time per frame ---------------------------------------------------------------------------------------------------


def _run_time(ledger: Ledger) -> pd.DataFrame:
    from echolib.papers.simlvseg.runtime import measured_cells  # it takes the verdicts, which take this module
    return measured_cells(ledger.workspace)


def _run_time_claims(ledger: Ledger) -> pd.DataFrame:
    from echolib.papers.simlvseg.runtime import judged_claims
    return judged_claims(ledger.workspace)


RUN_TIME = Experiment(
    id="simlvseg_runtime", paper="simlvseg", number="Run time", title="time per frame", published="simlvseg_runtime",
    notebook="simlvseg_runtime", groups=lambda profile, seed: {}, cells=lambda profile: [], measure=_run_time,
    judge=_run_time_claims)

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
    from echolib.papers.simlvseg.figure6 import needed  # it takes this module
    return needed(profile)


FIGURE6 = Experiment(
    id="simlvseg_figure6", paper="simlvseg", number="Figure 6", title="Challenging cases", published="",
    notebook="simlvseg_figure6", groups=lambda profile, seed: {}, cells=lambda profile: [], evaluations=_figure6_evaluations,
    claims=tuple(Claim(f"SimLVSeg-3D scores above the frame-wise network on {words}", on_preset("SimLVSeg-3D", preset),
                       on_preset(FRAMEWISE, preset), measure=VIDEO_DICE) for preset, words in CHALLENGES.items()),
)


def _figure9_evaluations(profile: Profile) -> dict[str, list[EvaluationSpec]]:
    from echolib.papers.simlvseg.figure9 import needed  # it takes this module
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
