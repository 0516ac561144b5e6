"""The command ``echolib``."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from echolib.clinic.command import segment_command, train_default_command
from echolib.commands import register
from echolib.errors import EcholibError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Reproducible companion to SimLVSeg: phantoms, checks, runs and the book.")
phantom_app = typer.Typer(no_args_is_help=True, help="Write a simulated cohort in the exact layout of a real data set.")
app.add_typer(phantom_app, name="phantom")
app.command("segment")(segment_command)
app.command("train-default")(train_default_command)
register(app)
console = Console()
#: What a disk says that is full, or that this user may not write to: the user's to mend, so no traceback.
DENIED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="a folder in EchoNet-Dynamic's or CAMUS' layout")]) -> None:
    """Read a data set, decode every file, and list every study that was dropped or repaired, and why."""
    from echolib.data.check import check as run

    report = run(folder)
    table = report.table()
    if len(table):
        shown = Table(title=f"{len(table)} findings", title_justify="left")
        for column in table.columns:
            shown.add_column(column, overflow="fold")
        for row in table.itertuples(index=False):
            shown.add_row(*["" if value is None or value != value else str(value) for value in row])
        console.print(shown)
    if report.unusable:
        console.print("[bold red]Something is unusable[/]: see the rows marked 'dropped'.")
        raise typer.Exit(1)
    console.print("Nothing wrong." if table.empty else "Usable: everything found was repaired or is a known quirk.")


def _phantom(layout: str, folder: Path, train: int, val: int, test: int, seed: int, preset: str, workers: int,
             frames: tuple[int, int] | None) -> None:
    from echolib.config import PhantomSpec, parse
    from echolib.phantom.cohort import write_camus, write_echonet

    spec = parse(PhantomSpec, {"preset": preset, "train": train, "val": val, "test": test, "seed": seed, "frames": frames},
                 "command line")
    {"echonet": write_echonet, "camus": write_camus}[layout](folder, spec, workers=workers)
    console.print(f"wrote {train + val + test} studies to {folder}")


Count = Annotated[int, typer.Option(min=0)]
Frames = Annotated[tuple[int, int] | None, typer.Option(help="shortest and longest clip, in frames")]
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
def pack(folder: Path, out: Path, size: int = 112, channels: int = 3) -> None:
    """Pack a cohort into one memory-mapped store with checksums; an interrupted packing goes on where it stopped."""
    from echolib.data import camus, check, echonet, store

    read = {"echonet": echonet.read, "camus": camus.read}[check.detect_layout(folder)]
    packed = store.pack(read(folder), out, size=size, channels=channels)
    console.print(f"packed {len(packed.studies)} studies, {len(packed.frames)} frames, fingerprint {packed.fingerprint[:16]}")


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
