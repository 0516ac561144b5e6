"""The command ``echolib``."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from echolib.clinic.command import segment_command, train_default_command
from echolib.commands import register
from echolib.errors import DataError, EcholibError
from echolib.words import counted

# No rich markup: its panels break a long name over lines, and an error that is piped must be found by a search for the name.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Reproducible companion to SimLVSeg: phantoms, checks, runs and the book.")
phantom_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None,
                          help="Write a simulated cohort in the exact layout of a real data set.")
app.add_typer(phantom_app, name="phantom")
app.command("segment")(segment_command)
app.command("train-default")(train_default_command)
register(app)
#: What a disk says that is full, or that this user may not write to: the user's to mend, so no traceback.
DENIED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="a folder in the layout of EchoNet-Dynamic, EchoNet-Pediatric or CAMUS")],
          ) -> None:
    """Read a data set, decode every file, and list every study that was dropped or repaired, and why.

    One finding a line, its fields parted by tabs: action, study, file, row, problem. Exit status 1 says that something is
    unusable.
    """
    from echolib.data.check import check as run

    report = run(folder, progress=sys.stdout.isatty())
    if report.variant:
        typer.echo(f"{report.variant}: {counted(report.studies, 'usable study', 'usable studies')}")
    _print_findings(report.table())
    if report.unusable:
        typer.echo(f"{counted(len(report.findings), 'finding')}. Something is unusable: mend or remove what the lines that begin "
                   "with 'dropped' name, and check again.")
        raise typer.Exit(1)
    typer.echo(f"{counted(len(report.findings), 'finding')}. Usable: everything found was repaired or is a known quirk."
               if report.findings else "Nothing wrong: use it as it is.")


def _print_findings(table, *, err: bool = False) -> None:
    """The table of a report, one line a finding and never broken, so that a search for a file's name finds it."""
    import pandas as pd

    for row in table[["action", "study", "file", "row", "problem"]].itertuples(index=False):
        cells = ("" if pd.isna(value) else " ".join(str(value).split()) for value in row)
        typer.echo("\t".join(cells), err=err)


def _phantom(layout: str, folder: Path, train: int, val: int, test: int, seed: int, preset: str, workers: int,
             frames: tuple[int, int] | None) -> None:
    from echolib.config import PhantomSpec, parse
    from echolib.phantom.cohort import write_camus, write_echonet

    spec = parse(PhantomSpec, {"preset": preset, "train": train, "val": val, "test": test, "seed": seed, "frames": frames},
                 "command line")
    {"echonet": write_echonet, "camus": write_camus}[layout](folder, spec, workers=workers)
    typer.echo(f"wrote {counted(train + val + test, 'study', 'studies')} to {folder}")


Count = Annotated[int, typer.Option(min=0)]
Frames = Annotated[tuple[int, int] | None, typer.Option(
    metavar="SHORTEST LONGEST", help="two numbers: frames of the shortest and of the longest clip, such as --frames 40 90")]
Workers = Annotated[int, typer.Option(min=1, help="processes")]


@phantom_app.command("echonet")
def phantom_echonet(folder: Path, train: Count = 40, val: Count = 8, test: Count = 16, seed: Count = 0, preset: str = "echonet",
                    workers: Workers = os.cpu_count() or 1, frames: Frames = None) -> None:
    """A cohort in EchoNet-Dynamic's layout, with the truth of every frame in a folder of its own."""
    _phantom("echonet", folder, train, val, test, seed, preset, workers, frames)


@phantom_app.command("camus")
def phantom_camus(folder: Path, train: Count = 40, val: Count = 5, test: Count = 5, seed: Count = 0, preset: str = "camus",
                  workers: Workers = os.cpu_count() or 1, frames: Frames = None) -> None:
    """A cohort in CAMUS' layout: half cycles as NIfTI, labels on every frame."""
    _phantom("camus", folder, train, val, test, seed, preset, workers, frames)


@app.command()
def pack(folder: Annotated[Path, typer.Argument(help="a folder in the layout of EchoNet-Dynamic, EchoNet-Pediatric or CAMUS")],
         out: Annotated[Path, typer.Argument(help="the folder of the store")],
         size: Annotated[int, typer.Option(min=16, max=1024, help="height and width of the frames, px")] = 112,
         channels: Annotated[int, typer.Option(min=1, max=3, help="3 (colour) or 1 (grey)")] = 3) -> None:
    """Pack a cohort into one memory-mapped store with checksums; an interrupted packing goes on where it stopped.

    Studies that cannot be used are named, one a line as by ``echolib check``; exit status 1 says that there were some.
    """
    from echolib.data import check, store

    if channels == 2:
        raise typer.BadParameter("2 channels are neither colour nor grey; expected 3 or 1", param_hint="--channels")
    cohort = check.read(folder)
    table = cohort.report.table()
    lost = table[table["action"].astype(str).str.startswith("dropped")]
    _print_findings(lost, err=True)
    try:
        packed = store.pack(cohort, out, size=size, channels=channels, progress=sys.stdout.isatty())
    except DataError as error:
        raise DataError(error.problem, file=error.file, row=error.row, value=error.value, expected=error.expected or (
            "a file that decodes to its end: mend it or remove it, and pack again; what is packed stays")) from error
    studies, frames = counted(len(packed.studies), "study", "studies"), counted(len(packed.frames), "frame")
    typer.echo(f"packed {studies}, {frames}, fingerprint {packed.fingerprint[:16]}")
    if cohort.report.unusable:
        typer.echo(f"{counted(len(lost), 'line', 'lines')} above {'says' if len(lost) == 1 else 'say'} what was left out. Mend "
                   "or remove it and pack again, or use the store without it.", err=True)
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors that echolib raises on purpose, and a disk that takes no more, are one message and exit status 2."""
    try:
        app()
    except EcholibError as error:
        print(f"echolib: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in DENIED:
            raise
        name = f"{Path(error.filename).name}: " if error.filename else ""
        print(f"echolib: {name}{error.strerror}; what was there before is as it was", file=sys.stderr)
        sys.exit(2)
