"""Doubts about a result, each from a stated rule, so that a reader knows when not to trust a number."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import binary_erosion

from echolib.clinic.result import Flag, HeartBeat
from echolib.data.sector import Sector
from echolib.evaluation.ejection import disk_diameters, find_long_axis

#: A jump is a change between successive frames of more than this share of the median area, plus what a heart can do:
#: emptying half of its area in an eighth of a second.
JUMP, FASTEST_PER_S = 0.06, 4.0
#: Length over largest diameter at end-diastole; 1.43-1.92 has been measured in good apical views.
SHORTEST_SHAPE = 1.35
#: A true apex hardly moves; one that is cut obliquely travels. Share of the length at end-diastole.
APEX_TRAVEL = 0.2
#: Least :func:`steadiness` of a ventricle.
LEAST_STEADY = 0.45


def refuse(probabilities: np.ndarray, masks: np.ndarray) -> Flag | None:
    """Why a clip is not measured, None if it may be: no ventricle on most frames, or none that stays where it is.

    Args:
        probabilities, masks: (T, S, S), cleaned.
    """
    count, missing = len(masks), int((~masks.any((1, 2))).sum())
    if missing > count / 2:
        return Flag("no_ventricle", f"Not measured: no left ventricle was found on {missing} of {count} frames, so this is no "
                    "apical view, too poor an image, or no echo.")
    if steadiness(probabilities, masks) < LEAST_STEADY:
        return Flag("no_apical_view", "Not measured: what the network takes for a left ventricle is not one part that stays in "
                    "one place, as a heart does in an apical view, so this is another view, too poor an image, or no echo.")
    return None


def steadiness(probabilities: np.ndarray, masks: np.ndarray) -> float:
    """How much a network's answer looks like one ventricle that it has no doubt about, 0-1.

    The product of three shares: of what is called ventricle, how much lies in the one part that is kept; agreement of the
    frames' masks with the usual mask (intersection over union, grey; a heart's beat leaves 0.75 and more); and one less
    the undecided pixels (probability 0.25 to 0.75) for every pixel of ventricle.

    Args:
        probabilities, masks: (T, S, S), cleaned; frames without a ventricle do not count.
    """
    found = masks.any((1, 2))
    if not found.any():
        return 0.0
    p, masks = probabilities[found], masks[found]
    usual = masks.mean(0, dtype=np.float32)
    agreement = float(np.mean([np.minimum(mask, usual).sum() / np.maximum(mask, usual).sum() for mask in masks]))
    raw = p > 0.5
    one = float((masks & raw).sum() / max(1, raw.sum()))
    decided = 1 - float(((p > 0.25) & (p < 0.75)).sum() / masks.sum())
    return one * agreement * max(0.0, decided)


def find_flags(frames: np.ndarray, probabilities: np.ndarray, masks: np.ndarray, area: np.ndarray, fps: float, sector: Sector,
               cone: np.ndarray, beats: list[HeartBeat], complete: bool) -> list[Flag]:
    """All doubts about one clip that was not refused.

    Args:
        frames: (T, S, S) uint8, the cone in the network's frame.
        probabilities, masks: (T, S, S), cleaned.
        area: (T,) px of the network's frame.
        fps: frames per second.
        sector: the cone in the clip's own frame.
        cone: (S, S) bool, the cone in the network's frame.
        beats: contractions found.
        complete: whether they are whole beats.
    """
    found = area > 0
    flags = []
    if not found.all():
        flags.append(Flag("frames_without_ventricle", f"No left ventricle was found on {(~found).sum()} of {len(found)} frames; "
                          "their areas were interpolated to find the beats."))
    flags += _area_flags(area, found, fps)
    flags += _beat_flags(beats, complete, len(area) / fps)
    flags += _shape_flags(masks, beats)
    flags += _image_flags(frames, probabilities, masks, found, sector, cone)
    return flags


def _area_flags(area: np.ndarray, found: np.ndarray, fps: float) -> list[Flag]:
    usual = np.median(area[found])
    both = found[1:] & found[:-1]
    jumps = int((np.abs(np.diff(area))[both] > (JUMP + FASTEST_PER_S / fps) * usual).sum())
    if jumps > max(1, 0.01 * len(area)):
        return [Flag("area_jumps", f"The LV area jumps between frames {jumps} times: the outline is not stable.")]
    return []


def _beat_flags(beats: list[HeartBeat], complete: bool, seconds: float) -> list[Flag]:
    if not beats:
        return [Flag("no_contraction", "The LV area hardly changes: no contraction was found, so there is no EF.")]
    if not complete:
        return [Flag("no_full_beat", f"The clip ({seconds:.1f} s) holds less than one whole beat: the EF compares its largest "
                     "and its smallest area.")]
    flags, fractions = [], [beat.ef for beat in beats]
    if max(fractions) - min(fractions) > 10:
        flags.append(Flag("beats_differ", f"EF differs by {max(fractions) - min(fractions):.0f} points between beats: an "
                          "irregular rhythm, probe motion, or unstable outlines."))
    if not 10 <= np.mean(fractions) <= 82:
        flags.append(Flag("implausible_ef", f"An EF of {np.mean(fractions):.0f} % is outside what hearts do: look at the "
                          "outlines."))
    return flags


def _shape_flags(masks: np.ndarray, beats: list[HeartBeat]) -> list[Flag]:
    ratios, travels = [], []
    for beat in beats:
        if masks[beat.ed].any() and masks[beat.es].any():
            axis, later = find_long_axis(masks[beat.ed]), find_long_axis(masks[beat.es])
            length = np.hypot(*(axis[1] - axis[0]))
            ratios.append(length / max(disk_diameters(masks[beat.ed], axis).max(), 1e-6))
            travels.append(np.hypot(*(later[0] - axis[0])) / length)
    if not ratios:
        return []
    ratio, travel = float(np.median(ratios)), float(np.median(travels))
    if ratio < SHORTEST_SHAPE or travel > APEX_TRAVEL:
        return [Flag("foreshortening", f"Foreshortening suspected: length over width is {ratio:.2f} at end-diastole (1.4 or "
                     f"more is usual) and the apex moves by {100 * travel:.0f} % of the length (20 % or less is usual). Volumes "
                     "would be too small.")]
    return []


def _image_flags(frames: np.ndarray, probabilities: np.ndarray, masks: np.ndarray, found: np.ndarray, sector: Sector,
                 cone: np.ndarray) -> list[Flag]:
    flags = []
    rim = ~binary_erosion(cone, iterations=2)  # also the frame's own edge, where the cone is cut off
    touching = int(((masks & rim).sum((1, 2)) > 4).sum())
    if touching > 0.1 * found.sum():
        flags.append(Flag("touches_edge", f"The ventricle touches the edge of the image on {touching} frames: part of it may be "
                          "outside."))
    unsure = float(((probabilities > 0.25) & (probabilities < 0.75)).sum() / max(1, masks.sum()))
    if unsure > 0.35:
        flags.append(Flag("unsure", f"The network is unsure: undecided pixels amount to {100 * unsure:.0f} % of the ventricle."))
    lit = frames[:, cone]
    if lit.size and (lit > 24).mean() < 0.04:
        flags.append(Flag("dark", "The image is very dark: little tissue can be seen."))
    if sector.coloured > 0.02:
        flags.append(Flag("colour", f"{100 * sector.coloured:.0f} % of the cone is coloured at some time (colour Doppler or a "
                          "tinted display); outlines are made for grey images."))
    return flags


def cone_in_frame(sector: Sector, matrix: np.ndarray, size: int) -> np.ndarray:
    """The cone in the network's frame: (size, size) bool."""
    return cv2.warpAffine(sector.mask.astype(np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR) > 0.5
