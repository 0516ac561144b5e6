"""Figures of the phantom atlas: what the simulated clips look like and how near they are to published statistics."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from pydantic import Field

from echolib import plots, published
from echolib.config.profile import Profile
from echolib.data.store import ClipStore
from echolib.data.truth import read_truth
from echolib.evaluation.kinds.threshold import ThresholdSpec
from echolib.pages.experiment import Experiment, Needs, Options
from echolib.pages.html import html_table
from echolib.phantom import borders
from echolib.phantom.clip import SimulatedClip
from echolib.phantom.presets import ClipParameters
from echolib.plots import COLOURS


def gallery(store: ClipStore, folder: Path, studies: Sequence[str], columns: int) -> Figure:
    """The end-diastolic frame of some studies with the true border, EF in the title."""
    pictures, titles = [], []
    for study in studies:
        frame = int(store.studies.ed_frame[study])
        truth = read_truth(folder, study)
        pictures.append(plots.overlay(np.asarray(store.video(study)[frame:frame + 1]), truth=truth.masks[frame:frame + 1])[0])
        titles.append(f"EF {truth.ef:.0f} %")
    return plots.contact_sheet(np.stack(pictures), titles, columns)


def films(store: ClipStore, folder: Path, studies: Sequence[str]) -> HTML:
    """Cine loops of some studies with the true border."""
    loops = []
    for study in studies:
        truth, fps = read_truth(folder, study), float(store.studies.fps[study])
        frames = plots.overlay(np.asarray(store.video(study)), truth=truth.masks)
        loops.append(plots.cine(frames, fps, f"EF {truth.ef:.0f} %, {len(frames)} frames at {fps:.0f} per second.",
                                f"Cine loop of a phantom with ejection fraction {truth.ef:.0f} % and its true LV border", 224))
    return plots.side_by_side(*loops)


def preset_films(clips: dict[str, SimulatedClip]) -> HTML:
    """One cine loop for each named preset, with the true border."""
    loops = [plots.cine(plots.overlay(clip.frames[..., None], truth=clip.labels == 1), clip.fps, name.replace("_", " "),
                        f"Cine loop of the phantom preset {name.replace('_', ' ')} with its true LV border", width=224)
             for name, clip in clips.items()]
    return plots.side_by_side(*loops)


def statistics_table(table: pd.DataFrame) -> HTML:
    """The acceptance statistics: value, range, whether it is met, and where the range comes from."""
    def number(value: float) -> str:
        return "–" if not np.isfinite(value) else f"{value:.3g}"

    rows = [(html.escape(r.statistic), number(r.value), f"{number(r.low)} – {number(r.high)}",
             f'<span class="echo-chip echo-{"exact" if r.ok else "differs"}">{"in range" if r.ok else "out of range"}</span>',
             html.escape(r.source)) for r in table.itertuples()]
    return HTML(html_table(f"{int(table.ok.sum())} of {len(table)} acceptance statistics in range",
                           ("Statistic", "Phantom", "Range", "Met", "Source of the range"), rows, "echo-claims"))


def distribution_figure(draws: Sequence[ClipParameters]) -> Figure:
    """EF, clip length and frame rate of many draws, with the published mean and standard deviation above."""
    facts = published.load("datasets").query("dataset == 'EchoNet-Dynamic'").set_index("statistic")
    panels = (("ef", "EF (%)", "LVEF %"), ("frames", "frames", "frames per video"),
              ("fps", "frames per second", "frames per second"))
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.5), layout="constrained")
    for axis, (name, label, fact) in zip(axes, panels, strict=True):
        values = np.array([getattr(d, name) for d in draws], float)
        axis.hist(values, bins=40, range=tuple(np.percentile(values, (0.2, 99.8))), color=COLOURS["here"], alpha=0.8)
        mean, sd = facts.value[fact], facts.sd[fact]
        axis.set_title(f"phantom {values.mean():.1f} ({values.std():.1f})\npublished {mean:g} ({sd:g})", fontsize=8, loc="left")
        top = axis.get_ylim()[1] * 1.06
        axis.errorbar(mean, top, xerr=sd, fmt="o", color=COLOURS["published"], ms=4, capsize=3)
        axis.set(xlabel=label, yticks=[])
        axis.spines["left"].set_visible(False)
    return figure


def area_curve_figure(clips: Sequence[SimulatedClip], measured: Sequence[float]) -> Figure:
    """LV area over the beat, from end-systole, against the curve measured on real clips.

    Args:
        clips: simulated clips.
        measured: relative area (0 smallest, 1 largest) at even steps over one RR interval, from one ES to the next.
    """
    figure, axis = plt.subplots(figsize=(5.6, 2.9), layout="constrained")
    for clip in clips:
        area = (clip.labels == 1).sum((1, 2)).astype(float)
        low, high = area.min(), area.max()
        since_es = (clip.phase - clip.phase[clip.es_frame]) % 1
        axis.plot(since_es, (area - low) / max(high - low, 1), ".", color=COLOURS["here"], ms=2, alpha=0.25)
    axis.plot(np.linspace(0, 1, len(measured)), measured, color=COLOURS["truth"], lw=2,
              label="measured on real clips")
    axis.plot([], [], ".", color=COLOURS["here"], label="phantom frames")
    axis.set(xlabel="part of the RR interval since end-systole", ylabel="relative LV area")
    axis.legend(frameon=False, fontsize=8)
    return figure


def border_figure(table: pd.DataFrame) -> Figure:
    """Grey along the outline's normals, phantom and real clips, wall by wall, at both phases.

    Args:
        table: from :func:`echolib.phantom.borders.compare`.
    """
    figure, axes = plt.subplots(2, 3, figsize=(8.6, 4.4), layout="constrained", sharex=True, sharey=True)
    for row, phase in zip(axes, ("ED", "ES"), strict=True):
        for axis, wall in zip(row, borders.WALLS, strict=True):
            one = table.query("statistic == 'grey' and phase == @phase and wall == @wall").sort_values("offset")
            real, spread = one["real mean"], one["real sd"]
            axis.fill_between(one.offset, (real - spread).clip(lower=0), real + spread, color=COLOURS["truth"], alpha=0.18, lw=0)
            axis.plot(one.offset, real, color=COLOURS["truth"], label="nine real clips, mean and sd")
            axis.errorbar(one.offset, one["mean"], yerr=one["sd"], fmt="o", ms=3, color=COLOURS["here"], capsize=2, lw=1,
                          label="phantom, mean and sd")
            axis.axvline(0, color="0.6", lw=0.8, zorder=0)
            axis.set_title(f"{wall} wall, {phase}", fontsize=9, loc="left")
    for axis in axes[1]:
        axis.set_xlabel("px outside the traced line")
    axes[0, 0].set_ylabel("grey (scaled)")
    axes[1, 0].set_ylabel("grey (scaled)")
    axes[0, 1].legend(frameon=False, fontsize=8, loc="upper right")
    return figure


_BORDER_NAMES = {"contrast": "wall less cavity, {wall}, {phase}",
                 "hidden": "share of the outline that cannot be seen, {wall}, {phase}",
                 "sd": "sd along the {wall} wall at +2 px, {phase}", "change mean": "change from frame to frame, mean",
                 "change 95": "change from frame to frame, 95th percentile"}


def border_table(table: pd.DataFrame) -> HTML:
    """The bar of :func:`echolib.phantom.borders.bar` without the profiles, which the figure shows."""
    held = borders.bar(table)
    bands = {float(low): f"power at {low}-{high} cycles per frame width" for low, high in borders.BANDS}
    rows = held[held.statistic != "grey"]
    names = [bands[r.offset] if r.statistic == "spectrum" else _BORDER_NAMES[r.statistic].format(wall=r.wall, phase=r.phase)
             for r in rows.itertuples()]
    grey = held[held.statistic == "grey"]
    profile = pd.DataFrame({"statistic": ["grey levels of the figure that lie within the real mean and sd, share"],
                            "value": [grey.ok.mean()], "low": [1.0], "high": [1.0], "ok": [bool(grey.ok.all())],
                            "source": ["measured"]})
    rest = pd.DataFrame({"statistic": names, "value": rows["mean"].to_numpy(),
                         "low": rows.low.to_numpy(), "high": rows.high.to_numpy(),
                         "ok": rows.ok.to_numpy(), "source": "measured"})
    return statistics_table(pd.concat([profile, rest], ignore_index=True))


def _more(profile: Profile, options: Options) -> Needs:
    """What a program without training reaches."""
    return Needs(evaluations=(ThresholdSpec(data=profile.echonet),) if profile.echonet.phantom is not None else ())


class AtlasOptions(Options):
    """How many clips are simulated for the statistics, and how many studies are shown."""

    clips: int = Field(40, ge=2, le=1000, description="a whole number from 2 to 1000")
    frames: int = Field(60, ge=8, le=300, description="a whole number from 8 to 300")
    draws: int = Field(5000, ge=2, le=1_000_000, description="a whole number from 2 to 1,000,000")
    shown: int = Field(12, ge=3, le=100, description="a whole number from 3 to 100")


ATLAS = Experiment(id="phantom_atlas", number="Atlas", title="The phantom atlas", place=1, notebook="phantom_atlas", more=_more,
                   options=AtlasOptions(), phantoms=True)

PAGES = (ATLAS,)
