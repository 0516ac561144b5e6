"""What traced frames do not teach: how networks do between the tracings, what may cause it, and a bound on areas against it.

Every network here learned from two frames of a video; the exact masks of phantoms say what it does on all the others. Real data
has no such masks: there only the traced frames are scored.
"""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from pydantic import Field

from echolib.config.profile import Profile
from echolib.config.specs import ClipSpec, RunSpec
from echolib.data.store import ClipStore
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Measure, Needs, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.pages.quantities import Estimate, Quantity, estimate
from echolib.pages.verdict import SMALL_DICE
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.simlvseg.videos import on_test_videos
from echolib.plots import COLOURS
from echolib.training.recipes.bounded import Bounded
from echolib.training.recipes.placed import Placed, place_shares
from echolib.training.recipes.segment import TracedBatches

PLAIN, PRETRAINED, BOUNDED, FRAMEWISE = ("SimLVSeg-3D, no pre-training", "SimLVSeg-3D", "SimLVSeg-3D, areas bounded", "nnU-Net")
#: The plain network with one possible cause taken away.
LONGER, PLACED, FRAMES = "trained twice as long", "places weighed alike", "each frame normalised by itself"
#: A frame counts as filled where its mask has more than so many times the exact area, as lost below so much of it.
FILLED, LOST = 1.5, 0.5
#: Parts of a heart beat, from one end-diastole to the next, in which frames are averaged.
PARTS = 10
QUANTITIES = (Quantity("Dice, traced frames, %", "studies", "traced_dice", factor=100),
              Quantity("Dice, all other frames, %", "studies", "untraced_dice", factor=100),
              Quantity("Dice of the worst frame, %", "studies", "worst_dice", factor=100),
              Quantity("Error of the area, % of ED", "studies", "area_rmse"))
UNTRACED = Measure("untraced_dice", "Dice points of untraced frames", factor=100.0, small=SMALL_DICE)
WORST = Measure("worst_dice", "Dice points of the worst frame", factor=100.0)
AREA = Measure("area_rmse", "points less error of the area", less=True)
TRACED = Measure("traced_dice", "Dice points of traced frames", factor=100.0, small=SMALL_DICE)


class BetweenOptions(SeedOptions):
    """How strong the bound is."""

    weight: float = Field(1.0, gt=0, description="a number above 0")


def runs(profile: Profile, seed: int, options: BetweenOptions) -> dict[str, RunSpec]:
    """Three networks of Table 1, and one of them trained again, each time with one thing changed and nothing else."""
    plain = segment_run(profile, "unet3d", seed=seed)
    same = {"loss": plain.recipe.loss, "validation": plain.recipe.validation}
    longer = plain.train.model_copy(update={"epochs": 2 * plain.train.epochs})
    return {PLAIN: plain, PRETRAINED: segment_run(profile, "unet3d", seed=seed, pretrained=True),
            BOUNDED: plain.model_copy(update={"recipe": Bounded(**same, weight=options.weight)}),
            LONGER: plain.model_copy(update={"train": longer}),
            PLACED: plain.model_copy(update={"recipe": Placed(**same)}),
            FRAMES: plain.model_copy(update={"model": plain.model.model_copy(update={"name": "unet3d_frames"})}),
            FRAMEWISE: segment_run(profile, "nnunet2d", seed=seed)}


def evaluations(profile: Profile, options: Options) -> dict[str, list[VideoSpec]]:
    """Each on the whole test videos that all pages share, one evaluation a seed."""
    out: dict[str, list[VideoSpec]] = {}
    for seed in profile.seeds:
        for name, run in runs(profile, seed, options).items():
            out.setdefault(name, []).append(on_test_videos(profile, run))
    return out


def load(ledger: Ledger, options: Options) -> dict[str, list[Evaluation]]:
    """All evaluations, computed where they are missing."""
    return {name: ledger.evaluate(specs) for name, specs in evaluations(ledger.workspace.profile, options).items()}


def _more(profile: Profile, options: Options) -> Needs:
    """The frames of the first seed are drawn."""
    return Needs(bulk=tuple(specs[0] for specs in evaluations(profile, options).values()))


def wrong_frames(frames: pd.DataFrame) -> tuple[float, float]:
    """Shares of untraced frames that are filled and lost (see :data:`FILLED`); NaN where there is none.

    Args:
        frames: of an evaluation, with ``phase``, ``area_px`` and ``exact_area_px``.
    """
    part = frames[(frames.phase == "") & (frames.exact_area_px > 0)]
    ratio = part.area_px / part.exact_area_px
    return (float((ratio > FILLED).mean()), float((ratio < LOST).mean())) if len(part) else (np.nan, np.nan)


def over_the_beat(frames: pd.DataFrame) -> pd.DataFrame:
    """Means by part of the heart beat: ``phase`` (middle of the part, 0 and 1 are end-diastole), ``dice``, ``area`` (of the exact
    area), ``frames``; a part without a frame is NaN."""
    known = frames[frames.exact_phase.notna() & (frames.exact_area_px > 0)]
    part = np.minimum((known.exact_phase * PARTS).astype(int), PARTS - 1)
    table = pd.DataFrame({"dice": known.dice, "area": known.area_px / known.exact_area_px}).groupby(part).mean()
    table = table.reindex(range(PARTS))
    return table.assign(phase=(np.arange(PARTS) + 0.5) / PARTS, frames=part.value_counts().reindex(range(PARTS), fill_value=0))


def table_html(results: dict[str, list[Evaluation]], resamples: int) -> HTML:
    """Every measure of every network, and the frames that are plainly wrong (first seed)."""
    rows = []
    for name, group in results.items():
        tables = [{"studies": one.studies} for one in group]
        shares = [f"{100 * share:.1f} %" if np.isfinite(share) else "–" for share in wrong_frames(group[0].frames)]
        rows.append((html.escape(name), *(_shown(estimate(tables, q, resamples)) for q in QUANTITIES), *shares))
    head = ("Network", *(q.heading for q in QUANTITIES), f"Filled: over {FILLED:g} times the area",
            f"Lost: below {LOST:g} of the area")
    caption = ("Whole test videos against exact masks: means over videos and seeds with 95 % intervals; shares of untraced "
               "frames, first seed")
    return HTML(html_table(caption, head, rows, "echo-table echo-sortable"))


def _shown(one: Estimate) -> str:
    return f"{one.value:.2f} <small>({one.low:.2f}–{one.high:.2f})</small>" if np.isfinite(one.value) else "–"


def figure(results: dict[str, list[Evaluation]]) -> Figure:
    """Dice and area over the heart beat, a line a network (first seed); the causes that are ruled out or not are in the table."""
    drawn, axes = plt.subplots(1, 2, figsize=(8.6, 3.0), layout="constrained")
    styles = {PLAIN: (COLOURS["here"], "-"), PRETRAINED: (COLOURS["here"], "--"), BOUNDED: (COLOURS["other"], "-"),
              FRAMEWISE: ("#777777", ":")}
    for name in (name for name in styles if name in results):
        table, (colour, line) = over_the_beat(results[name][0].frames), styles[name]
        for axis, column, factor in zip(axes, ("dice", "area"), (100, 1), strict=True):
            axis.plot(table.phase, factor * table[column], line, color=colour, marker="o", ms=3.5, label=name)
    axes[1].axhline(1, color="#bbbbbb", lw=0.8, zorder=0)
    for axis, label in zip(axes, ("Dice of a frame, %", "area found / exact area"), strict=True):
        axis.set(xlabel="part of the heart beat (0 and 1: end-diastole)", ylabel=label, xlim=(0, 1))
        axis.grid(axis="y", color="#e5e5e5", lw=0.6)
    axes[0].legend(frameon=False, fontsize=7)
    return drawn


def places(store: ClipStore, run: RunSpec) -> np.ndarray:
    """How often the traced frame lies at each place of a training clip, in parts of the mean; ``(F,)``."""
    return place_shares(TracedBatches(store, "train", run), run.clip)


def places_figure(shares: np.ndarray, clip: ClipSpec) -> Figure:
    """:func:`places` as bars."""
    drawn, axis = plt.subplots(figsize=(8.6, 1.9), layout="constrained")
    axis.bar(np.arange(1, clip.frames + 1), shares, color=COLOURS["here"], width=0.8)
    axis.axhline(1, color="black", lw=0.8)
    axis.set(xlabel=f"place in a clip of {clip.frames} frames", ylabel="traced there,\nparts of the mean",
             xlim=(0.3, clip.frames + 0.7))
    return drawn


BETWEEN = Experiment(
    id="between_frames", number="Between", title="What traced frames do not teach", place=3, notebook="between_frames",
    evaluations_of=evaluations, options=BetweenOptions(), more=_more, claims=(
        Claim("Bounding areas helps on frames that nobody traced", BOUNDED, PLAIN, measure=UNTRACED),
        Claim("Bounding areas helps on the worst frame of a video", BOUNDED, PLAIN, measure=WORST),
        Claim("Bounding areas brings the area curve nearer to the exact one", BOUNDED, PLAIN, measure=AREA),
        Claim("Bounding areas helps on traced frames", BOUNDED, PLAIN, measure=TRACED),
        Claim("Training twice as long helps on frames that nobody traced", LONGER, PLAIN, measure=UNTRACED),
        Claim("Weighing the places of a clip alike helps on frames that nobody traced", PLACED, PLAIN, measure=UNTRACED),
        Claim("Normalising each frame by itself helps on frames that nobody traced", FRAMES, PLAIN, measure=UNTRACED),
        Claim("Pre-training helps on frames that nobody traced", PRETRAINED, PLAIN, measure=UNTRACED),
        Claim("A network that sees a clip is above a frame-wise one on frames that nobody traced", PLAIN, FRAMEWISE,
              measure=UNTRACED)))

PAGES = (BETWEEN,)
