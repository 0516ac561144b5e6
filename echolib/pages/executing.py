"""Several notebooks at once, one a process, so that a book of many short pages does not wait for one core.

A child is forked, so nothing is imported again; all it does is feed a kernel. It shares the terminal's process group:
Ctrl-C reaches it as it reaches us. Where forking is not safe (only Linux is trusted), notebooks run one after the other.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from echolib.errors import EcholibError, NotebookError
from echolib.hardware import cores
from echolib.pages.notebooks import execute

#: Seconds that a child has to leave after Ctrl-C.
_PATIENCE = 30


@dataclass(frozen=True)
class Task:
    """A notebook to execute; the fields are the arguments of :func:`echolib.pages.notebooks.execute`.

    ``alone``: it measures time, so nothing may run beside it.
    """

    name: str
    notebook: Path
    out: Path
    parameters: dict[str, object]
    cwd: Path
    inputs: tuple[str, ...] = ()
    alone: bool = False

    def run(self, progress: bool = True) -> None:
        """Execute it here."""
        execute(self.notebook, self.out, self.parameters, cwd=self.cwd, inputs=self.inputs, progress=progress)


def run_all(tasks: Sequence[Task], at_once: int | None = None) -> Iterator[tuple[str, EcholibError | None]]:
    """Execute notebooks; yields each one's name, with the error that stopped it or None, as it ends.

    Args:
        tasks: what to execute; those that must run alone come first.
        at_once: how many at a time; None: one a processor core where forking is safe, else one.

    Raises:
        ChildProcessError: a child ended by an error that is not one of ours; its traceback stands on standard error.
    """
    at_once = at_once or (cores() if sys.platform == "linux" else 1)
    together = [task for task in tasks if not task.alone]
    first = [task for task in tasks if task.alone]
    if min(at_once, len(together)) < 2:
        first, together = [*first, *together], []
    for task in first:
        try:
            task.run()
        except EcholibError as error:
            yield task.name, error
        else:
            yield task.name, None
    yield from _forked(together, at_once)


def _forked(tasks: list[Task], at_once: int) -> Iterator[tuple[str, EcholibError | None]]:
    context, waiting = get_context("fork"), list(tasks)
    running: dict[Connection, tuple[Task, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                task, (ours, theirs) = waiting.pop(0), context.Pipe(duplex=False)
                child = context.Process(target=_child, args=(task, theirs, max(1, cores() // at_once)), name=task.name)
                child.start()
                theirs.close()  # so that its end is seen when the child has gone
                running[ours] = (task, child)
            for ours in wait(list(running)):
                task, child = running.pop(ours)
                yield task.name, _outcome(task, child, ours)
    finally:  # Ctrl-C, or an error above
        for _, child in running.values():
            os.kill(child.pid, signal.SIGINT)
        for _, child in running.values():
            child.join(_PATIENCE)
            child.kill()


def _child(task: Task, answer: Connection, threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the kernel: several at once share the cores
    try:
        task.run(progress=False)
    except EcholibError as error:
        answer.send(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    else:
        answer.send(None)


def _outcome(task: Task, child: BaseProcess, answer: Connection) -> EcholibError | None:
    try:
        said = answer.recv()
    except EOFError:
        child.join()
        if child.exitcode < 0:
            return NotebookError(f"{task.notebook.name}: the process that executed it was killed by signal {-child.exitcode} (by "
                                 "somebody, or for lack of memory)")
        raise ChildProcessError(f"{task.notebook.name}: its process ended with status {child.exitcode}; what went wrong stands "
                                "above") from None
    child.join()
    return None if said is None else NotebookError(said)
