"""Every benchmark in turn, then one table: what | ours | reference | ratio | aim | share of the roofline.

Command:  python benchmarks/all.py            (`make bench`)
          python benchmarks/all.py --device cuda
Needs:    nothing; a machine that does nothing else, or the records say that it was busy
Takes:    about 10 minutes on 2 quiet cores
Prints:   what each prints, then the table; rows that need a GPU and have no record say so and show their command
Writes:   results/benchmarks/<name>-<device>.json, one a benchmark. engine_equivalence.py, whole trainings, and segment_cohort.py,
          500 clips, are not among them
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echolib.pages.speed import BENCHED, FOLDER, TARGETS, Result, Side, read_result  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
#: What a processor measures needs one core or has no form on a GPU.
CPU_ONLY = ("propagation", "read_augment", "store_read")


def lines(results: dict[tuple[str, str], Result]) -> list[tuple[str, ...]]:
    """The table: every measured row, then the aims that have no record."""
    out = []
    for (name, device), result in sorted(results.items()):
        for row in result.rows:
            out.append((f"{name}, {device}: {row.what}" + (" (busy)" if result.busy else ""), _side(row.ours, row.unit),
                        _side(row.reference, row.unit), "" if row.ratio is None else f"{row.ratio:.2f}",
                        "" if row.target is None else f"{row.target:g}",
                        "" if row.roofline is None else f"{100 * row.roofline:.2g} %"))
    for target in TARGETS:
        if (target.name, target.device) not in results:
            why = " (no GPU here)" if target.device == "cuda" else ""
            aim = "" if target.ratio is None else f"{target.ratio:g}"
            out.append((f"{target.name}, {target.device}: {target.what}", f"not yet measured{why}: {target.command}", "", "",
                        aim or target.absolute, ""))
    return out


def _side(side: Side | None, unit: str) -> str:
    return "" if side is None else f"{side.mean:.3g} {unit} (sd {side.sd:.2g}, n {side.n})"


def main() -> None:
    """Run, then print the table."""
    parser = argparse.ArgumentParser(description="Every benchmark in turn, then one table.")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    chosen = parser.parse_args()
    environment = os.environ | {"ECHOLIB_BENCH_LOAD": f"{os.getloadavg()[0]:.2f}"}  # before the first one loads the machine
    names = [name for name in BENCHED if chosen.device == "cpu" or name not in CPU_ONLY]
    for name in names:
        print(f"== {name}", flush=True)
        device = [] if name in CPU_ONLY else ["--device", chosen.device]
        subprocess.run([sys.executable, ROOT / "benchmarks" / f"{name}.py", *device, "--record"], check=True, env=environment)
    paths = sorted((ROOT / FOLDER).glob("*-c*.json"))
    results = {(r.name, r.device): r for r in map(read_result, paths)}
    table = Table("what", "ours", "reference", "ratio", "aim", "roofline share")
    for line in lines(results):
        table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 170).print(table)


if __name__ == "__main__":
    main()
