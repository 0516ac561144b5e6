"""Losses and schedules of SSCF (Wu, Liu et al., MedIA 2022, eq. 5-11), each as printed and as it must be meant.

Three traps of the printed equations. Cross-entropy (eq. 5) and divergence (eq. 9) are sums over pixels while the squared error
is a mean: at 256 px they outweigh it, and Dice, by about 65,000. The divergence has the foreground's term only: for a teacher's
p_t it is lowest at ``p_t / e``, not at ``p_t``, and so shrinks masks; the divergence of two Bernoulli distributions has its
minimum at equality. And the learning rate is printed as a recurrence, whose product falls to 1/e within the first hundredth of a
run.

Losses take logits and compute in float32. Eq. 11 adds over frames; here losses are means over frames, so that a batch's size
changes nothing (its two sums have equally many terms where there is one unlabelled clip for each labelled one).
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from echolib.losses.pkecho import soft_dice
from echolib.losses.simlvseg import SMOOTH

Pixels = Literal["sum", "mean"]
Divergence = Literal["bernoulli", "literal"]


def supervised(logits: Tensor, target: Tensor, *, pixels: Pixels = "sum", smooth: float = SMOOTH) -> Tensor:
    """Half Dice (eq. 6: squared sums), half binary cross-entropy (eq. 5); the weight decay of eq. 7 is the optimiser's.

    Args:
        logits: ``(N, H, W)``.
        target: ``(N, H, W)`` bool.
        pixels: the cross-entropy of a frame is the ``sum`` over its pixels (paper) or their ``mean``.
        smooth: px in Dice; 0 in the paper, where an empty frame without a prediction is 0/0.
    """
    entropy = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none").flatten(1)
    entropy = entropy.sum(1) if pixels == "sum" else entropy.mean(1)
    return 0.5 * soft_dice(logits, target, squared=True, smooth=smooth) + 0.5 * entropy.mean()


def consistency(student: Tensor, teacher: Tensor, seen: Tensor | None = None, *, pixels: Pixels = "sum",
                divergence: Divergence = "bernoulli") -> Tensor:
    """Half mean squared error (eq. 8), half divergence of the student's probabilities from the teacher's (eq. 9 and 10).

    Args:
        student: logits ``(N, H, W)``.
        teacher: logits ``(N, H, W)``; no gradient flows to them.
        seen: ``(N, H, W)`` bool, pixels that both saw; None: all.
        pixels: the divergence of a frame is the ``sum`` over its pixels (paper) or their ``mean``.
        divergence: of Bernoulli distributions, or ``literal``: eq. 9 as printed.
    """
    student, teacher = student.float(), teacher.detach().float()
    square = (student.sigmoid() - teacher.sigmoid()).square()
    apart = divergences(student, teacher, divergence)
    if seen is None:
        count = student.new_full((len(student),), math.prod(student.shape[1:]))
    else:
        square, apart, count = square * seen, apart * seen, seen.flatten(1).sum(1).clamp(min=1)
    square, apart = square.flatten(1).sum(1) / count, apart.flatten(1).sum(1)
    return (0.5 * square + 0.5 * (apart if pixels == "sum" else apart / count)).mean()


def divergences(student: Tensor, teacher: Tensor, divergence: Divergence = "bernoulli") -> Tensor:
    """Kullback-Leibler divergence of each pixel from logits, of their shape; ``literal`` is the foreground's term alone."""
    own = student.sigmoid() * (F.logsigmoid(student) - F.logsigmoid(teacher))
    if divergence == "literal":
        return own
    return own + (-student).sigmoid() * (F.logsigmoid(-student) - F.logsigmoid(-teacher))


def ramp(step: int, steps: int) -> float:
    """Weight of the consistency, ``(step / steps)^2`` (eq. 11): 0 at the first step, 1 at ``steps``."""
    return (step / steps) ** 2


def printed_learning_rate(lr: float, step: int, steps: int, power: float = 0.9) -> float:
    """The learning rate as the paper prints it, ``l(t) = l(t - 1) (1 - t / T)^power``: after ``step`` steps of ``steps``.

    A run takes ``OptimiserSpec.schedule`` "polynomial" instead, ``lr (1 - t / T)^power``.
    """
    return lr * math.exp(power * sum(math.log1p(-t / steps) for t in range(1, step + 1))) if step < steps else 0.0
