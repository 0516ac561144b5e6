"""The figure of the page on Figure 8: the mask ratio."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from echolib import published
from echolib.papers.simlvseg.figure8 import RATIOS, ratio_name
from echolib.plots import COLOURS


def place_of(name: str) -> float:
    """Where a group stands on the axis: 0 without pre-training, else tenths of masked frames."""
    return 0.0 if name == ratio_name("none") else float(name.removeprefix("mask ").removesuffix(" %")) / 10


def ratio_figure(ours: pd.DataFrame, data: str) -> Figure:
    """Figure 8: Dice over the mask ratio, published and ours, and how often each ratio is the best one."""
    table = published.load("simlvseg_figure8_mask_ratio").set_index("mask_ratio").dsc_overall
    x = [place_of(name) for name in ours.index]
    figure, (left, right, below) = plt.subplots(1, 3, figsize=(9.2, 3.0), width_ratios=(1, 1.2, 1), layout="constrained")
    left.plot([RATIOS.index(str(r)) for r in table.index], table, "o", color=COLOURS["published"], ms=6)
    for ratio, value in table.items():
        left.annotate(f"{value:.2f}", (RATIOS.index(str(ratio)), value), (0, 7), textcoords="offset points", ha="center",
                      fontsize=8)
    left.set_title("published, EchoNet-Dynamic\n(the two values in the text)", fontsize=9, loc="left", color=COLOURS["published"])
    right.vlines(x, ours.low, ours.high, color=COLOURS["here"], lw=2)
    right.plot(x, ours.value, "o", color=COLOURS["here"], ms=5)
    right.set_title(f"this book, {data}\n95 % intervals", fontsize=9, loc="left", color=COLOURS["here"])
    below.bar(x, 100 * ours.best, color=COLOURS["here"], width=0.7)
    below.set_title("this book: the best ratio\nin so many resamples", fontsize=9, loc="left", color=COLOURS["here"])
    below.set(ylabel="%", ylim=(0, 100))
    for axis in (left, right, below):
        axis.set_xticks(range(len(RATIOS)), ["none", *(f"{10 * i}" for i in range(1, 10))], fontsize=7)
        axis.set(xlabel="frames masked (%)", xlim=(-1.2, 9.7))
    for axis in (left, right):
        axis.set_ylabel("Dice (%)")
        axis.margins(y=0.25)
    return figure
