"""Stage 1 drawn and measured: masked clips, what comes back, and how far off it is, on clips prepared as in training and plain.

SimLVSeg's Figure 2, left. Training shows every clip jittered, turned, shifted and with its local contrast raised (CLAHE); a test
clip is plain. A reconstruction error on plain clips alone would therefore tell of contrast rather than of motion.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from echolib.config import ECHONET_STD, AugmentSpec, RunSpec
from echolib.data.store import ClipStore
from echolib.evaluation.bootstrap import patient_interval
from echolib.pages.html import html_table
from echolib.papers.simlvseg.method_drawing import SHOWN, batches_of, draw_frame, grey, plain_batches
from echolib.plots import COLOURS
from echolib.training.batches import Batch

#: Ways to prepare a clip.
TRAINED, CONTRAST, PLAIN = "as in training", "plain with CLAHE", "plain"


def prepared_batches(store: ClipStore, split: str, spec: RunSpec, count: int) -> dict[str, list[Batch]]:
    """The same clips with the same frames masked, prepared in up to three ways; a way that training does not know is left out.

    Returns:
        by name: :data:`TRAINED`, as the run augments them; :data:`CONTRAST`, with CLAHE and nothing else; :data:`PLAIN`, as
        test clips are segmented, see :func:`plain_batches`.
    """
    used, ways = spec.train.augment, {}
    if used is not None:
        ways[TRAINED] = used
        if used.clahe_p > 0:
            ways[CONTRAST] = AugmentSpec(jitter_p=0, clahe_p=1, rotation=0, pad=0)
    found = {}
    for name, augment in ways.items():
        train = spec.train.model_copy(update={"augment": augment, "batch": 1, "steps": count})
        batches = batches_of(store, split, spec.model_copy(update={"train": train}))
        found[name] = list(batches.epoch(0, torch.device("cpu")))
    return found | {PLAIN: plain_batches(store, split, spec, count)}


@dataclass(frozen=True)
class Reconstruction:
    """One masked clip and what came back. Pictures are ``(F, H, W)`` uint8; errors ``(F,)``, root mean square, grey levels.

    Attributes:
        study: whose clip.
        clip: before masking.
        seen: what the network saw.
        output: what the network gave.
        masked: ``(F,)`` bool.
        error: of the network's output.
        copied: of copying the nearest frame that was not masked, which needs no network; NaN where all were.
    """

    study: str
    clip: np.ndarray
    seen: np.ndarray
    output: np.ndarray
    masked: np.ndarray
    error: np.ndarray
    copied: np.ndarray


def reconstruct(model: nn.Module, batch: Batch) -> Reconstruction:
    """Run a stage-1 network on a batch of one clip (see :func:`prepared_batches`)."""
    with torch.inference_mode():
        output = model(batch.clip).float()
    target, masked = batch.target[:, :output.shape[1]], batch.masked[0].numpy()
    frames, kept = len(masked), np.flatnonzero(~masked)
    copied = np.full(frames, np.nan)
    if len(kept):
        nearest = kept[np.abs(np.arange(frames)[:, None] - kept).argmin(1)]
        copied = _rms(target[:, :, nearest], target)
    whole = output.expand(-1, 3, -1, -1, -1)  # a one-channel reconstruction (released protocol) shown in grey
    return Reconstruction(batch.studies[0], grey(batch.target), grey(batch.clip), grey(whole), masked,
                          _rms(output, target), copied)


def error_table(examples: Sequence[Reconstruction], resamples: int) -> pd.DataFrame:
    """Mean error at masked and at kept frames, with a 95 % interval over patients.

    Returns:
        Columns frames ("masked" / "kept"), of ("network" / "nearest kept frame"), value, low, high (grey levels), n.
    """
    long = pd.concat([pd.DataFrame({"patient": e.study, "masked": e.masked, "network": e.error, "nearest kept frame": e.copied})
                      for e in examples], ignore_index=True)
    rows = []
    for name, part in (("masked", long[long.masked]), ("kept", long[~long.masked])):
        for of in ("network", "nearest kept frame")[:2 if name == "masked" else 1]:
            values = part.dropna(subset=of)
            if len(values):
                found = patient_interval(values, value=of, resamples=resamples, seed=0)
                rows.append({"frames": name, "of": of, "value": found.mean, "low": found.low, "high": found.high,
                             "n": len(values)})
    return pd.DataFrame(rows)


def errors(model: nn.Module, prepared: dict[str, list[Batch]], resamples: int) -> dict[str, pd.DataFrame]:
    """:func:`error_table` of a stage-1 network for each way to prepare clips (see :func:`prepared_batches`)."""
    return {way: error_table([reconstruct(model, batch) for batch in batches], resamples) for way, batches in prepared.items()}


def error_html(runs: dict[str, dict[str, pd.DataFrame]], clips: int) -> str:
    """What :func:`errors` gives, by network, as one table: a row for each way to prepare clips."""
    def cell(table: pd.DataFrame, frames: str, of: str) -> str:
        found = table[(table.frames == frames) & (table.of == of)]
        return "".join(f"{r.value:.2f} <small>({r.low:.2f}–{r.high:.2f})</small>" for r in found.itertuples()) or "–"

    rows = [(html.escape(name), html.escape(way), cell(table, "masked", "network"), cell(table, "masked", "nearest kept frame"),
             cell(table, "kept", "network"), " + ".join(str(n) for n in table[table.of == "network"].n))
            for name, tables in runs.items() for way, table in tables.items()]
    return html_table(f"Root mean square error in grey levels (0-255), mean over the frames of {clips} test clips, 95 % interval "
                      "over patients", ("Run", "Clips", "Masked frames: network", "Masked frames: nearest kept frame copied",
                                        "Kept frames: network", "Masked + kept frames"), rows)


def error_words(runs: dict[str, dict[str, pd.DataFrame]]) -> str:
    """What :func:`errors` says of masked frames: the network beside copying, and what contrast has to do with it."""
    said = []
    for name, tables in runs.items():
        found = {way: table[table.frames == "masked"].set_index("of").value for way, table in tables.items()}
        found = {way: values for way, values in found.items() if "nearest kept frame" in values}
        if not found:  # every frame was masked: there is nothing to copy
            continue
        pairs = [f"{values['network']:.1f} ({values['nearest kept frame']:.1f}) on clips{'' if way == TRAINED else ' that are'} "
                 f"{way}" for way, values in found.items()]
        own = next(iter(found.values()))
        better = own["network"] < own["nearest kept frame"]
        said.append(f"{name} misses a masked frame by so many grey levels (in brackets: a copy of the nearest kept frame): "
                    f"{', '.join(pairs)}. On clips of its training's kind it is {'nearer' if better else 'no nearer'} to the "
                    "hidden frame than that copy.")
        if CONTRAST in found:
            plain, contrast = found[PLAIN]["network"], found[CONTRAST]["network"]
            if plain > own["network"]:
                said.append(f"Of the {plain - own['network']:.1f} that plain clips add, CLAHE alone takes away "
                            f"{plain - contrast:.1f}.")
    return " ".join(said)


def masking_figure(example: Reconstruction) -> Figure:
    """Three rows of frames (clip, what the network sees, what it gives back) over the error of every frame."""
    frames = len(example.masked)
    shown = min(frames, SHOWN)
    share = example.masked.mean()
    starts = range(frames - shown + 1)  # the stretch in which as many frames are masked as in the whole clip
    first = min(starts, key=lambda s: abs(example.masked[s:s + shown].mean() - share))
    figure = plt.figure(figsize=(8.6, 3 * 8.0 / shown + 1.9), layout="constrained")
    grid = figure.add_gridspec(4, shown, height_ratios=(*(8.0 / shown,) * 3, 1.7))
    rows = (("clip", example.clip), ("network\nsees", example.seen), ("network\ngives", example.output))
    for row, (name, pictures) in enumerate(rows):
        for column in range(shown):
            axis, frame = figure.add_subplot(grid[row, column]), first + column
            draw_frame(axis, pictures[frame], COLOURS["other"] if example.masked[frame] else None)
            if row == 0:
                axis.set_title(f"frame {frame + 1}", fontsize=8, pad=2,
                               color=COLOURS["other"] if example.masked[frame] else "black")
            if column == 0:
                axis.set_ylabel(name, fontsize=8)
    axis, at = figure.add_subplot(grid[3, :]), np.arange(1, frames + 1)
    for which, colour, name in ((example.masked, COLOURS["other"], "masked"), (~example.masked, COLOURS["here"], "kept")):
        axis.bar(at[which], example.error[which], color=colour, width=0.75, label=f"network, {name} frame")
    axis.plot(at[example.masked], example.copied[example.masked], "_", color="black", ms=11, mew=1.6,
              label="nearest kept frame copied")
    axis.set(xlabel="frame of the clip", ylabel="error (grey levels)", xlim=(0.3, frames + 0.7))
    axis.set_xticks(at[::max(1, frames // 16)])
    axis.set_ylim(0, 1.35 * max(example.error.max(), np.nanmax([0, *example.copied[example.masked]])))
    axis.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
    return figure


def masking_words(example: Reconstruction, way: str, ratio: float) -> tuple[str, str]:
    """Caption and alternative text of :func:`masking_figure`, for a clip prepared in this way."""
    masked, error = example.masked, example.error
    caption = (f"A test clip of {len(masked)} frames, {'prepared ' if way == TRAINED else ''}{way}, {masked.sum()} of them "
               f"masked (ratio {ratio:g}), with the network's reconstruction and its root mean square error in each frame.")
    return caption, (f"Frames before masking, with black frames, and reconstructed. Mean error {error[masked].mean():.1f} grey "
                     f"levels in masked frames, {error[~masked].mean():.1f} in kept ones")


def _rms(output: Tensor, target: Tensor) -> np.ndarray:
    """Root mean square difference of each frame in grey levels of 0-255; both ``(1, C, F, H, W)`` on the network's scale."""
    levels = 255 * output.new_tensor(ECHONET_STD[:output.shape[1]]).view(-1, 1, 1, 1)
    return (((output - target) * levels) ** 2).mean((0, 1, 3, 4)).sqrt().numpy()
