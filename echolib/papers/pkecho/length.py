"""Whole videos through a network that knows ten frames: which windows, what they cost, and how it compares."""

from __future__ import annotations

import html
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from pydantic import Field

from echolib.config.profile import Profile
from echolib.evaluation.inference import FRAMES_PER_PASS
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Measure, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.pages.quantities import Estimate, Quantity, estimate
from echolib.pages.timing import Timing
from echolib.pages.verdict import SMALL_DICE
from echolib.papers.pkecho import table2
from echolib.papers.pkecho.runs import CLIP, data_of, pkecho_run, size_of
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.sscf.runs import sscf_run
from echolib.plots import COLOURS

NETWORK = "PKEcho-Net"
#: Frames of a window of a network that takes any number.
LONG = FRAMES_PER_PASS // 2
#: Periods of the windows that are tried beside the clips' own.
PERIODS = (1, 2, 4)
SIDE, HALF = "side by side", "overlapping by half"
OTHERS = ("SimLVSeg-3D", "nnU-Net", "SSCF")
#: Measures of a whole video.
MEASURES = (Quantity("Dice, traced frames, %", "studies", "traced_dice", factor=100),
            Quantity("Dice, all frames, %", "studies", "dice", factor=100),
            Quantity("Dice of the worst frame, %", "studies", "worst_dice", factor=100),
            Quantity("Flicker, dB", "studies", "flicker_db"), Quantity("Error of the area, % of ED", "studies", "area_rmse"))
DICE = Measure("dice", "Dice points", factor=100.0, small=SMALL_DICE)
FLICKER = Measure("flicker", "dB less high-frequency energy", decibels=True, less=True)


class LengthOptions(SeedOptions):
    """Periods of the windows."""

    periods: tuple[Annotated[int, Field(ge=1, le=8)], ...] | None = Field(
        None, description="a list of different whole numbers from 1 to 8")


def windows(period: int, overlap: bool) -> str:
    """The group of PKEcho-Net under one way of laying windows."""
    taken = {1: "every frame", 2: "every other frame"}.get(period, f"one frame in {period}")
    return f"{NETWORK}, {taken}, {HALF if overlap else SIDE}"


def evaluations(profile: Profile, options: Options) -> dict[str, list[VideoSpec]]:
    """Every way and every network on the same test videos, one a seed."""
    if profile.pkecho is None:
        return {}
    size, data = size_of(profile), data_of(profile, "EchoNet-Dynamic")
    periods = options.periods or PERIODS
    out: dict[str, list[VideoSpec]] = {}
    for seed in profile.seeds:
        run = pkecho_run(profile, min(size.backbones), seed=seed, data=data)
        ways = {(period, True) for period in periods} | {(CLIP.period, False)}
        specs = {windows(period, overlap): VideoSpec(run=run, data=data, studies=profile.probe.videos, overlap=overlap,
                                                     period=None if period == CLIP.period else period)
                 for period, overlap in sorted(ways)}
        others = {"SimLVSeg-3D": segment_run(profile, "unet3d", seed=seed, pretrained=True),
                  "nnU-Net": segment_run(profile, "nnunet2d", seed=seed)}
        if profile.sscf is not None:
            others["SSCF"] = sscf_run(profile, "full", seed=seed, data=data)
        specs |= {name: VideoSpec(run=other, data=data, studies=profile.probe.videos, overlap=other.clip.frames > 1)
                  for name, other in others.items()}
        for name, spec in specs.items():
            out.setdefault(name, []).append(spec)
    return out


def load(ledger: Ledger, options: Options) -> dict[str, list[Evaluation]]:
    """All evaluations, computed where they are missing."""
    return {name: ledger.evaluate(specs) for name, specs in evaluations(ledger.workspace.profile, options).items()}


def passes_per_frame(spec: VideoSpec) -> float:
    """How often a frame of a long video goes through the network."""
    if not spec.overlap or spec.run.clip.frames == 1:
        return 1.0
    if spec.run.model.name.startswith("sscf"):  # long windows that overlap by the reach alone
        return LONG / (LONG - 2 * (spec.run.clip.frames // 2))
    return 2.0


def times(ledger: Ledger, options: Options) -> dict[str, Timing]:
    """Times of a pass: those of Table 2."""
    return table2.times(ledger, table2.Table2Options())


def table(ledger: Ledger, results: dict[str, list[Evaluation]], options: Options) -> pd.DataFrame:
    """Every measure of every group: columns name, heading, estimate; ``passes``, ``ms``, the time of a frame of a video at full
    width (passes times the time of a pass), and ``hardware``, on which it was measured."""
    clock, rows = times(ledger, options), []
    for name, group in results.items():
        tables = [{"studies": e.studies.assign(flicker_db=10 * np.log10(e.studies.flicker.where(e.studies.flicker > 0)))}
                  for e in group]
        spec = group[0].record.spec
        passes = passes_per_frame(spec)
        timed = name if name in clock else f"PKEcho-Net R{spec.run.model.name.rpartition('r')[2]}"
        rows += [{"name": name, "heading": q.heading, "estimate": estimate(tables, q, ledger.workspace.profile.bootstrap),
                  "passes": passes, "ms": passes * clock[timed].mean, "hardware": clock[timed].hardware} for q in MEASURES]
    return pd.DataFrame(rows)


def table_html(found: pd.DataFrame) -> HTML:
    """:func:`table` for the page."""
    rows = []
    for name, part in found.groupby("name", sort=False):
        cells = [shown(one) for one in part.estimate]
        rows.append((html.escape(name), *cells, f"{part.passes.iloc[0]:.1f}", f"{part.ms.iloc[0]:.3g}"))
    head = ("Network and windows", *(q.heading for q in MEASURES), "Passes a frame", "ms a frame")
    where = f" on {found.hardware.iloc[0]}" if len(found) else ""
    caption = f"Whole test videos: means over videos and seeds, 95 % intervals; time at full width{where}"
    return HTML(html_table(caption, head, rows, "echo-table echo-sortable"))


def shown(one: Estimate) -> str:
    """An estimate as HTML."""
    if not np.isfinite(one.value):
        return "–"
    return f"{one.value:.2f} <small>({one.low:.2f}{' to ' if one.low < 0 else '–'}{one.high:.2f})</small>"


def figure(found: pd.DataFrame, data: str) -> Figure:
    """Dice of all frames and flicker, a row a group."""
    names = list(dict.fromkeys(found.name))
    drawn, axes = plt.subplots(1, 2, figsize=(8.6, 0.42 * len(names) + 1.0), sharey=True, layout="constrained")
    for axis, heading in zip(axes, ("Dice, all frames, %", "Flicker, dB"), strict=True):
        part = found[found.heading == heading].set_index("name").estimate
        for place, name in enumerate(names):
            one, colour = part[name], COLOURS["here" if name.startswith(NETWORK) else "other"]
            if np.isfinite(one.value):
                axis.plot([one.low, one.high], [place] * 2, color=colour, lw=2.2, solid_capstyle="butt")
                axis.plot(one.value, place, "o", color=colour, ms=5.5)
        axis.set_xlabel(heading + (" (less is steadier)" if "Flicker" in heading else ""))
        axis.grid(axis="x", color="#dddddd", lw=0.6)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    axes[0].set_title(f"this book, {data}", fontsize=9, loc="left", color=COLOURS["here"])
    return drawn


OWN = windows(CLIP.period, True)
LENGTH = Experiment(
    id="pkecho_length", number="Any length", title="Whole videos through a network of ten frames", place=6,
    notebook="pkecho_length", evaluations_of=evaluations, options=LengthOptions(), times=times, claims=(
        Claim("Overlapping windows give PKEcho-Net steadier area curves", OWN, windows(CLIP.period, False), measure=FLICKER),
        Claim("Overlapping windows help PKEcho-Net on all frames", OWN, windows(CLIP.period, False), measure=DICE),
        *(Claim(f"PKEcho-Net is above {name} on all frames of whole videos", OWN, name, measure=DICE) for name in OTHERS),
        *(Claim(f"PKEcho-Net is steadier than {name}", OWN, name, measure=FLICKER) for name in OTHERS)))

PAGES = (LENGTH,)
