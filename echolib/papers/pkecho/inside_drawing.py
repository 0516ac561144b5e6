"""Figures 3, 4 and 8, drawn from :mod:`echolib.papers.pkecho.inside`."""

from __future__ import annotations

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from echolib.papers.pkecho.inside import Inside
from echolib.plots import COLOURS, overlay

#: The two ends of a clip, by what they are.
ENDS = {"ED": 0, "ES": -1}


def proxy_figure(one: Inside) -> Figure:
    """Figure 3: the pixels that take most from each coarse pixel, and how mixed each pixel is, at both ends of the clip."""
    figure, axes = plt.subplots(2, 4, figsize=(8.6, 4.5), layout="constrained")
    for line, (phase, place) in zip(axes, ENDS.items(), strict=True):
        shown = overlay(one.frames[place][None, ..., None], one.masks[-1][place][None] > 0.5, one.traced[place][None])[0]
        size = one.regions.shape[-1]
        large = cv2.resize(one.frames[place], (size, size), interpolation=cv2.INTER_AREA if size < len(one.frames[place])
                           else cv2.INTER_LINEAR)
        regions, spread = one.regions[place], one.spread[place]
        line[0].imshow(shown)
        line[1].imshow(_bordered(large, regions))
        line[2].imshow(regions % 20, cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
        drawn = line[3].imshow(spread, cmap="magma", vmin=0, vmax=1)
        line[0].set_ylabel(phase, fontsize=10)
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
    count = len(np.unique(one.regions[0]))
    for axis, title in zip(axes[0], ("frame; blue: network,\norange: tracing", "borders of the regions",
                                     f"region of each coarse pixel\n({count} at ED)", "how mixed (1: evenly)"), strict=True):
        axis.set_title(title, fontsize=9, loc="left")
    figure.colorbar(drawn, ax=axes[:, 3], shrink=0.6)
    return figure


def _bordered(frame: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """A frame with the borders between regions in yellow, (Y, X, 3) uint8."""
    rgb = np.repeat(frame[..., None], 3, axis=-1)
    edge = np.zeros(regions.shape, bool)
    edge[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    edge[1:] |= regions[1:] != regions[:-1]
    rgb[edge] = (230, 200, 60)
    return rgb


def restored_figure(one: Inside) -> Figure:
    """Figure 8: the predictor's features as the affinity maps restore them step by step, at both ends of the clip."""
    figure, axes = plt.subplots(2, 1 + len(one.steps), figsize=(8.6, 3.6), layout="constrained", squeeze=False)
    for line, (phase, place) in zip(axes, ENDS.items(), strict=True):
        line[0].imshow(overlay(one.frames[place][None, ..., None], None, one.traced[place][None])[0])
        line[0].set_ylabel(phase, fontsize=10)
        for axis, (factor, features) in zip(line[1:], one.steps.items(), strict=True):
            axis.imshow(features[place], cmap="viridis")
            height, width = features[place].shape
            axis.set_title(f"× {factor}\n{height} × {width}", fontsize=9)
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
    axes[0, 0].set_title("frame\nand tracing", fontsize=9)
    return figure


def kernel_figure(one: Inside) -> Figure:
    """Figure 4: over the iterations, the masks at ED and ES, which kernels each kernel attends to, and how alike they are."""
    stages, frames = len(one.masks), len(one.numbers)
    figure, axes = plt.subplots(4, stages, figsize=(2.15 * stages, 8.2), layout="constrained", squeeze=False)
    for column in range(stages):
        axes[0, column].set_title("before" if column == 0 else f"iteration {column}", fontsize=10)
        for line, (phase, place) in zip(axes[:2, column], ENDS.items(), strict=True):
            line.imshow(one.frames[place], cmap="gray", vmin=0, vmax=255)
            probability = np.ma.masked_less(one.masks[column][place], 0.05)
            line.imshow(probability, cmap="viridis", vmin=0, vmax=1, alpha=0.55)
            line.contour(one.traced[place], levels=[0.5], colors=COLOURS["truth"], linewidths=1)
            line.set(xticks=[], yticks=[])
            if column == 0:
                line.set_ylabel(f"mask, {phase}", fontsize=9)
        if column and len(one.attention) >= column:
            drawn = axes[2, column].imshow(one.attention[column - 1], cmap="magma", vmin=0, vmax=float(one.attention.max()))
        else:
            axes[2, column].axis("off")
        alike = axes[3, column].imshow(one.likeness[column], cmap="viridis", vmin=-1, vmax=1)
        for axis in axes[2:, column]:
            axis.set(xticks=[0, frames - 1], xticklabels=["ED", "ES"], yticks=[0, frames - 1], yticklabels=["ED", "ES"])
    axes[2, 0].text(0.0, 0.5, "attention over frames:\nrow looks at column", fontsize=8.5, transform=axes[2, 0].transAxes)
    axes[3, 0].set_ylabel("likeness of kernels", fontsize=9)
    if len(one.attention):
        figure.colorbar(drawn, ax=axes[2, :], shrink=0.8)
    figure.colorbar(alike, ax=axes[3, :], shrink=0.8)
    return figure


def words(one: Inside) -> str:
    """What a reader who cannot see Figure 4 needs to know."""
    if not len(one.attention):
        return "Masks and kernels over the iterations; this network has no attention over frames"
    own = [float(np.diagonal(part).mean()) for part in one.attention]
    apart = [float(part[0, -1]) for part in one.likeness]
    return ("Masks, attention and likeness of kernels over the iterations. A kernel's attention to itself: "
            + ", ".join(f"{v:.2f}" for v in own) + f" (even: {1 / len(one.numbers):.2f}). Cosine of the ED and ES kernels: "
            + ", ".join(f"{v:.2f}" for v in apart))
