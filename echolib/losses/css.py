"""Losses of CSS (Dai et al., IEEE TMI 2023): cyclical self-supervision (eq. 1-7), cross pseudo supervision, distillation (11-13).

A phase is a window of s consecutive frames. One in the clip's beginning (the template) is found softly one beat later (the search
region); c frames on, the soft match is looked for in the template again, where it must be c frames after the first one.

Two readings of the last search: ``template``, as printed: every frame of the template may begin the match, so a window may reach
beyond; ``inside``, the released program: windows wholly inside the template, at least c after its start (11 instead of 15
classes, and 11 instead of 13 starting points).

How sharp the match is hangs on the features' scale: distances are squared, so scaling features by k is scaling the temperature by
k^2. The paper does not say how the encoder's maps become a vector; its program adds up the positions, which at 112 px are 196
times their mean. Features here are means, and ``scale`` says what they are multiplied by; ``spread`` divides by the root mean
square distance between the clip's frames, so that a temperature means the same for every network and frame size.

Everything is computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from echolib.losses.simlvseg import bce_sum

#: Positions of the encoder's last maps on a frame of 112 px.
RELEASED_SCALE = 196.0


@dataclass(frozen=True)
class Cycle:
    """What is matched with what.

    Attributes:
        length: s, frames of a phase.
        offset: c, frames between the two questions.
        temperature: tau; higher is sharper.
        template: frames of the clip in which a phase may begin at first (P).
        candidates: see the head of this file.
        scale: of the features.
    """

    length: int = 3
    offset: int = 2
    temperature: float = 10.0
    template: int = 15
    candidates: Literal["template", "inside"] = "template"
    scale: float | Literal["spread"] = RELEASED_SCALE

    @property
    def classes(self) -> range:
        """Where in the template (0-based) the last match may begin."""
        return range(self.template) if self.candidates == "template" else range(self.offset, self.template - self.length + 1)

    @property
    def starts(self) -> int:
        """So many starting points p* there are, the first being 0; each is followed by a class c frames later."""
        return self.classes.stop - self.offset

    @property
    def buffer(self) -> int:
        """Frames at the clip's end (B) that no search begins in."""
        return self.offset + self.length - 1

    def searched(self, frames: int) -> int:
        """Places (Q) of a clip of so many frames at which a match may begin.

        Raises:
            ValueError: there is no starting point, or nothing is left to search.
        """
        if self.starts < 1:
            raise ValueError(f"a template of {self.template} frames has no starting point for phases of {self.length} frames and "
                             f"an offset of {self.offset}")
        if frames - self.template - self.buffer < 2:
            raise ValueError(f"a clip of {frames} frames has no room for a template of {self.template}, a search and a buffer of "
                             f"{self.buffer}; expected at least {self.template + self.buffer + 2} frames")
        return frames - self.template - self.buffer


@dataclass(frozen=True)
class Match:
    """How a phase was found.

    Attributes:
        loss: scalar, -log beta at the place where it must be (eq. 7).
        alpha: ``(n,)``, probabilities of the places of the search region (eq. 2).
        beta: ``(k,)``, probabilities of the classes (eq. 6).
        entropy: scalar, of alpha, as a share of log n: 0 is one-hot, 1 is uniform.
    """

    loss: Tensor
    alpha: Tensor
    beta: Tensor
    entropy: Tensor


def cyclical(features: Tensor, start: int, cycle: Cycle) -> Match:
    """The cyclical loss of one clip.

    Args:
        features: ``(F, d)``, means over the positions of the encoder's maps.
        start: p*, from 0 to ``cycle.starts - 1``.
        cycle: what is matched with what.

    Raises:
        ValueError: the clip is too short, or there is no such start.
    """
    cycle.searched(len(features))
    return aligned(features[:cycle.template + cycle.length - 1], features[cycle.template:], start, cycle)


def aligned(template: Tensor, search: Tensor, start: int, cycle: Cycle) -> Match:
    """The same where the search region may be of another video (temporal cycle consistency, TCCL, with an offset of 0).

    Args:
        template: ``(P + s - 1, d)``.
        search: ``(n + c + s - 1, d)``: the n places of the search region and the buffer after them.
        start: p*.
        cycle: what is matched with what.

    Raises:
        ValueError: there is no such start.
    """
    if not 0 <= start < cycle.starts:
        raise ValueError(f"the template has {cycle.starts} starting points, 0 to {cycle.starts - 1}; not {start}")
    with torch.autocast(template.device.type, enabled=False):
        template, search = _scaled(template.float(), search.float(), cycle.scale)
        own, other = (z.unfold(0, cycle.length, 1) for z in (template, search))          # (., d, s): one phase a row
        places = other[:len(other) - cycle.offset]
        log_alpha = F.log_softmax(cycle.temperature * similarity(own[start], places), 0)
        alpha = log_alpha.exp()
        found = torch.einsum("q,qds->ds", alpha, other[cycle.offset:])                      # eq. 4 and 5
        classes = cycle.classes
        log_beta = F.log_softmax(cycle.temperature * similarity(found, own[classes.start:classes.stop]), 0)
        entropy = -(alpha * log_alpha).sum() / torch.log(torch.tensor(float(len(places)), device=alpha.device))
    return Match(-log_beta[start + cycle.offset - classes.start], alpha, log_beta.exp(), entropy.detach())


def similarity(phase: Tensor, phases: Tensor) -> Tensor:
    """gamma (eq. 3): minus the mean squared difference of a phase ``(d, s)`` from each of ``(n, d, s)``: ``(n,)``."""
    return -(phase - phases).square().mean((1, 2))


def _scaled(template: Tensor, search: Tensor, scale: float | str) -> tuple[Tensor, Tensor]:
    if scale != "spread":
        return template * scale, search * scale
    squares = [2 * z.var(0, unbiased=True).mean() for z in (template, search)]            # mean over pairs of |z_i - z_j|^2 / d
    spread = torch.stack(squares).mean().detach().clamp(min=torch.finfo(torch.float32).tiny).sqrt()
    return template / spread, search / spread


def halves(diastole: Tensor, systole: Tensor, masks: Tensor) -> Tensor:
    """L_seg: the mean of two cross-entropies, of the ED and of the ES frames, each summed over pixels and frames.

    Args:
        diastole, systole: logits ``(N, H, W)``.
        masks: ``(N, 2, H, W)`` bool, ED and ES.
    """
    return (bce_sum(diastole, masks[:, 0]) + bce_sum(systole, masks[:, 1])) / 2


def cross_pseudo(first: Tensor, second: Tensor) -> Tensor:
    """Each network's cross-entropy against the other's mask (Chen et al., CVPR 2021), summed over pixels and frames.

    Args:
        first, second: logits ``(N, H, W)`` of two networks; no gradient reaches a network through the mask that it gives.
    """
    return bce_sum(first, second.detach() > 0) + bce_sum(second, first.detach() > 0)


def distillation(labelled: Tensor, truth: Tensor, unlabelled: Tensor, taught: Tensor, weight: float) -> Tensor:
    """Mean squared error of the labelled clips plus ``weight`` times that of the unlabelled ones to the teacher (eq. 11-13).

    Args:
        labelled, truth: ``(N,)``, found and labelled ejection fractions, %.
        unlabelled, taught: ``(M,)``, the student's and the teacher's; no gradient reaches the teacher.
        weight: w_ulb; the released program halves the unlabelled term, so that its 5 acts as 2.5.
    """
    return F.mse_loss(labelled.float(), truth.float()) + weight * F.mse_loss(unlabelled.float(), taught.detach().float())
