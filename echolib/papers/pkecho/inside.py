"""Figures 3, 4 and 8 from a trained network: region proxies, features that they restore, and what the kernels attend to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.data.augment import normalise, to_float
from echolib.data.clips import phase_indices
from echolib.data.store import ClipStore
from echolib.ledger.context import SAMPLE
from echolib.ledger.ledger import Ledger
from echolib.models.pkecho import PROXIES, PKEchoNet
from echolib.models.pkecho_kernels import Attention
from echolib.models.pkecho_propagation import propagate
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.papers.pkecho import table1
from echolib.papers.pkecho.table1 import OURS, on
from echolib.training.phases import Pair, traced_pairs


@dataclass(frozen=True)
class Inside:
    """What a network holds while one clip from ED to ES passes it.

    Attributes:
        study: whose clip.
        numbers: (F,) frame numbers.
        frames: (F, S, S) uint8, as stored.
        traced: (2, S, S) bool, of the first and the last frame.
        steps: restored features by factor so far, 1 first: (F, h, w) float, the mean over the 32 channels.
        regions: (F, Y, X) int: for each pixel the coarse one that it takes most from.
        spread: (F, Y, X) float in [0, 1]: entropy of what it takes, over that of an even mixture of all coarse pixels.
        masks: (stages, F, S, S) float, probability after each refinement of the kernels.
        attention: (stages, F, F) float, rows sum to 1: which frames' kernels each frame's kernel attends to.
        likeness: (stages + 1, F, F) float, cosine between the frames' kernels, before the first refinement and after each.
    """

    study: str
    numbers: np.ndarray
    frames: np.ndarray
    traced: np.ndarray
    steps: dict[int, np.ndarray]
    regions: np.ndarray
    spread: np.ndarray
    masks: np.ndarray
    attention: np.ndarray
    likeness: np.ndarray


@torch.no_grad()
def look(model: PKEchoNet, store: ClipStore, pair: Pair) -> Inside:
    """Let the clip of a study pass a network in evaluation mode and note what is inside."""
    indices = phase_indices(pair.ed, pair.es, model.frames)
    stored = store.clip(pair.study, indices)
    clip = normalise(to_float(torch.from_numpy(stored)[None]))
    kernels: list[Tensor] = []
    weights: list[Tensor] = []
    hooks = [stage.register_forward_hook(lambda _m, _i, out: kernels.append(out[0])) for stage in model.stages]
    hooks += [stage.temporal.attention.register_forward_hook(lambda own, given, _o: weights.append(attended(own, *given[:2])))
              for stage in model.stages if stage.temporal is not None]
    try:
        stages = model(clip, stages=True)
    finally:
        for hook in hooks:
            hook.remove()
    images = model.fitted(clip).transpose(1, 2).flatten(0, 1)
    maps = model.encoder(images)
    features, _ = model.predictor(maps[-1])
    steps, coarse = {1: features.mean(1).numpy()}, features.shape[-2] * features.shape[-1]
    owners = torch.eye(coarse).view(1, coarse, *features.shape[-2:]).expand(len(features), -1, -1, -1)
    factor = 1
    for layer, finer in PROXIES[model.options.proxies]:
        affinities = model.proxies[f"layer{layer}"](maps[layer])
        features, owners, factor = propagate(features, affinities, finer), propagate(owners, affinities, finer), factor * finer
        steps[factor] = features.mean(1).numpy()
    entropy = -(owners * owners.clamp(min=1e-12).log()).sum(1) / np.log(max(coarse, 2))
    first = model.predictor.head.weight.flatten(1).expand(model.frames, -1)
    each = torch.stack([first, *(one[0, :, 0] for one in kernels)])
    unit = each / each.norm(dim=-1, keepdim=True)
    none = torch.zeros(0, model.frames, model.frames)
    return Inside(pair.study, indices, stored.mean(-1).round().astype(np.uint8),
                  np.stack([store.mask(pair.study, frame) for frame in (pair.ed, pair.es)]), steps,
                  owners.argmax(1).numpy(), entropy.numpy(), torch.stack([one[0, 0].sigmoid() for one in stages]).numpy(),
                  (torch.cat(weights) if weights else none).numpy(), (unit @ unit.transpose(1, 2)).numpy())


def attended(attention: Attention, query: Tensor, key: Tensor) -> Tensor:
    """The weights ``(N, n, m)`` of an attention on its inputs, without dropout."""
    return (attention.query(query) @ attention.key(key).transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)


def run_of(profile: Profile) -> RunSpec | None:
    """The smallest network on EchoNet-Dynamic, first seed; None where the profile runs none. Its weights are small enough to
    be committed, so that the page can be drawn again."""
    runs = table1.groups(profile, profile.seeds[0], table1.Table1Options())
    return next((runs[on(OURS[d], "EchoNet-Dynamic")] for d in OURS if on(OURS[d], "EchoNet-Dynamic") in runs), None)


class InsideOptions(SeedOptions):
    """Which clip is shown."""

    study: int = Field(0, ge=0, le=SAMPLE - 1, description=f"a whole number from 0 to {SAMPLE - 1}")


def load(ledger: Ledger, options: Options) -> Inside:
    """What is inside that network while the clip of a test study passes it."""
    model = ledger.model(run_of(ledger.workspace.profile))
    store, _ = ledger.sample()
    pairs = traced_pairs(store, "test", leave_out=True)
    return look(model, store, pairs[options.study % len(pairs)])


def _more(profile: Profile, options: Options) -> Needs:
    run = run_of(profile)
    return Needs() if run is None else Needs(runs=(run,), weights=(run,))


FIGURE3 = Experiment(id="pkecho_figure3", number="Figures 3 and 8", place=5, title="Region proxies, looked at",
                     notebook="pkecho_inside", more=_more, options=InsideOptions())
FIGURE4 = Experiment(id="pkecho_figure4", number="Figure 4", place=5, title="What the kernels attend to",
                     notebook="pkecho_inside", more=_more, options=InsideOptions())

PAGES = (FIGURE3, FIGURE4)
