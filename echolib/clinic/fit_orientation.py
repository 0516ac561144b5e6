"""Fit the two numbers by which left and right are told apart: ``python -m echolib.clinic.fit_orientation``.

To be run whenever the default weights change; it prints what :data:`~echolib.clinic.orientation.FIRMNESS` and
:data:`~echolib.clinic.orientation.DARKNESS` should be. Simulated clips, none of which the weights have learnt from, are shown to
the network as they are and mirrored; the numbers are those of a logistic regression without intercept, so that neither way is
preferred, and with a weak prior, as a good network tells all clips apart and the likelihood alone would then be certain of
anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.optimize import minimize

from echolib.clinic.network import brightness_gain, network_probabilities
from echolib.clinic.orientation import sampled_frames, signs
from echolib.clinic.weights import DEFAULT, Segmenter, load_segmenter
from echolib.clinic.wide_clips import CALIBRATE, CALIBRATE_ECHONET, clip_path, ensure_clips, read_clip
from echolib.training.predict import resolve_device

#: Standard deviation of the prior on either number, normal about 0.
PRIOR = 10.0


def differences(segmenter: Segmenter, cache: Path, stream: int, count: int, length: int = 64) -> np.ndarray:
    """How much more undecided and how much brighter inside the mirrored outline is: ``(N, 2)``, clips with a ventricle both ways.

    Args:
        segmenter: the network.
        cache: keeps the simulated clips.
        stream: of the clips.
        count: of clips, numbers 0 to ``count - 1`` of seed 0.
        length: frames a clip.
    """
    ensure_clips(cache, stream, 0, count, length)
    out = []
    for number in range(count):
        clip = read_clip(clip_path(cache, stream, 0, number)).frames
        seen = clip[sampled_frames(len(clip), segmenter.period)]
        ways = [seen, np.ascontiguousarray(seen[:, :, ::-1])]
        found = [signs(way, network_probabilities(segmenter, way, brightness_gain(way), resolve_device("cpu"))) for way in ways]
        if None not in found:
            out.append(np.subtract(found[1], found[0]))
    return np.array(out).reshape(-1, 2)


def fit(found: np.ndarray) -> tuple[float, float]:
    """Weights, 0 or more, of both differences that make "upright" likeliest for all clips, under the prior."""
    def unlikeliness(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -found @ weights).sum() + 0.5 * np.square(weights / PRIOR).sum())

    best = minimize(unlikeliness, np.ones(2), method="L-BFGS-B", bounds=[(0, None)] * 2).x
    return float(best[0]), float(best[1])


def main(weights: Annotated[Path, typer.Option(help="weights with their record")] = DEFAULT,
         cache: Annotated[Path, typer.Option(help="where the simulated clips are kept")] = Path("build/wide"),
         wide: Annotated[int, typer.Option(help="clips of preset wide", min=5)] = 60,
         echonet: Annotated[int, typer.Option(help="clips of preset echonet", min=5)] = 25) -> None:
    """Fit, and say how many clips are told right with the numbers found."""
    segmenter = load_segmenter(None, default=weights)
    found = np.concatenate([differences(segmenter, cache, stream, count)
                            for stream, count in ((CALIBRATE, wide), (CALIBRATE_ECHONET, echonet))])
    firmness, darkness = fit(found)
    chance = 1 / (1 + np.exp(-found @ [firmness, darkness]))
    print(f"FIRMNESS, DARKNESS = {firmness:.2f}, {darkness:.1f}; {len(found)} clips, {int((chance > 0.5).sum())} right, "
          f"{int((chance < 0.1).sum())} wrong with a probability of 0.9 or more")


if __name__ == "__main__":
    typer.run(main)
