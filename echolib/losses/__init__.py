"""Losses, a file for each paper."""

from echolib.losses.simlvseg import (
    SEGMENTATION,
    SMOOTH,
    bce_sum,
    dice_batch,
    dice_frame,
    reconstruction_mse,
    select_traced,
)

__all__ = ["SEGMENTATION", "SMOOTH", "bce_sum", "dice_batch", "dice_frame", "reconstruction_mse", "select_traced"]
