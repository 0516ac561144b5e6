"""Train the default weights: a small video network on simulated clips alone, so that no data agreement stands behind them.

The record beside the weights says what a run cost and reached. The run is bounded by time, not by steps; it may be stopped
and started again at any moment, and more minutes go on from where fewer ended. Every frame carries its exact mask, so
the loss sees all of them (dense supervision, unlike the papers').
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echolib import models
from echolib.clinic.network import BRIGHTNESS
from echolib.clinic.segmentation import segment
from echolib.clinic.strong_augment import strong_augment
from echolib.clinic.weights import MOST_BYTES, Segmenter, load_segmenter, save_segmenter
from echolib.clinic.wide_clips import (
    HELD_OUT,
    HELD_OUT_ECHONET,
    PRESETS,
    TRAIN,
    TRAIN_ECHONET,
    WideClip,
    clip_path,
    ensure_clips,
    read_clip,
)
from echolib.data.augment import normalise
from echolib.errors import ConfigError, TrainingError
from echolib.evaluation.metrics import dice
from echolib.files import read_json
from echolib.losses import dice_frame
from echolib.models.neighbours import OFFSETS, farther
from echolib.models.weights import load_into, load_plain, load_weights
from echolib.training.predict import resolve_device


@dataclass(frozen=True)
class DefaultSpec:
    """All that decides the weights but the machine's speed.

    Attributes:
        minutes: of training, simulation not counted.
        clips: simulated clips to learn from, preset ``wide``, which varies everything.
        echonet: further ones, preset ``echonet``: their apex and lateral wall are as hidden as real ones, those of ``wide`` less.
        held_out: simulated clips of each kind for the record's scores, never learned from.
        length: frames of a simulated clip.
        network, width, frames: the network and the clip that it is given at work.
        train_frames: frames of a training clip; a network that sees few frames at once learns more from many short clips.
        batch: clips a step.
        extremes: share of the training clips that lie around the largest or the smallest cavity; systole is short, and a
            network that rarely sees its end draws it too large.
        lr: largest learning rate; it rises for 2 % of the time and then falls as a half cosine.
        decay: of the running mean of the weights, which is what is saved.
        area: weight of the error of the area; soft Dice alone is content with a mask that is too large where the edge is
            unsure, and systole, which is small, pays most for it.
        bf16: multiply in bfloat16; twice as many steps in the same time where the processor has it.
        start: sha256 of the weights that it started from, "" for random ones.
        seed: of everything.
    """

    minutes: float = 60.0
    clips: int = 500
    echonet: int = 0
    held_out: int = 24
    length: int = 64
    network: str = "nnunet25d"
    width: float = 0.5
    frames: int = 16
    train_frames: int = 4
    batch: int = 6
    extremes: float = 0.5
    lr: float = 2e-3
    decay: float = 0.998
    area: float = 0.5
    bf16: bool = False
    start: str = ""
    seed: int = 0

    @property
    def trained_on(self) -> str:
        """For reports."""
        what = f"{self.clips} of preset wide" + (f", {self.echonet} of preset echonet" if self.echonet else "")
        return (f"{self.clips + self.echonet} simulated apical clips of {self.length} frames (echolib's phantom, {what}, "
                f"seed {self.seed}), no patient's image among them.")

    def numbers(self) -> list[tuple[int, int]]:
        """Stream and number of every clip that is learned from."""
        return [(stream, k) for stream, count in ((TRAIN, self.clips), (TRAIN_ECHONET, self.echonet)) for k in range(count)]


def train_default(spec: DefaultSpec, cache: Path, out: Path, *, start: Path | None = None, device: str = "auto", workers: int = 1,
                  say: Callable[[str], None] = print) -> dict:
    """Simulate, train, score and save.

    Args:
        spec: what to train.
        cache: keeps the simulated clips and the checkpoint.
        out: ``<name>.safetensors``; its record is ``<name>.json``.
        start: weights to start from, of the same network or of one that sees fewer neighbours, with their record beside them;
            the new record holds theirs.
        device: where the network trains.
        workers: processes that simulate.
        say: takes lines of progress.

    Returns:
        The record.

    Raises:
        ConfigError: the weights would be larger than 10 MiB.
        WeightsError: ``start`` is not there, is damaged, or belongs to another network.
        TrainingError: the loss is not finite, or the device is not there; the last checkpoint stays.
    """
    place = resolve_device(device)
    model = models.build(spec.network, width=spec.width, frames=spec.frames, size=112, seed=spec.seed)
    before = None
    if start is not None:
        state = load_weights(start)
        load_segmenter(None, default=start)  # the checksum is the one in its record
        record = read_json(start.with_suffix(".json"))
        if {record["spec"]["network"], spec.network} <= set(OFFSETS):
            state = farther(state, record["spec"]["network"], spec.network)
        load_into(model, state, start.name)
        before = {name: record.get(name) for name in ("command", "commit", "started_from", "steps", "seconds", "sha256")}
        spec = replace(spec, start=str(record["sha256"]))
    size = 2 * models.count_parameters(model)  # stored in 16 bits
    if size > 0.98 * MOST_BYTES:
        raise ConfigError(f"{spec.network} of width {spec.width:g} takes {size / 2 ** 20:.1f} MiB; expected at most 9.8 MiB")
    for stream, count in ((TRAIN, spec.clips), (TRAIN_ECHONET, spec.echonet), (HELD_OUT, spec.held_out),
                          (HELD_OUT_ECHONET, spec.held_out)):
        ensure_clips(cache, stream, spec.seed, count, spec.length, workers=workers, say=say)
    clips = [read_clip(clip_path(cache, stream, spec.seed, number)) for stream, number in spec.numbers()]
    from echolib.ledger.code import code_fingerprint
    from echolib.ledger.provenance import git_state, hardware, versions

    commit, changed = git_state(Path(__file__).parent)
    averaged, history = _fit(spec, model.to(place), clips, cache, place, say)
    record = {"command": f"echolib train-default --minutes {spec.minutes:g} --clips {spec.clips} "
                         + (f"--echonet-clips {spec.echonet} " if spec.echonet else "")
                         + f"--network {spec.network} --width {spec.width:g} --frames {spec.frames} "
                         f"--train-frames {spec.train_frames} --batch {spec.batch} --seed {spec.seed}"
                         + (" --bf16" if spec.bf16 else "") + (f" --start {start.name}" if start else ""),
              "spec": asdict(spec), "trained_on": spec.trained_on, "parameters": models.count_parameters(averaged),
              "steps": history[-1]["steps"], "seconds": round(history[-1]["seconds"], 1), "history": history,
              "device": str(place.type), "hardware": hardware(),
              "versions": versions(),
              "started_from": before,
              "commit": commit, "uncommitted_changes": changed, "phantom_code": code_fingerprint(("phantom",)),
              "validation": {PRESETS[stream]: _score(spec, averaged, cache, stream, place)
                             for stream in (HELD_OUT, HELD_OUT_ECHONET)}}
    save_segmenter(averaged, out, network=spec.network, width=spec.width, frames=spec.frames, period=1, size=112,
                   trained_on=spec.trained_on, record=record, half=True)
    return {**record, "bytes": out.stat().st_size}


def _fit(spec: DefaultSpec, model: nn.Module, clips: list[WideClip], cache: Path, device: torch.device,
         say: Callable[[str], None]) -> tuple[nn.Module, list[dict]]:
    """Train until the minutes are used up; the network with the running mean of the weights, and its history.

    The history has one entry for every specification that the training has gone on under: it, and the steps and seconds
    at its end, counted from the very start.
    """
    averaged = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=1e-4)
    kind = f"{spec.network}-{spec.width:g}-{spec.train_frames}-{spec.batch}-{spec.clips}-{spec.seed}"
    kind += f"-{spec.echonet}" if spec.echonet else ""
    kind += f"-{spec.start[:8]}" if spec.start else ""
    checkpoint = cache / f"checkpoint-{kind}.pt"
    history = _resume(checkpoint, model, averaged, optimiser, say)
    step, seconds = (history[-1]["steps"], history[-1]["seconds"]) if history else (0, 0.0)
    if not history or history[-1]["spec"] != asdict(spec):
        history.append({"spec": asdict(spec), "steps": step, "seconds": seconds})
    model.train()
    budget, saved, told, losses = 60 * spec.minutes, time.perf_counter(), time.perf_counter(), []
    while seconds < budget:
        began = time.perf_counter()
        progress = seconds / budget
        for group in optimiser.param_groups:
            group["lr"] = spec.lr * min(1.0, progress / 0.02 + 0.05) * max(0.5 + 0.5 * math.cos(math.pi * progress), 0.01)
        chosen, clip, masks = make_batch(clips, spec, step, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=spec.bf16):
            logits = model(normalise(clip[:, None].expand(-1, 3, -1, -1, -1)))[:, 0]
        loss = _loss(logits.float(), masks, spec.area)
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} at step {step} (simulated clips {', '.join(map(str, chosen))}); the "
                                f"last good state is {checkpoint.name}: start again to go on from there, or with a smaller rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        _average(averaged, model, min(spec.decay, (1 + step) / (10 + step)))
        losses.append(float(loss.detach()))
        step += 1
        now = time.perf_counter()
        seconds += now - began
        if now - told > 30:
            say(f"step {step}, {seconds / 60:.1f} of {spec.minutes:g} minutes, loss {np.mean(losses[-50:]):.3f}")
            told = now
        if now - saved > 60 or seconds >= budget:
            history[-1] |= {"steps": step, "seconds": seconds}
            _save(checkpoint, model, averaged, optimiser, history)
            saved = now
    return averaged.eval(), history


def make_batch(clips: list[WideClip], spec: DefaultSpec, step: int, device: torch.device) -> tuple[list[int], Tensor, Tensor]:
    """The batch of a step: numbers of its clips, (B, F, H, W) float in [0, 1] and bool, augmented. Seed and step decide it."""
    rng = np.random.default_rng([spec.seed, 11, step])
    chosen = rng.integers(len(clips), size=spec.batch).tolist()
    frames, masks = [], []
    for number in chosen:
        one = clips[number]
        most = max(1, (len(one.frames) - 1) // max(1, spec.train_frames - 1))
        stride = int(rng.choice([1, 1, 2, 3][:min(4, most + 1)]))  # slower and faster hearts and frame rates
        start = int(rng.integers(max(1, len(one.frames) - (spec.train_frames - 1) * stride)))
        if rng.random() < spec.extremes:
            area = one.masks.sum((1, 2))
            middle = int(area.argmin() if rng.random() < 0.6 else area.argmax()) + int(rng.integers(-2, 3))
            start = max(0, middle - stride * (spec.train_frames // 2))
        taken = np.minimum(start + stride * np.arange(spec.train_frames), len(one.frames) - 1)
        if rng.random() < 0.15:  # half cycles are shown there and back, so a heart may run backwards
            taken = taken[::-1]
        pixels = one.frames[taken].astype(np.float32)
        lit = pixels[pixels > 2]
        frames.append(pixels * (BRIGHTNESS / 255 / max(float(np.percentile(lit, 95)) if lit.size else BRIGHTNESS, 1.0)))
        masks.append(one.masks[taken])
    generator = torch.Generator().manual_seed(int(rng.integers(2 ** 31)))
    clip = torch.from_numpy(np.stack(frames)).clamp_(0, 1).to(device)
    return chosen, *strong_augment(clip, torch.from_numpy(np.stack(masks)).to(device), generator)


def _loss(logits: Tensor, masks: Tensor, area: float) -> Tensor:
    """Soft Dice of every frame, cross-entropy, which alone has a gradient where the two do not overlap, and the area's error.

    The error is the absolute logarithm of the ratio of the soft area to the true one, at most 1 a frame: symmetric, so that
    too large costs what too small does. Frames whose ventricle was shifted out of the picture have none.
    """
    flat, target = logits.flatten(0, 1), masks.flatten(0, 1)
    loss = dice_frame(flat, target) + F.binary_cross_entropy_with_logits(flat, target.float())
    true = target.sum((1, 2)).float()
    ratio = torch.log((torch.sigmoid(flat).sum((1, 2)) + 1) / (true + 1)).abs().clamp(max=1)
    return loss + area * (ratio * (true > 0)).mean()


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for mean, now in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def _save(path: Path, model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer, history: list[dict]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save({"model": model.state_dict(), "averaged": averaged.state_dict(), "optimiser": optimiser.state_dict(),
                    "history": history}, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _resume(path: Path, model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer,
            say: Callable[[str], None]) -> list[dict]:
    if not path.is_file():
        return []
    state = load_plain(path)
    try:
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        history = state["history"]
        step, seconds = int(history[-1]["steps"]), float(history[-1]["seconds"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError):
        raise TrainingError(f"{path.name} is no checkpoint of this training; delete it to start anew") from None
    say(f"going on from step {step}, {seconds / 60:.1f} minutes")
    return history


def _score(spec: DefaultSpec, model: nn.Module, cache: Path, stream: int, device: torch.device) -> dict:
    """Dice and EF error on held-out clips, through the whole of :func:`~echolib.clinic.segmentation.segment`."""
    segmenter = Segmenter(model, spec.frames, 1, 112, "", "", "", "")
    scores, errors = [], []
    for number in range(spec.held_out):
        clip = read_clip(clip_path(cache, stream, spec.seed, number))
        result = segment(clip.frames, clip.fps, clip.spacing_mm, weights=segmenter, device=str(device))
        pairs = zip(result.source_masks(), clip.masks, strict=True)
        scores.append(float(np.mean([dice(found, truth) for found, truth in pairs])))
        if result.beats:
            errors.append(result.ef - clip.ef)
    return {"data": f"{spec.held_out} other simulated clips, preset {PRESETS[stream]}",
            "dice_mean": round(float(np.mean(scores)), 4), "dice_sd": round(float(np.std(scores)), 4),
            "dice_worst": round(min(scores), 4), "clips_with_ef": len(errors),
            "ef_mae_points": round(float(np.abs(errors).mean()), 2) if errors else None,
            "ef_bias_points": round(float(np.mean(errors)), 2) if errors else None}
