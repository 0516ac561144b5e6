"""The stages of a network with their true shapes, read off a forward pass: SimLVSeg's Figure 4 for any network."""

from __future__ import annotations

import html
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import nn

from echolib.evaluation.complexity import operations
from echolib.models import count_parameters
from echolib.models.framewise import Wrapped2D
from echolib.pages.html import html_table
from echolib.plots import COLOURS

#: Parts that are opened to show what is inside.
_OPENED = ("encoder", "decoder", "backbone", "features")


@dataclass(frozen=True)
class Stage:
    """A part of a network as one clip passes it.

    Attributes:
        name: its modules' names.
        shape: of its output without the batch: channels, then frames (3-D networks), height, width; or tokens and channels.
        parameters: of its modules.
        macs: multiply-accumulates for one clip.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    macs: float

    @property
    def is_map(self) -> bool:
        """Does it give feature maps (not tokens)?"""
        return len(self.shape) >= 3


def stages(model: nn.Module, frames: int, size: int) -> list[Stage]:
    """Stages in the order in which a clip passes them, from hooks on every module.

    Consecutive modules with an output of the same shape are one stage; modules that the forward pass never calls are left out.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [module.register_forward_hook(_note(shapes, name)) for name, module in model.named_modules()]
    mode = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, frames, size, size))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(mode)
    counts = operations(model, frames, size)
    prefix = "network." if isinstance(model, Wrapped2D) else ""
    names = _chosen(model.get_submodule("network") if prefix else model, prefix, shapes)
    order = list(shapes)
    out: list[Stage] = []
    for name in sorted(names, key=order.index):
        stage = Stage(name.removeprefix(prefix), shapes[name], count_parameters(model.get_submodule(name)), counts[name])
        if out and out[-1].shape == stage.shape:
            last = out.pop()
            stage = Stage(f"{last.name} + {stage.name}", stage.shape, last.parameters + stage.parameters, last.macs + stage.macs)
        out.append(stage)
    return out


def _note(shapes: dict, name: str):
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            shapes[name] = tuple(map(int, output.shape[1:]))
    return hook


def _chosen(module: nn.Module, prefix: str, shapes: dict) -> list[str]:
    names = []
    for child, part in module.named_children():
        name = prefix + child
        if child in _OPENED or (name not in shapes and count_parameters(part)):
            names += _chosen(part, f"{name}.", shapes)
        elif count_parameters(part):
            names.append(name)
    return names


def network_figure(found: list[Stage], frames: int, size: int, title: str) -> Figure:
    """Stages from left to right: a box's height goes with the resolution, its width with the channels; arcs join the way down
    and the way up at equal resolution. Stages of tokens are not drawn."""
    drawn = [s for s in found if s.is_map]
    heights = np.sqrt([s.shape[-2] for s in drawn])
    heights = 3.0 * heights / heights.max()
    widths = 0.22 + 0.055 * np.sqrt([s.shape[0] for s in drawn])
    lefts = np.concatenate(([0], np.cumsum(np.maximum(widths, 0.95)[:-1] + 0.15)))
    figure, axis = plt.subplots(figsize=(8.6, 4.0), layout="constrained")
    bottom = int(np.argmin([s.shape[-2] for s in drawn]))
    centres = lefts + np.maximum(widths, 0.95) / 2
    for n, (stage, height, width, centre) in enumerate(zip(drawn, heights, widths, centres, strict=True)):
        colour = COLOURS["here"] if n <= bottom else COLOURS["committed"]
        axis.add_patch(Rectangle((centre - width / 2, -height / 2), width, height, facecolor=colour, alpha=0.85, lw=0))
        axis.text(centre, -1.72, f"{stage.shape[0]}", ha="center", va="top", fontsize=9, weight="bold")
        axis.text(centre, -1.98, "×".join(map(str, stage.shape[1:])), ha="center", va="top", fontsize=7)
        axis.text(centre, -2.22, f"{stage.parameters / 1e6:.2f} M\n{stage.macs / 1e9:.2f} G", ha="center", va="top", fontsize=7,
                  color="#555555")
    for down, up, level in _joined(drawn, bottom):
        axis.add_patch(FancyArrowPatch((centres[down], heights[down] / 2 + 0.04), (centres[up], heights[up] / 2 + 0.04),
                                       connectionstyle=f"arc3,rad={-0.10 - 0.02 * level}", arrowstyle="-|>", mutation_scale=9,
                                       color="#777777", lw=1))
    left = centres[0] - 0.75
    size_of = "frames×px" if len(drawn[0].shape) == 4 else "px"
    for y, text in ((-1.72, "channels"), (-1.98, size_of), (-2.22, "parameters\noperations")):
        axis.text(left, y, text, ha="right", va="top", fontsize=7, color="#555555")
    axis.set(xlim=(left - 1.1, centres[-1] + 0.7), ylim=(-2.8, 2.6), xticks=[], yticks=[])
    axis.set_title(f"{title}: a clip of {frames} frames of {size} × {size} px", fontsize=10, loc="left")
    for spine in axis.spines.values():
        spine.set_visible(False)
    return figure


def _joined(drawn: list[Stage], bottom: int) -> list[tuple[int, int, int]]:
    """(last stage down, first stage up, level) at each resolution that occurs on both sides of the lowest stage."""
    pairs = []
    for up in range(bottom + 1, len(drawn)):
        size = drawn[up].shape[1:]
        downs = [d for d in range(bottom) if drawn[d].shape[1:] == size]
        if downs and not any(drawn[p[1]].shape[1:] == size for p in pairs):
            pairs.append((downs[-1], up, len(pairs)))
    return pairs


def stage_table(found: list[Stage], whole: nn.Module, caption: str) -> str:
    """The stages as a table; the last row is the whole network, counted on its own."""
    rows = [(f"<code>{html.escape(s.name)}</code>", " × ".join(map(str, s.shape)), f"{s.parameters:,}", f"{s.macs / 1e9:.3f}")
            for s in found]
    other = count_parameters(whole) - sum(s.parameters for s in found)
    if other:
        rows.append(("not used by the forward pass, or between stages", "", f"{other:,}", ""))
    rows.append(("whole network", "", f"{count_parameters(whole):,}", f"{sum(s.macs for s in found) / 1e9:.3f}"))
    return html_table(caption, ("Stage", "Output: channels × size", "Parameters", "Operations, G"), rows)
