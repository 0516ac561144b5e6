"""``paper`` (what SimLVSeg's text says) or ``released`` (what the authors' program does): the rows of the audit as options."""

from __future__ import annotations

from typing import Literal

from echolib.config.specs import AugmentSpec, OptimiserSpec, Strict

Protocol = Literal["paper", "released"]


class Switches(Strict):
    """The audit's rows 1-4 and 6-8 as options (SimLVSeg paper against released program).

    Of the other rows, 5 (epochs) is a profile's :class:`StageSize`, and 9 (which clip) is the same in both protocols.
    """

    interval: Literal["patients_95", "frames_90"]
    mean_dice: Literal["per_frame", "pooled"]
    loss: Literal["dice_frame", "dice_batch"]
    pretrain_optimiser: OptimiserSpec
    segment_optimiser: OptimiserSpec
    reconstruct: Literal["clip", "first_channel"]
    si_counts: Literal["masked", "kept"]
    augment: AugmentSpec


def switches(protocol: Protocol, segment_epochs: int = 70) -> Switches:
    """The options of a protocol. ``released`` milestones (45 and 60 of 70 epochs) scale with the epochs of stage 2."""
    if protocol == "paper":
        both = OptimiserSpec(lr=3e-4, weight_decay=1e-5)
        return Switches(interval="patients_95", mean_dice="per_frame", loss="dice_frame", pretrain_optimiser=both,
                        segment_optimiser=both, reconstruct="clip", si_counts="masked", augment=AugmentSpec())
    milestones = tuple(sorted({max(1, round(segment_epochs * m / 70)) for m in (45, 60)}))  # a set: short schedules merge them
    return Switches(
        interval="frames_90", mean_dice="pooled", loss="dice_batch",
        pretrain_optimiser=OptimiserSpec(lr=3e-4, weight_decay=1e-3, betas=(0.9, 0.95), amsgrad=True),
        segment_optimiser=OptimiserSpec(lr=3e-4, weight_decay=1e-5, amsgrad=True, milestones=milestones),
        reconstruct="first_channel", si_counts="kept", augment=AugmentSpec(jitter_p=0.5, clahe_p=0.5))
