"""The figure of the page on Table 2: backbones."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from echolib.plots import COLOURS, intervals


def backbone_figure(printed: pd.Series, ours: pd.DataFrame, data: str) -> Figure:
    """Dice of each backbone, published (``printed``: name -> Dice, %) on the left and ours on the right."""
    order = pd.Index([*printed.index, *(n for n in ours.index if n not in printed.index)])
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 0.5 * len(order) + 1.0), sharey=True, layout="constrained")
    known = pd.DataFrame({"value": printed, "low": np.nan, "high": np.nan}).reindex(order)
    for axis, table, title, colour in ((left, known, "published, EchoNet-Dynamic", COLOURS["published"]),
                                       (right, ours.reindex(order), f"this book, {data}", COLOURS["here"])):
        intervals(axis, table, colour)
        axis.set_title(title, fontsize=10, color=colour, loc="left")
        axis.set_xlabel("Dice, ED and ES frames (%)")
        axis.margins(x=0.15)
    return figure
