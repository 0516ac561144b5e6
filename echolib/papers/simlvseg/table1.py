"""Table 1, Dice on the test split, and Figure 5, Dice against cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.kinds.threshold import ThresholdSpec
from echolib.pages.experiment import Claim, Experiment, Needs, Options, Printed, Row, SeedOptions
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.simlvseg.videos import on_test_videos

#: The network whose worst frames are shown.
SHOWN = "SimLVSeg-3D"
#: Rows of the table that this repository can run.
ROWS = (
    Row("EchoNet-Dynamic", "deeplabv3_r50", pretrained=False, exact=True,
        note="DeepLabV3-ResNet-50 on single frames, EchoNet-Dynamic's own recipe"),
    Row("nnU-Net", "nnunet2d", pretrained=False, exact=True,
        note="a 2-D U-Net of nnU-Net's design on single frames; the authors' plans are not public, so a count may differ"),
    Row("SimLVSeg-SI", "si_uniformer_s", pretrained=True, exact=True,
        note="super image, UniFormer-S encoder, temporal masking first"),
    Row("SimLVSeg-3D", "unet3d", pretrained=True, exact=True, note="3D U-Net, temporal masking first"),
)


#: The group of the 3D U-Net without stage 1; the paper prints it with Table 3.
UNTRAINED = "SimLVSeg-3D, no pre-training"
NAMES = (*(row.published for row in ROWS), UNTRAINED)


class Table1Options(SeedOptions):
    """Which methods are trained, and how many of the worst frames are shown."""

    methods: tuple[Literal[NAMES], ...] | None = Field(None, description=f"a list of different methods: {'; '.join(NAMES)}")
    worst: int = Field(5, ge=1, le=20, description="a whole number from 1 to 20")


def shown_of(runs: Iterable[str]) -> str:
    """The method whose worst frames are shown: SimLVSeg-3D, or the first one where that is not trained."""
    return next(name for name in (SHOWN, *runs) if name in runs)


def _table1_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    runs = {row.published: segment_run(profile, row.model, seed=seed, pretrained=row.pretrained) for row in ROWS}
    runs |= {UNTRAINED: segment_run(profile, "unet3d", seed=seed)}
    return runs if options.methods is None else {name: runs[name] for name in options.methods}


def _table1_cells(profile: Profile, options: Options) -> list[Printed]:
    ran, out = {row.published: row for row in ROWS}, []
    trained = _table1_groups(profile, profile.seeds[0], options)
    for entry in published.load("simlvseg_table1").to_dict("records"):
        name, row = entry["method"], ran.get(entry["method"])
        for column, phase in (("dsc_overall", "overall"), ("dsc_es", "ES"), ("dsc_ed", "ED")):
            out.append(Printed(name, column, entry[column], entry[f"{column}_lo"], entry[f"{column}_hi"], phase=phase,
                               group=name if name in trained else "", other=row is None,
                               absent="" if name in trained or row is None else "not among the methods that were asked for"))
        out += [Printed(name, column, entry[column], network=row.model if row and row.exact else None,
                        note=row.note if row else "", other=row is None) for column in ("gflops_per_frame", "params_m")]
    return out


def _more(profile: Profile, options: Options) -> Needs:
    """Worst frames come from whole videos; logs of the first seed are drawn; the baseline stands beside the networks."""
    runs = _table1_groups(profile, profile.seeds[0], options)
    shown = on_test_videos(profile, runs[shown_of(runs)])
    return Needs(evaluations=(shown, ThresholdSpec(data=profile.echonet)), logs=tuple(runs.values()))


TABLE1 = Experiment(
    id="simlvseg_table1", number="Table 1", place=3, title="Dice on the test split",
    published="simlvseg_table1", notebook="simlvseg_table1", rows=ROWS, groups=_table1_groups, cells=_table1_cells,
    options=Table1Options(), more=_more,
    claims=(
        Claim("SimLVSeg-3D scores above the frame-wise DeepLabV3", "SimLVSeg-3D", "EchoNet-Dynamic"),
        Claim("SimLVSeg-SI scores above the frame-wise DeepLabV3", "SimLVSeg-SI", "EchoNet-Dynamic"),
        Claim("SimLVSeg-3D scores above nnU-Net", "SimLVSeg-3D", "nnU-Net"),
        Claim("SimLVSeg-SI scores above nnU-Net", "SimLVSeg-SI", "nnU-Net"),
        Claim("Pre-training by temporal masking helps the 3D U-Net", "SimLVSeg-3D", UNTRAINED),
    ),
)

FIGURE5 = Experiment(
    id="simlvseg_figure5", number="Figure 5", place=3, title="Dice against GFLOPs and parameters",
    published="simlvseg_table1", notebook="simlvseg_table1", groups=_table1_groups, options=Table1Options(),
    draws="simlvseg_table1",
)

PAGES = (TABLE1, FIGURE5)
