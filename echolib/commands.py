"""The commands that make the book and its parts: ``plan``, ``cohort``, ``store``, ``run``, ``times``, ``keep``, ``notebook``,
``pages``, ``book`` and ``batch``."""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from echolib.words import counted

ProfileName = Annotated[str, typer.Option(help="a file of profiles/")]
Engine = Annotated[str | None, typer.Option(help="fast or plain (frame by frame, float32, nothing compiled); default: "
                                                 "the profile's")]
CohortName = Annotated[str, typer.Argument(help="a name that `echolib plan --json` gives")]

Minutes = Annotated[float | None, typer.Option(min=0.01, help="end by itself in so many minutes, with the training at work "
                                                              "checkpointed and what is finished copied to results/")]
Benchmarks = Annotated[bool | None, typer.Option(help="with --minutes: measure first; default: on a GPU, what has no record of "
                                                      "one")]
Carry = Annotated[float, typer.Option(min=0, help="with --minutes: MB of a checkpoint above which it stays on this machine")]


def plan_command(profile: ProfileName = "smoke", as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
                 rate: Annotated[float | None, typer.Option(min=1, help="GFLOP/s of matrix products on the machine that will "
                                                                        "compute; default: measured here")] = None,
                 share: Annotated[float | None, typer.Option(min=0.001, max=1, help="share of that rate that training reaches; "
                                                                                   "default: 0.4 on a processor, 0.1 on a "
                                                                                   "GPU, of this machine's kind")] = None,
                 engine: Engine = None) -> None:
    """Say beforehand what making the book will compute, what is taken from records, what is stale and why, and the cost."""
    choose_engine(engine)
    from echolib.batch.planner import make_plan
    from echolib.batch.report import report
    from echolib.ledger.workspace import Workspace

    made = make_plan(Workspace.open(profile), rate=None if rate is None else rate * 1e9, share=share)
    print(made.as_json() if as_json else report(made))


def cohort_command(name: CohortName, profile: ProfileName = "smoke") -> None:
    """Simulate one phantom cohort of a profile; finished studies are kept."""
    from echolib.batch.planner import cohort_named
    from echolib.ledger.workspace import Workspace

    workspace = Workspace.open(profile)
    cohort = workspace.cohort(cohort_named(workspace, name))
    print(f"cohort {name}: {counted(len(cohort.studies), 'study', 'studies')}, data fingerprint {cohort.fingerprint[:16]}")


def store_command(name: CohortName, profile: ProfileName = "smoke") -> None:
    """Pack one cohort of a profile into its store, simulating it first where it is missing."""
    from echolib.batch.planner import cohort_named
    from echolib.ledger.workspace import Workspace

    workspace = Workspace.open(profile)
    store = workspace.store_of(cohort_named(workspace, name))
    studies, frames = counted(len(store.studies), "study", "studies"), counted(len(store.frames), "frame")
    print(f"store {name}: {studies}, {frames}, data fingerprint {store.fingerprint[:16]}")


def run_command(name: Annotated[str | None, typer.Argument(help="a table or figure, such as simlvseg_table1, a "
                                                                "page, such as pkecho_ablations, or the key of a run or an "
                                                                "evaluation")] = None,
                profile: ProfileName = "smoke", everything: Annotated[bool, typer.Option("--all", help="all pages")] = False,
                engine: Engine = None,
                anew: Annotated[bool, typer.Option("--anew", help="records committed in results/ do not count")] = False,
                processes: Annotated[int, typer.Option(min=1, help="processes that share each training; one for each GPU, or on "
                                                                   "processors a share of the cores")] = 1,
                minutes: Minutes = None,
                tests: Annotated[bool, typer.Option("--tests", help="with --minutes: first the tests that need a GPU")] = False,
                benchmarks: Benchmarks = None, carry: Carry = 16) -> None:
    """Run what has no record yet: one training, one evaluation, those of one table or figure, or (`all`) everything."""
    choose_engine(engine)
    if processes > 1:
        os.environ["ECHOLIB_PROCESSES"] = str(processes)
    if anew:
        os.environ["ECHOLIB_ANEW"] = "1"
    from echolib.ledger.ledger import Ledger
    from echolib.ledger.workspace import Workspace
    from echolib.papers.book import BOOK

    if (name in (None, "all")) != (everything or name == "all"):
        raise typer.BadParameter("expected the name of a table, figure or page, a key, or --all")
    name = None if name == "all" else name
    if minutes is not None:
        _run_timed(name, profile, minutes, tests, benchmarks, carry)
        return
    if tests or benchmarks is not None:
        raise typer.BadParameter("--tests and --benchmarks go with --minutes")
    ledger = Ledger(Workspace.open(profile))
    chosen = BOOK.select(name, ledger.workspace.profile)
    for spec in chosen.runs:
        record = ledger.require([spec])[0]
        found = "done"
        if "overall" in record.scores:
            found = f"Dice {100 * record.dice.mean:.2f} ({100 * record.dice.low:.2f}–{100 * record.dice.high:.2f})"
        print(f"run {spec.key}  {spec.label}: {found}", flush=True)
    for spec in chosen.evaluations:
        found = ledger.evaluate([spec])[0].record
        studies, frames = counted(found.studies, "study", "studies"), counted(found.frames, "frame")
        print(f"evaluation {spec.key}  {spec.label}: {studies}, {frames}", flush=True)


def _run_timed(name: str | None, profile: str, minutes: float, tests: bool, benchmarks: bool | None, carry: float) -> None:
    """``run --minutes``: exit status 1 where something failed."""
    from echolib.batch.timed import run_timed
    from echolib.ledger.workspace import Workspace
    from echolib.papers.book import BOOK

    specs = None
    if name is not None:
        chosen = BOOK.select(name, Workspace.open(profile).profile)
        specs = (*chosen.runs, *chosen.evaluations)
    done = run_timed(profile, minutes, specs=specs, tests=tests, benchmarks=benchmarks, most=round(1e6 * carry))
    if done.failed:
        raise typer.Exit(1)


def keep_command(profile: ProfileName, engine: Engine = None,
                 any_code: Annotated[bool, typer.Option("--any-code", help="also what older code computed; data and "
                                                                            "specification must be the same")] = False,
                 build: Annotated[Path | None, typer.Option(help="build folder to take from; default: "
                                                                 "build/<profile>")] = None) -> None:
    """Copy finished runs, evaluations and times that the pages need to results/<profile>, to be committed with the sources."""
    choose_engine(engine)
    from echolib.batch.keeping import keep
    from echolib.errors import ConfigError
    from echolib.ledger.workspace import Workspace

    workspace = Workspace.open(profile)
    if build is not None:
        if not (build / "runs").is_dir():
            raise ConfigError(f"{build.name} holds no folder 'runs'; expected the build folder of profile {profile!r}")
        workspace = replace(workspace, build=build.resolve())
    keep(workspace, any_code=any_code)


def times_command(profile: ProfileName = "smoke") -> None:
    """Measure on this machine the times that pages show, whatever is kept; the next book shows them. Nothing else should run."""
    from echolib.ledger.ledger import Ledger
    from echolib.ledger.workspace import Workspace
    from echolib.pages import timing
    from echolib.papers.book import BOOK

    ledger = Ledger(Workspace.open(profile), progress=False)
    with timing.anew():
        for page in BOOK.timed:
            load = timing.wait_until_quiet()
            if timing.too_busy(load):
                print(f"the machine stays busy (load {load:.1f}): these times will decide nothing and not be kept", flush=True)
            BOOK.take_times(page, ledger)
            print(f"times of {page}: measured", flush=True)


def notebook_command(name: Annotated[str, typer.Argument(help="a notebook of the book, such as simlvseg_table1")],
                     profile: ProfileName = "smoke", engine: Engine = None,
                     given: Annotated[list[str] | None, typer.Option("--set", help="a parameter of the page, NAME=VALUE, such as "
                                                                                   "ratios=[0.3,0.6]; may be repeated")] = None,
                     ) -> None:
    """Execute one notebook of the book, unless the executed copy is current; with --set a page of your own."""
    choose_engine(engine)
    from echolib.batch.make import make_notebook

    values = dict(parameter(text) for text in given or [])
    out = make_notebook(profile, name, values)
    print(f"executed: {'/'.join(out.parts[-4:] if values else out.parts[-3:])}")


def parameter(text: str) -> tuple[str, object]:
    """``NAME=VALUE`` of a command line: the value as Python writes it, or where that is no literal the text itself.

    Raises:
        BadParameter: no name, or no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(f"{text!r}: expected NAME=VALUE, such as seeds=[0,1]", param_hint="--set")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def pages_command(profile: ProfileName = "smoke", engine: Engine = None) -> None:
    """Build the book from what is there and compute nothing; a page that lacks something is a note in its place."""
    choose_engine(engine)
    from echolib.batch.make import make_pages

    print(f"\nThe book is ready: {make_pages(profile)}")


def book_command(profile: ProfileName = "smoke", engine: Engine = None) -> None:
    """Make the book: cohort, store, runs, notebooks, pages. What is current is not made again."""
    choose_engine(engine)
    from echolib.batch.make import make_book

    print(f"\nThe book is ready: {make_book(profile)}")


def batch_command(context: typer.Context, profile: ProfileName = "smoke",
                  jobs: Annotated[int | None, typer.Option(min=1, help="jobs at the same time; default: one for each GPU here, "
                                                                       "else 1; 100 on a cluster")] = None,
                  executor: Annotated[str, typer.Option(help="local or slurm")] = "local",
                  gpu: Annotated[int | None, typer.Option(min=0, max=1, help="GPUs of a run; default: 1 where there is "
                                                                              "one")] = None,
                  threads: Annotated[int | None, typer.Option(min=1, help="cores of a run; default: an even share; 4 on a "
                                                                          "cluster")] = None,
                  partition: Annotated[str, typer.Option(help="SLURM partition; default: the cluster's own")] = "",
                  engine: Engine = None) -> None:
    """Make the book as many jobs, through Snakemake; words after -- go to Snakemake."""
    choose_engine(engine)
    from echolib.batch.jobs import Options, run_batch

    home = run_batch(profile, Options(jobs, executor, gpu, threads, partition, tuple(context.args)))
    print(f"\nThe book is ready: {home}")


def choose_engine(engine: str | None) -> None:
    """Put the engine where Workspace.open reads it, here and in the notebooks' and jobs' processes."""
    if engine is not None:
        os.environ["ECHOLIB_ENGINE"] = engine


def register(app: typer.Typer) -> None:
    """Add the commands to ``echolib``."""
    for name, command in (("plan", plan_command), ("book", book_command), ("cohort", cohort_command), ("store", store_command),
                          ("run", run_command), ("times", times_command), ("keep", keep_command),
                          ("notebook", notebook_command), ("pages", pages_command)):
        app.command(name)(command)
    app.command("batch", context_settings={"allow_extra_args": True, "ignore_unknown_options": False})(batch_command)
