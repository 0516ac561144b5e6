"""The method drawn by the code that runs it: masked clips, super images, weak supervision, the stages of a network.

SimLVSeg's Figures 2 to 4. Nothing here is typed by hand: frames come from the batches that train, shapes from forward
hooks, operations from the counter behind Table 1.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from echolib.config import RunSpec
from echolib.data.augment import denormalise
from echolib.data.store import ClipStore
from echolib.losses.simlvseg import SEGMENTATION, select_traced
from echolib.models.super_image import cut, grid_side, lay
from echolib.plots import COLOURS, overlay
from echolib.training.batches import Batch, ClipBatches
from echolib.training.recipes.reconstruct import MaskedBatches
from echolib.training.recipes.segment import TracedBatches

#: Frames of a clip shown side by side; more would be too small to see.
SHOWN = 8


def plain_batches(store: ClipStore, split: str, spec: RunSpec, count: int) -> list[Batch]:
    """The first ``count`` clips of a split, one in a batch, as the run's own batches choose and mask them, not augmented."""
    train = spec.train.model_copy(update={"augment": None, "batch": 1, "steps": count})
    return list(batches_of(store, split, spec.model_copy(update={"train": train})).epoch(0, torch.device("cpu")))


def batches_of(store: ClipStore, split: str, spec: RunSpec) -> ClipBatches:
    """What a step of a run of either stage sees, on any split."""
    return (MaskedBatches if spec.recipe.kind == "reconstruct" else TracedBatches)(store, split, spec)


def training_batch(store: ClipStore, spec: RunSpec) -> Batch:
    """The first batch that a run of stage 2 trains on, or would on a sample of its cohort, augmented."""
    return next(iter(batches_of(store, "train", spec).epoch(0, torch.device("cpu"))))


def grey(clip: Tensor) -> np.ndarray:
    """``(1, 3, F, H, W)`` on the network's scale as ``(F, H, W)`` uint8."""
    return (denormalise(clip)[0].mean(0).clamp(0, 1) * 255).round().byte().numpy()


def draw_frame(axis: Axes, picture: np.ndarray, border: str | None = None) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(border is not None)
        spine.set(color=border or "black", linewidth=2)


# -- the super image ---------------------------------------------------------------------------------------------------

def super_image_figure(model: nn.Module, batch: Batch) -> Figure:
    """Clip, grid, the network's prediction on the grid, and the masks cut back out; frames numbered in every picture.

    Args:
        model: a :class:`~echolib.models.super_image.SuperImage` with trained weights.
        batch: one clip.
    """
    frames, height, width = map(int, batch.clip.shape[2:])
    with torch.inference_mode():
        image = lay(batch.clip, model.multiple)
        answer = model.network(image)
        masks = cut(answer, frames, height, width, model.multiple)[0, 0] >= 0
    pictures = grey(batch.clip)
    outlined = overlay(pictures[..., None], masks=masks.numpy())
    black = lay(torch.ones_like(batch.clip), model.multiple)[0, 0].numpy() == 0  # the padding, shown as a light ground
    laid = np.where(black, 70, grey(image[:, :, None])[0])
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.65), layout="constrained")
    _deck(axes[0], pictures)
    for axis, picture, options in ((axes[1], laid, {"cmap": "gray", "vmin": 0, "vmax": 255}),
                                   (axes[2], answer[0, 0].sigmoid().numpy(), {"cmap": "cividis", "vmin": 0, "vmax": 1})):
        axis.imshow(picture, interpolation="nearest", **options)
        _grid_lines(axis, frames, picture.shape)
    _deck(axes[3], outlined)
    size = "{} × {} px".format(*map(int, image.shape[-2:]))
    for axis, title in zip(axes, (f"{frames} frames of\n{height} × {width} px", f"laid on a grid:\n{size}",
                                  f"the network's answer:\nprobability, {size}", "cut apart:\none mask for each frame"),
                           strict=True):
        axis.set_title(title, fontsize=8, loc="left")
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
    return figure


def _deck(axis: Axes, pictures: np.ndarray) -> None:
    """Frames as a deck of cards, the first on top, each with its number on the strip that stays visible."""
    count, step = len(pictures), 1.9 / max(len(pictures), 4)
    for i in range(count - 1, -1, -1):
        left, bottom = i * step, i * step
        axis.imshow(pictures[i], extent=(left, left + 1, bottom, bottom + 1), cmap="gray", vmin=0, vmax=255,
                    zorder=2 * (count - i))
        axis.add_patch(Rectangle((left, bottom), 1, 1, fill=False, edgecolor="white", lw=0.8, zorder=2 * (count - i)))
        axis.text(left + 0.98, bottom + 0.97, str(i + 1), color="#ffd166", fontsize=6 if count > 9 else 8, ha="right", va="top",
                  zorder=2 * (count - i))
    end = (count - 1) * step + 1
    axis.set(xlim=(-0.02, end + 0.02), ylim=(-0.02, end + 0.02), aspect="equal")


def _grid_lines(axis: Axes, frames: int, shape: tuple[int, ...]) -> None:
    side = grid_side(frames)
    tall, wide = shape[0] / side, shape[1] / side
    for k in range(1, side):
        axis.axhline(k * tall - 0.5, color="white", lw=0.8)
        axis.axvline(k * wide - 0.5, color="white", lw=0.8)
    for i in range(frames):
        axis.text((i % side + 0.05) * wide, (i // side + 0.05) * tall, str(i + 1), color="#ffd166", fontsize=8, va="top")


# -- stage 2: weak supervision -----------------------------------------------------------------------------------------

def gradient_shares(model: nn.Module, batch: Batch, loss: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the loss of a batch pulls: at the network's output and, through the network, at its input.

    Args:
        model: a network of stage 2, in evaluation mode (so that no clip changes another one's gradient).
        batch: a batch of stage 2.
        loss: a key of :data:`echolib.losses.SEGMENTATION`.

    Returns:
        Two arrays ``(B, F)``: each frame's share of the summed absolute gradient of its clip.
    """
    clip = batch.clip.clone().requires_grad_()
    logits = model(clip)
    logits.retain_grad()
    SEGMENTATION[loss](select_traced(logits, batch.position), batch.mask).backward()
    sums = [gradient.abs().sum((1, 3, 4)).numpy() for gradient in (logits.grad, clip.grad)]
    model.zero_grad(set_to_none=True)
    return tuple(s / np.maximum(s.sum(1, keepdims=True), np.finfo(np.float32).tiny) for s in sums)


def supervision_figure(batch: Batch, at_output: np.ndarray, at_input: np.ndarray, count: int = 2) -> Figure:
    """Clips of a real batch with their one label, over the gradients of :func:`gradient_shares`."""
    count = min(count, len(batch.studies))
    figure = plt.figure(figsize=(8.6, 2.75 * count), layout="constrained")
    for part, n in zip(np.atleast_1d(figure.subfigures(count, 1)), range(count), strict=True):
        _supervised_clip(part, batch, n, at_output[n], at_input[n])
    return figure


def _supervised_clip(figure: Figure, batch: Batch, n: int, at_output: np.ndarray, at_input: np.ndarray) -> None:
    frames, traced = batch.clip.shape[2], int(batch.position[n])
    shown = min(frames, SHOWN)
    first = min(max(0, traced - shown // 2), frames - shown)
    pictures, grid = grey(batch.clip[n:n + 1]), figure.add_gridspec(2, shown, height_ratios=(1, 1.15))
    for column in range(shown):
        frame, axis = first + column, figure.add_subplot(grid[0, column])
        picture = pictures[frame]
        if frame == traced:
            picture = overlay(picture[None, ..., None], truth=batch.mask[n].numpy()[None])[0]
        draw_frame(axis, picture, COLOURS["truth"] if frame == traced else None)
        axis.set_title(f"frame {frame + 1}" + ("\ntraced" if frame == traced else "\nno label"), fontsize=8, pad=2,
                       color="#8a5a00" if frame == traced else "#555555")
    at = np.arange(1, frames + 1)
    for columns, shares, title in ((slice(0, shown // 2), at_output, "gradient at the output: the traced frame alone"),
                                   (slice(shown // 2, shown), at_input, "at the input: its neighbours as well")):
        axis = figure.add_subplot(grid[1, columns])
        colours = [COLOURS["truth"] if i == traced else COLOURS["here"] for i in range(frames)]
        axis.bar(at, 100 * shares, width=0.75, color=colours)
        axis.set_title(title, fontsize=8, loc="left")
        axis.set(xlabel="frame of the clip", ylabel="share (%)" if columns.start == 0 else "", xlim=(0.3, frames + 0.7))
        axis.set_xticks(at[::max(1, frames // 8)])
