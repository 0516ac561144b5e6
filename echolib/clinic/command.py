"""``echolib segment`` and ``echolib train-default``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from echolib.errors import ConfigError
from echolib.words import counted


def segment_command(
    clips: Annotated[list[Path], typer.Argument(help="videos, DICOM, NIfTI, NPY or TIFF files, stills", show_default=False)],
    weights: Annotated[Path | None, typer.Option(help="a run's folder, a .safetensors file or a released checkpoint; default: "
                                                      "the weights that come with the package")] = None,
    out: Annotated[Path, typer.Option(help="folder for the results, one folder a clip")] = Path("segmented"),
    anonymous: Annotated[bool, typer.Option("--anonymous", help="call the clips clip-001 ... instead of by file name")] = False,
    fps: Annotated[float | None, typer.Option(help="frames per second, over what the files say", min=1, max=1000)] = None,
    spacing: Annotated[float | None, typer.Option(help="mm per pixel, over what the files say", min=0.01, max=10)] = None,
    orientation: Annotated[str, typer.Option(help="how the clips show the heart: upright, upside-down (apex below), mirrored "
                                                  "(left to right), both, or auto: found for each clip")] = "auto",
    ef_model: Annotated[Path | None, typer.Option(help="folder of a finished run that gives the ejection fraction: its EF is "
                                                       "shown beside the one from the outlines")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
) -> None:
    """Find the left ventricle in echo clips: masks, ED and ES, ejection fraction, overlay and a report. Not a medical device.

    Exit status 1 says that at least one clip failed or was refused; cohort.csv says which and why.
    """
    from echolib.clinic.cohort import segment_files
    from echolib.clinic.ef_model import load_ef_model
    from echolib.clinic.weights import load_segmenter

    _known_device(device)
    _known_orientation(orientation)
    segmenter = load_segmenter(weights)
    regressor = None if ef_model is None else load_ef_model(ef_model)
    try:
        rows = segment_files(clips, out, segmenter, anonymous=anonymous, fps=math.nan if fps is None else fps,
                             spacing_mm=math.nan if spacing is None else spacing, device=device, orientation=orientation,
                             ef_model=regressor, say=typer.echo)
    except OSError as error:
        raise ConfigError(f"the results cannot be written to {out.name or 'the folder'}: {error.strerror}") from None
    if regressor is not None:
        typer.echo(regressor.words)
    failed, measured = sum(row.failed for row in rows), sum(row.measured for row in rows)
    refused = len(rows) - failed - measured
    typer.echo(f"{measured} of {counted(len(rows), 'clip')} segmented; see {out.name}/cohort.csv" +
               (f" and {out.name}/*/report.html" if failed < len(rows) else ""))
    if refused:
        typer.echo(f"{counted(refused, 'clip')} refused, because no left ventricle stays in its place: the lines above that say "
                   "REFUSED and the reports say why.")
    if failed:
        typer.echo(f"{counted(failed, 'clip')} failed: the lines above that say FAILED and the column 'problem' of cohort.csv "
                   "say why and what is expected.")
    if failed or refused:
        raise typer.Exit(1)


def _known_orientation(orientation: str) -> None:
    """Refuse an orientation before any clip is read.

    Raises:
        BadParameter: no orientation of that name.
    """
    from echolib.clinic.orientation import given_orientation
    from echolib.errors import DataError

    try:
        given_orientation(orientation)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--orientation") from None


def _known_device(device: str) -> None:
    """Refuse a device before any clip is read.

    Raises:
        BadParameter: no device of that name, or it is not there.
    """
    from echolib.errors import TrainingError
    from echolib.training.predict import resolve_device

    try:
        resolve_device(device)
    except (RuntimeError, TrainingError) as error:
        why = str(error) if isinstance(error, TrainingError) else f"no device {device!r}; expected cpu, cuda or auto"
        raise typer.BadParameter(why, param_hint="--device") from None


def train_default_command(
    minutes: Annotated[float, typer.Option(help="time to train, clip making not counted", min=0.1)] = 60.0,
    clips: Annotated[int, typer.Option(help="simulated clips to learn from, which vary in everything", min=4)] = 500,
    echonet_clips: Annotated[int, typer.Option(help="further ones, with borders as hidden as real ones", min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="where to put the weights; default: into the package")] = None,
    cache: Annotated[Path, typer.Option(help="where the simulated clips are kept")] = Path("build/wide"),
    network: Annotated[str, typer.Option(help="one of models.build")] = "nnunet25d",
    width: Annotated[float, typer.Option(help="of the network; 1 is as published", min=0.05, max=1.0)] = 0.5,
    frames: Annotated[int, typer.Option(help="frames of the clips that the network is given at work")] = 16,
    train_frames: Annotated[int, typer.Option(help="frames of a training clip", min=1)] = 4,
    batch: Annotated[int, typer.Option(help="training clips a step", min=1)] = 6,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    bf16: Annotated[bool, typer.Option("--bf16", help="multiply in bfloat16")] = False,
    start: Annotated[Path | None, typer.Option(help="weights to start from, of the same network or of one that sees fewer "
                                                    "neighbours; default: random ones")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
    workers: Annotated[int, typer.Option(help="processes that simulate clips", min=1)] = 1,
) -> None:
    """Train the weights that come with the package, on simulated clips alone; goes on where it was stopped."""
    from echolib.clinic.train_default import DefaultSpec, train_default
    from echolib.clinic.weights import DEFAULT

    _known_device(device)
    spec = DefaultSpec(minutes=minutes, clips=clips, echonet=echonet_clips, network=network, width=width, frames=frames,
                       train_frames=train_frames, batch=batch, bf16=bf16, seed=seed)
    record = train_default(spec, cache, out or DEFAULT, start=start, device=device, workers=workers, say=typer.echo)
    for preset, score in record["validation"].items():
        error = "none found" if score["ef_mae_points"] is None else f"{score['ef_mae_points']:.1f} points"
        typer.echo(f"held-out clips, preset {preset}: Dice {score['dice_mean']:.3f}, mean EF error {error}")
    typer.echo(f"{record['bytes'] / 2 ** 20:.1f} MiB")
