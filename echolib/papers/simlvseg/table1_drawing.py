"""Figures of the page on Table 1 and Figure 5."""

from __future__ import annotations

import html
from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from echolib import plots
from echolib.config import RunSpec, load_profile
from echolib.config.specs import chain
from echolib.evaluation.inference import segment_video
from echolib.ledger import examples
from echolib.ledger.committed import Shelf
from echolib.ledger.ledger import Ledger
from echolib.ledger.records import Record, parse_record
from echolib.pages.experiment import Experiment
from echolib.pages.html import html_table
from echolib.pages.scorecard import over_seeds
from echolib.papers.simlvseg.videos import on_test_videos
from echolib.plots import COLOURS, contact_sheet, intervals, overlay


def committed_elsewhere(experiment: Experiment, ledger: Ledger, shown: Iterable[Record]) -> tuple[str, dict[str, list[Record]]]:
    """Committed records of a table that are not among those shown, to stand beside them.

    Only profiles count that read data of the same kind, phantoms or the real set: the one being shown (when this machine has
    computed its runs itself), else the first by name that has any.

    Returns:
        the profile's name ("" for none) and its records by group.

    Raises:
        RecordError: a committed record is damaged.
    """
    workspace, seen = ledger.workspace, list(shown)
    names = sorted((p.stem for p in (workspace.root / "profiles").glob("*.yml")), key=lambda n: (n != workspace.profile.name, n))
    for name in names:
        profile = load_profile(workspace.root / "profiles" / f"{name}.yml")
        shelf = Shelf(workspace.root / "results" / name / "runs")
        if (profile.echonet.phantom is None) != (workspace.profile.echonet.phantom is None):
            continue
        found = {group: [shelf.record(s.key, parse_record) for s in specs] for group, specs in experiment.runs(profile).items()}
        rest = {group: [r for r in records if r is not None and r not in seen] for group, records in found.items()}
        if any(rest.values()):
            return name, rest
    return "", {}


def dice_figure(cells: pd.DataFrame, baseline: float | None, committed: dict[str, list[Record]], data: str,
                profile: str = "") -> Figure:
    """Overall Dice, published on the left and ours on the right, on separate axes because the experiments differ.

    Args:
        cells: from :func:`echolib.pages.scorecard.cells`.
        baseline: Dice (%) of the threshold-and-fill baseline on our data, or None.
        committed: method -> committed records that are shown beside ours (see :func:`committed_elsewhere`).
        data: what ours was measured on, for the title.
        profile: of the committed records.
    """
    table = cells[cells.column == "dsc_overall"].set_index("row")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 0.5 * len(table) + 1.1), sharey=True, layout="constrained")
    left.set_title("published, EchoNet-Dynamic", fontsize=10, color=COLOURS["published"], loc="left")
    intervals(left, table[["published", "published_low", "published_high"]].set_axis(["value", "low", "high"], axis=1),
              COLOURS["published"])
    right.set_title(f"this book, {data}", fontsize=10, color=COLOURS["here"], loc="left")
    intervals(right, table[["ours", "low", "high"]].set_axis(["value", "low", "high"], axis=1), COLOURS["here"],
              "this book")
    kept = {m: over_seeds([r.scores["overall"] for r in records]) for m, records in committed.items() if records}
    if kept:
        kept_table = pd.DataFrame(kept, index=["value", "low", "high"]).T.reindex(table.index)
        intervals(right, kept_table, COLOURS["committed"], f"committed, profile {profile}", offset=0.28)
    if baseline is not None:
        right.axvline(baseline, color=COLOURS["other"], lw=1.2, ls="--", label="threshold and fill")
    right.legend(frameon=False, fontsize=8, loc="lower left")
    for axis in (left, right):
        axis.set_xlabel("Dice, ED and ES frames (%)")
        axis.margins(x=0.12)
        axis.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def per_frame_figure(tables: dict[str, pd.DataFrame]) -> Figure:
    """Dice of every traced test frame, one row of points per network; the vertical line is the mean."""
    stacked = pd.concat([t.assign(network=name) for name, t in tables.items()], ignore_index=True)
    figure, axis = plt.subplots(figsize=(8.6, 0.42 * len(tables) + 1.1), layout="constrained")
    sns.stripplot(stacked, x="dice", y="network", hue="phase", hue_order=["ED", "ES"], dodge=True, size=4, alpha=0.75, ax=axis,
                  palette=[COLOURS["here"], COLOURS["truth"]], jitter=0.12)
    for position, table in enumerate(tables.values()):
        axis.plot([table.dice.mean()] * 2, [position - 0.4, position + 0.4], color="black", lw=1.5)
    axis.set(xlabel="Dice of a traced test frame", ylabel="", xlim=(-0.02, 1.02))
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def interval_figure(records: dict[str, Record]) -> Figure:
    """The paper's interval against the released program's, for the same predictions (audit rows 1 and 2)."""
    figure, axis = plt.subplots(figsize=(8.6, 0.5 * len(records) + 1.0), layout="constrained")
    ours = {n: (100 * r.dice.mean, 100 * r.dice.low, 100 * r.dice.high) for n, r in records.items()}
    legacy = {n: (100 * r.dice.pooled, 100 * r.dice.pooled_low, 100 * r.dice.pooled_high) for n, r in records.items()}
    for values, colour, label, offset in ((ours, COLOURS["here"], "mean over frames, 95 %, patients resampled", -0.14),
                                          (legacy, COLOURS["other"], "pooled, 5th-95th percentile, frames resampled", 0.2)):
        intervals(axis, pd.DataFrame(values, index=["value", "low", "high"]).T, colour, label, offset)
    axis.set_xlabel("Dice (%)")
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def training_figure(logs: dict[str, pd.DataFrame]) -> Figure:
    """Training loss over the steps, one panel per run."""
    figure, axes = plt.subplots(1, len(logs), figsize=(2.15 * len(logs), 2.1), layout="constrained", squeeze=False)
    for axis, (name, log) in zip(axes.flat, logs.items(), strict=True):
        axis.plot(range(1, len(log) + 1), log.loss, color=COLOURS["here"], lw=1)
        axis.set_title(name, fontsize=8, loc="left")
        axis.set(xlabel="step", ylim=(0, None))
    axes.flat[0].set_ylabel("loss")
    return figure


def seen_html(ledger: Ledger, runs: dict[str, list[RunSpec]]) -> HTML:
    """What every network was trained with: clips of stage 1, traced frames, frames beside them, time; means over seeds."""
    rows = []
    for name, specs in runs.items():
        records = [ledger.require(chain(spec)) for spec in specs]
        *before, last = ([group[at] for group in records] for at in range(len(records[0])))
        pictures = _mean(one.steps * one.spec.train.batch for one in last)
        rows.append((html.escape(name), *(f"{count:,.0f}" for count in (
            sum(_mean(one.steps * one.spec.train.batch for one in group) for group in before), pictures,
            pictures * last[0].spec.clip.frames)), f"{_mean(sum(one.train_seconds for one in group) for group in records):,.0f}"))
    head = ("Network", "Clips of stage 1", "Traced frames, repeats counted", "Frames in their clips", "Training, s")
    caption = "What each network has been trained with: means over seeds; seconds on the machines named below"
    return HTML(html_table(caption, head, rows))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def worst_figure(ledger: Ledger, spec: RunSpec, count: int = 5) -> tuple[Figure, pd.DataFrame]:
    """The test frames on which a run does worst, chosen by their score alone, with prediction and true outline.

    The outlines are those of :func:`on_test_videos`; on real data the true one is the tracing.
    """
    worst = ledger.scores(spec).nsmallest(count, "dice")
    evaluation = ledger.evaluate([on_test_videos(ledger.workspace.profile, spec)])[0]
    found = examples.require(ledger, evaluation, zip(worst.study, worst.frame.map(int), strict=True)).pictures.values()
    titles = [f"{row.phase}, Dice {row.dice:.2f}" for row in worst.itertuples()]
    pictures = [overlay(one.picture[None, ..., None], one.mask[None], one.exact[None])[0] for one in found]
    return contact_sheet(np.stack(pictures), titles, columns=count), worst


def worst_shown(ledger: Ledger, spec: RunSpec, name: str, count: int) -> HTML:
    """:func:`worst_figure` for the page; ``name`` is the network's."""
    figure, rows = worst_figure(ledger, spec, count)
    return plots.show(figure, f"The {len(rows)} test frames with the lowest Dice of {name}.", "Ultrasound frames with predicted "
                      "and traced contours; Dice " + ", ".join(f"{d:.2f}" for d in rows.dice))


def predicted_masks(model, video: np.ndarray, spec: RunSpec) -> np.ndarray:
    """Masks of every frame of a video, (T, H, W) bool, at probability 0.5."""
    return segment_video(model, video, spec.clip.frames, spec.clip.period, size=video.shape[1], overlap=True) >= 0.5


def cost_figure(table: pd.DataFrame, data: str) -> Figure:
    """Figure 5: Dice against GFLOPs per frame, the area of a bubble its parameters; published on the left, ours on the right.

    Args:
        table: from ``scorecard.cells`` of Table 1; ours at the count of the network as published.
        data: what ours was measured on.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.2), sharex=True, layout="constrained")
    for axis, column, title, colour in zip(axes, ("published", "ours"), ("published, EchoNet-Dynamic", f"this book, {data}"),
                                           (COLOURS["published"], COLOURS["here"]), strict=True):
        wide = table.pivot(index="row", columns="column", values=column).dropna(
            subset=["dsc_overall", "gflops_per_frame", "params_m"])
        axis.scatter(wide.gflops_per_frame, wide.dsc_overall, s=8 * wide.params_m, color=colour, alpha=0.45, edgecolor=colour)
        for rank, (name, row) in enumerate(wide.sort_values("dsc_overall").iterrows()):
            above = rank % 2 == 1
            lift = (7 if row.params_m < 30 else 11) * (1 if above else -1)
            axis.annotate(f"{name}, {row.params_m:.1f} M", (row.gflops_per_frame, row.dsc_overall), (0, lift),
                          textcoords="offset points", ha="left" if row.gflops_per_frame < 5 else "right",
                          va="bottom" if above else "top", fontsize=7.5)
        axis.set_title(title, fontsize=10, color=colour, loc="left")
        axis.set(xlabel="GFLOPs per frame", ylabel="Dice, ED and ES frames (%)", xlim=(0, 9.2))
        axis.margins(y=0.3)
    return figure
