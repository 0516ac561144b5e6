"""Calibrate the intervals of the EF on simulated clips: ``python -m echolib.clinic.calibrate``.

To be run whenever the default weights change. Simulated clips of two presets that no weights have learnt from and no weights
were chosen by are measured as anybody's clip is. On some of them the numbers of
:class:`~echolib.clinic.calibration.Calibration` are fitted; on the others, which nothing was fitted to, it is counted how
often the interval holds the true EF. Both go into the record beside the weights, as ``interval``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.optimize import minimize

from echolib.clinic.calibration import Calibration
from echolib.clinic.result import Doubts
from echolib.clinic.segmentation import segment
from echolib.clinic.weights import DEFAULT, Segmenter, load_segmenter
from echolib.clinic.wide_clips import CALIBRATE, CALIBRATE_ECHONET, PRESETS, clip_path, ensure_clips, read_clip
from echolib.errors import TrainingError
from echolib.files import read_json, write_json

#: The share of intervals that should hold the true EF, %.
LEVEL = 90.0
#: Frames of a simulated clip: one beat or two.
LENGTH = 64
#: With all numbers of a calibration 1, every clip gets an interval, and its doubts can be read from there.
_PLAIN = Calibration(level=LEVEL, floor=1.0, views=1.0, network=1.0, beats=1.0, low=-1.0, high=1.0)


@dataclass(frozen=True)
class Measured:
    """One simulated clip: its exact EF, the EF found (both %) and the doubts about it."""

    preset: str
    true: float
    found: float
    doubts: Doubts


def calibrate(weights: Path, cache: Path, *, fit: int = 80, check: int = 50, seed: int = 0, device: str = "auto",
              workers: int = 1, say: Callable[[str], None] = print) -> dict:
    """Fit the intervals, measure how often they hold the truth, and write both into the record beside the weights.

    Args:
        weights: ``<name>.safetensors`` with its record.
        cache: keeps the simulated clips.
        fit, check: clips of each preset to fit on, and to count on.
        seed: of the clips.
        device: where the network runs.
        workers: processes that simulate.
        say: takes lines of progress.

    Returns:
        The entry ``interval`` of the record.

    Raises:
        WeightsError: no weights with a record there.
        TrainingError: too few of the clips could be measured.
    """
    from echolib.ledger.code import code_fingerprint
    from echolib.ledger.provenance import git_state

    segmenter = replace(load_segmenter(None, default=weights), interval=_PLAIN)
    fitted_on: list[Measured] = []
    counted_on: dict[str, list[Measured]] = {}
    for stream in (CALIBRATE, CALIBRATE_ECHONET):
        ensure_clips(cache, stream, seed, fit + check, LENGTH, workers=workers, say=say)
        fitted_on += measure_clips(segmenter, cache, stream, seed, range(fit), device)
        say(f"measured {fit} clips of preset {PRESETS[stream]} to fit on")
        counted_on[PRESETS[stream]] = measure_clips(segmenter, cache, stream, seed, range(fit, fit + check), device)
        say(f"measured {check} clips of preset {PRESETS[stream]} to count on")
    calibration = fit_calibration(fitted_on)
    commit, changed = git_state(Path(__file__).parent)
    entry = {**asdict(calibration), "fitted_on": f"{len(fitted_on)} simulated clips, numbers 0 to {fit - 1} of each of the "
                                                 f"presets {' and '.join(counted_on)}, seed {seed}",
             "counted_on": {preset: {"data": f"preset {preset}, numbers {fit} to {fit + check - 1}, seed {seed}",
                                     "without_ef": check - len(clips), **coverage(calibration, clips)}
                            for preset, clips in counted_on.items()},
             "all": coverage(calibration, [one for clips in counted_on.values() for one in clips]),
             "command": f"python -m echolib.clinic.calibrate --fit {fit} --check {check} --seed {seed}",
             "commit": commit, "uncommitted_changes": changed, "phantom_code": code_fingerprint(("phantom",))}
    record = weights.with_suffix(".json")
    write_json(record, {**read_json(record), "interval": entry})
    return entry


def measure_clips(segmenter: Segmenter, cache: Path, stream: int, seed: int, numbers: Iterable[int],
                  device: str) -> list[Measured]:
    """Measure simulated clips as anybody's; those in which no beat is found are left out."""
    measured = []
    for number in numbers:
        clip = read_clip(clip_path(cache, stream, seed, number))
        result = segment(clip.frames, clip.fps, clip.spacing_mm, weights=segmenter, device=device)
        if result.interval is not None:  # the beats hold no EF where that is too wide, but their volumes
            found = float(np.mean([100 * (1 - beat.esv / beat.edv) for beat in result.beats]))
            measured.append(Measured(PRESETS[stream], clip.ef, found, result.interval.doubts))
    return measured


def fit_calibration(clips: Sequence[Measured], level: float = LEVEL) -> Calibration:
    """The floor and the weights that make errors likeliest, as normal ones about a common bias, and the ends by quantiles.

    A clip that loses its ventricle in a view has no finite doubt; it gets the widest interval whatever is fitted, and does not
    count here. Simulated clips are short: the weight of the spread over beats is not fitted but 1, its standard error.

    Raises:
        TrainingError: fewer than 10 clips.
    """
    kept = [one for one in clips if math.isfinite(one.doubts.views) and math.isfinite(one.doubts.network)]
    if len(kept) < 10:
        raise TrainingError(f"only {len(kept)} of {len(clips)} clips have an EF with finite doubts; expected at least 10")
    error = np.array([one.true - one.found for one in kept])
    squares = np.array([(1.0, one.doubts.views ** 2, one.doubts.network ** 2) for one in kept])
    beats = np.array([one.doubts.beats ** 2 for one in kept])

    def unlikeliness(values: np.ndarray) -> float:
        variance = squares @ np.exp(2 * values[1:]) + beats
        return float((np.log(variance) + (error - values[0]) ** 2 / variance).sum())

    start = np.array([np.median(error), np.log(max(1.0, error.std())), -2.0, -2.0])
    bounds = [(None, None), (0.0, 4.0), (-7.0, 2.0), (-7.0, 2.0)]
    found = minimize(unlikeliness, start, method="L-BFGS-B", bounds=bounds).x
    floor, views, network = np.exp(found[1:]).tolist()
    plain = Calibration(level=level, floor=floor, views=views, network=network, beats=1.0, low=0.0, high=0.0)
    scores = np.sort([one / plain.spread(clip.doubts) for one, clip in zip(error, kept, strict=True)])
    low, high = _ends(scores, level)
    rounded = {"floor": floor, "views": views, "network": network, "low": min(0.0, low), "high": max(0.0, high)}
    return replace(plain, **{name: round(value, 4) for name, value in rounded.items()})


def _ends(scores: np.ndarray, level: float) -> tuple[float, float]:
    """Quantiles of sorted scores with the small sample's correction: of n + 1 places, an equal share is left at either side."""
    share = (1 - level / 100) / 2
    places = np.arange(1, len(scores) + 1) / (len(scores) + 1)
    return float(np.interp(share, places, scores)), float(np.interp(1 - share, places, scores))


def coverage(calibration: Calibration, clips: Sequence[Measured]) -> dict:
    """How often the intervals hold the true EF, %; how wide they are, points; how many are too wide for an EF; the EF's bias and
    mean absolute error, points."""
    pairs = [(one, calibration.interval(one.found, one.doubts)) for one in clips]
    held = [between.low <= one.true <= between.high for one, between in pairs]
    useful = [between.useful for _, between in pairs]
    errors = [one.found - one.true for one in clips]
    widths = [between.high - between.low for _, between in pairs]
    return {"clips": len(pairs), "held_percent": round(100 * float(np.mean(held)), 1) if pairs else None,
            "held_percent_where_given": round(100 * float(np.mean(np.array(held)[useful])), 1) if any(useful) else None,
            "width_median_points": round(float(np.median(widths)), 1) if pairs else None, "withheld": len(pairs) - sum(useful),
            "ef_bias_points": round(float(np.mean(errors)), 2) if pairs else None,
            "ef_mae_points": round(float(np.mean(np.abs(errors))), 2) if pairs else None}


def main(weights: Annotated[Path, typer.Option(help="weights with their record")] = DEFAULT,
         cache: Annotated[Path, typer.Option(help="where the simulated clips are kept")] = Path("build/wide"),
         fit: Annotated[int, typer.Option(help="clips of each preset to fit on", min=5)] = 80,
         check: Annotated[int, typer.Option(help="clips of each preset to count on", min=5)] = 50,
         seed: Annotated[int, typer.Option(min=0)] = 0,
         device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
         workers: Annotated[int, typer.Option(help="processes that simulate clips", min=1)] = 1) -> None:
    """Calibrate the intervals of the EF and write them into the record beside the weights."""
    entry = calibrate(weights, cache, fit=fit, check=check, seed=seed, device=device, workers=workers, say=typer.echo)
    for preset, one in {**entry["counted_on"], "all": entry["all"]}.items():
        typer.echo(f"{preset}: {entry['level']:.0f} % intervals hold {one['held_percent']} % of {one['clips']} true EFs, "
                   f"median width {one['width_median_points']} points, {one['withheld']} too wide for an EF")


if __name__ == "__main__":
    typer.run(main)
