"""The book's page on speed, made from the records of ``results/benchmarks``: what was aimed at, what was measured, and where.

A benchmark writes one :class:`Result` a device. Those of the CPU are part of the checkout, so a missing or damaged one is an
error; those of a GPU come when somebody has one, and until then their rows say so and show the command.
"""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, ValidationError

from echolib.errors import RecordError
from echolib.ledger.provenance import Provenance
from echolib.pages.html import table
from echolib.plots import COLOURS

FOLDER = Path("results") / "benchmarks"
#: Name of the benchmark that trains on both paths; a record a profile.
ENGINES = "engine_equivalence"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Side(_Strict):
    """One side of a comparison: ``n`` runs, their mean and standard deviation in the row's unit."""

    n: int
    mean: float
    sd: float


class Row(_Strict):
    """A measured quantity; lower is better unless ``higher_is_better``.

    ``ratio`` is how many times better ours is than the reference of the same run; ``roofline`` the share (0-1) of the speed that
    the machine's matrix product or copy bandwidth would allow.
    """

    key: str
    what: str
    unit: str
    ours: Side
    reference: Side | None = None
    ratio: float | None = None
    target: float | None = None
    roofline: float | None = None
    higher_is_better: bool = False


class Curve(_Strict):
    """How a cost grows: ``y`` over ``x``."""

    x_label: str
    y_label: str
    x: list[float]
    y: list[float]


class Result(_Strict):
    """What a benchmark found on one device."""

    name: str
    device: str
    command: str
    hardware: str
    versions: dict[str, str]
    date: str
    load_average: float
    busy: bool
    matmul_gflops: dict[str, float]
    copy_gb_s: float
    rows: list[Row]
    curves: list[Curve] = []
    notes: list[str] = []


@dataclass(frozen=True)
class Target:
    """A row of the table of targets: which number of which benchmark, and what it should be."""

    what: str
    name: str
    device: str
    key: str
    ratio: float | None = None
    absolute: str = ""

    @property
    def command(self) -> str:
        return f"python benchmarks/{self.name}.py" + (" --device cuda" if self.device == "cuda" else "") + " --record"


TARGETS = (
    Target("fine-tuning the 3D U-Net, data to updated weights, on a GPU", "train_step", "cuda", "train", 15,
           "at least 1,000 clips/s"),
    Target("full protocol, by arithmetic from the measured rates", "train_step", "cuda", "protocol", None, "at most 0.58 h"),
    Target("peak GPU memory at a batch of 16", "train_step", "cuda", "memory", None, "at most 24 GB"),
    Target("inference, batched, on a GPU", "inference", "cuda", "full", 10, "at most 15 µs per frame"),
    Target("phantom clips on a GPU", "phantom_speed", "cuda", "clip", None, "at most 18 ms per clip (10,030 in 3 minutes)"),
    Target("inference on the processor, published width", "inference", "cpu", "full", 2),
    Target("inference on the processor, a quarter of the width", "inference", "cpu", "narrow", 2),
    Target("read and augment a grey clip, every one changed, one core", "read_augment", "cpu", "grey_all", 8),
    Target("the same, jitter and CLAHE on half of the clips", "read_augment", "cpu", "grey_half", 8),
    Target("stored in three equal channels, every clip changed", "read_augment", "cpu", "equal_all", 8),
    Target("the same, jitter and CLAHE on half of the clips", "read_augment", "cpu", "equal_half", 8),
    Target("channels that differ a little, as EchoNet-Dynamic's, every clip changed", "read_augment", "cpu", "tinted_all", 8),
    Target("the same, jitter and CLAHE on half of the clips", "read_augment", "cpu", "tinted_half", 8),
    Target("read a clip, one core", "store_read", "cpu", "clip", 50),
    Target("fine-tuning a narrow 3D U-Net, data to updated weights, on the processor", "train_step", "cpu", "train"),
    Target("phantom clip on one core", "phantom_speed", "cpu", "clip", None, "at most 4 s per clip of 175 frames"),
    Target("propagation over the neighbours of a pixel beside unfold, the finest map of ten frames of 320 px, one thread",
           "propagation", "cpu", "infer_320", 1),
    Target("a network of ten frames of 320 px with it beside the same with unfold", "propagation", "cpu",
           "network_320", 1),
    Target("a calibration by one shared matrix beside a kernel a sample, a window of 112 px", "propagation", "cpu",
           "calibration_112", 1),
    Target("growth of memory while one command segments 500 clips", "segment_cohort", "cpu", "slope", None,
           "less than 2 MB per 100 clips"),
)


class EngineRow(_Strict):
    """A network trained on both paths: Dice of the test split in %, one number a seed."""

    network: str
    plain: list[float]
    fast: list[float]
    mean_difference: float
    seed_sd: float | None
    within_seed_noise: bool | None
    train_seconds: dict[str, float]


class EngineRecord(_Strict):
    """What ``benchmarks/engine_equivalence.py`` writes for a profile."""

    profile: str
    seeds: list[int]
    rows: list[EngineRow]
    keys: dict[str, list[str]]
    provenance: Provenance


#: Generated parts of the page.
PARTS = ("speed_targets.md", "speed_engines.md", "speed_growth.md", "speed_rows.md", "speed_machines.md")
#: Benchmarks whose record of the CPU the page cannot do without.
NEEDED = ("growth", "inference", "phantom_speed", "read_augment", "runtime_per_frame", "store_read", "train_step")
#: Those that `make bench` runs.
BENCHED = (*NEEDED, "propagation")


def read_result(path: Path) -> Result:
    """Read one record.

    Raises:
        RecordError: the file is missing or damaged, or says it is another benchmark's; it is named.
    """
    shown = (FOLDER / path.name).as_posix()
    try:
        result = Result.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{shown} is missing; `make bench` writes it") from None
    except (ValidationError, UnicodeDecodeError) as error:
        raise RecordError(f"{shown} is damaged: {str(error).splitlines()[0]}; `make bench` writes a new one") from None
    if path.name != f"{result.name}-{result.device}.json":
        raise RecordError(f"{shown} holds the result of {result.name!r} on {result.device!r}; expected a file "
                          f"{result.name}-{result.device}.json")
    return result


def read_results(folder: Path) -> dict[tuple[str, str], Result]:
    """All records by (benchmark, device); those of :data:`NEEDED` on the CPU must be there.

    Raises:
        RecordError: a file is missing or damaged.
    """
    paths = {folder / f"{name}-cpu.json" for name in NEEDED} | set(folder.glob("*-cpu.json")) | set(folder.glob("*-cuda.json"))
    found = [read_result(path) for path in sorted(paths)]
    return {(result.name, result.device): result for result in found}


def speed_pages(root: Path) -> dict[str, str]:
    """Generated parts of the page by file name.

    Args:
        root: the checkout.

    Raises:
        RecordError: a record is missing or damaged.
    """
    results = read_results(root / FOLDER)
    growth = "".join(_picture(results[key]) for key in sorted(results) if results[key].curves)
    return {"speed_targets.md": targets_table(results), "speed_engines.md": engines_table(read_engines(root / FOLDER)),
            "speed_rows.md": all_rows(results),
            "speed_growth.md": f"````{{raw}} html\n{growth}\n````\n", "speed_machines.md": machines(results)}


def targets_table(results: dict[tuple[str, str], Result]) -> str:
    """Targets against what was measured; a row without a record shows its command."""
    rows = []
    for target in TARGETS:
        result = results.get((target.name, target.device))
        aim = " and ".join(([f"{target.ratio:g} times the reference"] if target.ratio else [])
                           + ([target.absolute] if target.absolute else [])) or "–"
        row = None if result is None else next((r for r in result.rows if r.key == target.key), None)
        if row is None:
            why = "no GPU here" if target.device == "cuda" else "no record"
            rows.append((target.what, aim, f"not yet measured ({why}): <code>{target.command}</code>", "–", "–", "–"))
            continue
        where = html.escape(f"{result.hardware}, {result.date}") + (" (busy machine)" if result.busy else "")
        rows.append((target.what, aim, _side(row.ours, row.unit), _side(row.reference, row.unit), _ratio(row), where))
    head = ("What", "Aim", "Ours", "Reference, same run", "Ratio", "Where and when")
    return table("Aims and measurements", head, rows)


def read_engines(folder: Path) -> list[EngineRecord]:
    """Trainings on both paths, by profile; there may be none.

    Raises:
        RecordError: a record is damaged, or is another profile's.
    """
    found = []
    for path in sorted(folder.glob(f"{ENGINES}-*.json")):
        shown = (FOLDER / path.name).as_posix()
        try:
            record = EngineRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise RecordError(f"{shown} is damaged: {str(error).splitlines()[0]}; {_again(path)}") from None
        if path.name != f"{ENGINES}-{record.profile}.json":
            raise RecordError(f"{shown} holds trainings of profile {record.profile!r}; {_again(path)}")
        found.append(record)
    return found


def _again(path: Path) -> str:
    profile = path.stem.removeprefix(f"{ENGINES}-")
    return f"`python benchmarks/{ENGINES}.py --profile {profile} --record {(FOLDER / path.name).as_posix()}` writes a new one"


def engines_table(records: list[EngineRecord]) -> str:
    """Scores of whole trainings on both paths, a row a profile and network."""
    rows = []
    for record in records:
        where = html.escape(f"{record.provenance.hardware}, {record.provenance.finished[:10]}")
        for row in record.rows:
            noise = "–" if row.seed_sd is None else f"{row.seed_sd:.2f}"
            verdict = {True: "yes", False: "no", None: "one seed cannot say"}[row.within_seed_noise]
            rows.append((html.escape(f"{record.profile}: {row.network}"), *(", ".join(f"{v:.2f}" for v in side)
                         for side in (row.plain, row.fast)), f"{row.mean_difference:+.2f}", noise, verdict, where))
    if not rows:
        return f"Not yet measured: `python benchmarks/{ENGINES}.py --profile smoke --record " \
               f"{(FOLDER / f'{ENGINES}-smoke.json').as_posix()}`\n"
    return table("Dice of the test split in %, whole trainings on both paths, one number a seed",
                 ("Profile and network", "Plain", "Fast", "Fast − plain", "SD between seeds", "Within two standard errors",
                  "Where and when"), rows)


def all_rows(results: dict[tuple[str, str], Result]) -> str:
    """Every measured row of every record, with its distance to the roofline."""
    rows = [(html.escape(f"{r.name}, {r.device}"), html.escape(row.what), _side(row.ours, row.unit),
             _side(row.reference, row.unit), _ratio(row), "–" if row.roofline is None else f"{100 * row.roofline:.2g} %")
            for _, r in sorted(results.items()) for row in r.rows]
    return table("All measurements: mean, standard deviation, number of runs",
                 ("Benchmark", "What", "Ours", "Reference, same run", "Ratio", "Share of the roofline"), rows)


def machines(results: dict[tuple[str, str], Result]) -> str:
    """On what and when each record was made."""
    rows = [(f"<code>{html.escape(r.command)}</code>", html.escape(r.hardware), r.date,
             f"{r.load_average:.1f}" + (" (busy)" if r.busy else ""),
             ", ".join(f"{kind} {value:,.0f}" for kind, value in sorted(r.matmul_gflops.items())), f"{r.copy_gb_s:,.0f}",
             html.escape(", ".join(f"{k} {v}" for k, v in sorted(r.versions.items()))), html.escape("; ".join(r.notes) or "–"))
            for _, r in sorted(results.items())]
    return table("Machines and their rooflines", ("Command", "Hardware", "Date", "Load at the start", "Matrix product, GFLOP/s",
                                                  "Copy, GB/s", "Versions", "Notes"), rows)


def growth_figure(result: Result) -> Figure:
    """One small panel for each curve of a record."""
    columns = min(4, len(result.curves))
    lines = -(-len(result.curves) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(2.6 * columns, 2.2 * lines), layout="constrained", squeeze=False)
    for axis, curve in zip(axes.flat, result.curves, strict=False):
        axis.plot(curve.x, curve.y, "o-", color=COLOURS["here"], ms=4)
        axis.set(xlabel=curve.x_label, ylabel=curve.y_label, ylim=(0, 1.15 * max(curve.y) or 1), xticks=curve.x)
        axis.tick_params(labelsize=8)
    for axis in list(axes.flat)[len(result.curves):]:
        axis.remove()
    return figure


def _picture(result: Result) -> str:
    figure, stream = growth_figure(result), io.StringIO()
    with plt.rc_context({"svg.hashsalt": result.name}):  # the same records give the same page
        figure.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(figure)
    svg = stream.getvalue()
    label = html.escape(f"How cost grows on {result.hardware}, {result.date}", quote=True)
    drawing = svg[svg.index("<svg"):]
    return (f'<figure class="echo-figure"><div class="echo-scroll" tabindex="0" role="img" aria-label="{label}">{drawing}</div>'
            f"<figcaption>{label}</figcaption></figure>")


def _side(side: Side | None, unit: str) -> str:
    if side is None:
        return "–"
    return f"{_digits(side.mean, 3)} {html.escape(unit)} <small>(sd {_digits(side.sd, 2)}, n {side.n})</small>"


def _digits(value: float, count: int) -> str:
    """``value`` with so many significant digits and no exponent for large ones: 29,300 and not 2.93e+04."""
    rounded = float(f"{value:.{count}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (count - 1) else f"{rounded:.{count}g}"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "–"
    if row.target is None:
        return f"{row.ratio:.1f}"
    return f"{row.ratio:.1f} <small>({'met' if row.ratio >= row.target else 'not met'})</small>"
