"""A batch whose jobs take no time, in a checkout of four files: to be killed, and to see what is repeated.

``python -m tests.batch.standin ROOT [JOBS]`` makes a batch of two pages: ``one`` rests on two runs, the second of which
starts from the first, ``two`` on a third run. A job writes ``out/<id>`` whole, as a record, and says in ``journal`` when it
begins, when it has finished, and when it was asked for what was there already. What a file ``fault-<id>`` says happens to it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NEEDS = {"store-s": (), "run-a1": ("store-s",), "run-a2": ("store-s", "run-a1"), "run-b": ("store-s",),
         "notebook-one": ("run-a2",), "notebook-two": ("run-b",), "book": ("notebook-one", "notebook-two")}
PAGES = {"run-a1": ("one",), "run-a2": ("one",), "run-b": ("two",), "notebook-one": ("one",), "notebook-two": ("two",)}


def checkout(root: Path) -> Path:
    """What a batch needs of a checkout."""
    for name in ("Snakefile", "pyproject.toml", "profiles/smoke.yml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    (root / "out").mkdir()
    return root


def plan_of(root: Path):
    """The plan that the finished jobs leave."""
    from echolib.batch.plan import Plan, Step

    steps, finished = [], set()
    for name, needs in NEEDS.items():
        here = (root / "out" / name).is_file()
        done = name != "book" and here and (not name.startswith("notebook") or finished.issuperset(needs))
        finished |= {name} if done else set()
        steps.append(Step(name, name.split("-")[0], name.split("-")[-1], f"label of {name}", "done" if done else "to do",
                          "finished" if done else "not run yet", needs=needs, pages=PAGES.get(name, ())))
    return Plan("smoke", "a stand-in", tuple(steps), {})


def job(name: str) -> None:
    """What a job does instead of training."""
    with open("journal", "a", encoding="utf-8") as journal:
        if name == "book":
            missing = [n for n in NEEDS if n != "book" and not Path("out", n).is_file()]
            journal.write(f"book without {len(missing)}\n")
            Path("out/book").write_text(" ".join(missing))
            if missing:
                sys.exit("echolib: page two: it lacks " + missing[0])
            return
        journal.write(f"{'again' if Path('out', name).is_file() else 'begin'} {name}\n")
        journal.flush()
        time.sleep(0.3)
        fault = Path(f"fault-{name}")
        if fault.is_file():
            what = fault.read_text()
            fault.unlink()
            if what == "memory":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "scheduler":  # the whole job, its shell included
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            sys.exit(f"echolib: {what}")
        Path("out", f".{name}.part").write_text("whole")
        os.replace(Path("out", f".{name}.part"), Path("out", name))
        journal.write(f"end {name}\n")


def main(root: Path, jobs: int) -> None:
    """The batch."""
    from echolib.batch import jobs as batch
    from echolib.errors import EcholibError

    os.chdir(root)
    this = [sys.executable, str(Path(__file__).resolve())]
    batch._plan = lambda workspace: plan_of(root)
    batch._command = lambda step, profile, gpu: shlex.join([*this, "job", step.id])
    try:
        batch.run_batch("smoke", batch.Options(jobs=jobs, threads=1, gpu=0))
    except EcholibError as error:
        sys.exit(f"echolib: {error}")


if __name__ == "__main__":
    if sys.argv[1] == "job":
        job(sys.argv[2])
    else:
        main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
