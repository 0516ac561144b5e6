"""Several notebooks at once, one a process, so that a book of many short pages does not wait for one core.

Importing what a page needs takes longer than most pages. So a process that has done nothing but import it is started first;
from it are forked one process for each notebook, and from that, before it does anything, the notebook's kernel. All share the
terminal's process group: Ctrl-C reaches them as it reaches us. Where forking is not safe (only Linux is trusted), notebooks run
one after the other, each in a kernel of its own.
"""

from __future__ import annotations

import importlib
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
from echolib.pages.kernel import environment, prepare_kernel
from echolib.pages.notebooks import execute

#: Seconds that a child has to leave after Ctrl-C.
_PATIENCE = 30
#: What nearly every notebook imports, and what starts a kernel.
_IMPORTED = ("ipykernel.kernelapp", "matplotlib.pyplot", "seaborn", "echolib.plots", "echolib.papers.book")


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
        ChildProcessError: a process ended by an error that is not one of ours; its traceback stands on standard error.
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
    if len(together) > at_once:
        yield from _warm(together, at_once)
    else:  # each would wait for the one import, and imports as fast itself
        yield from _forked(together, at_once)


def _warm(tasks: list[Task], at_once: int) -> Iterator[tuple[str, EcholibError | None]]:
    """:func:`_forked` in a fresh process that has imported what pages need, and has no threads that a fork would lose."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    server = context.Process(target=_serve, args=(tasks, at_once, theirs), name="notebooks")
    with environment(OMP_NUM_THREADS=str(max(1, cores() // at_once)), PYDEVD_DISABLE_FILE_VALIDATION="1",
                     MPLBACKEND=os.environ.get("MPLBACKEND", "module://matplotlib_inline.backend_inline")):
        server.start()
    theirs.close()
    try:
        for _ in tasks:
            try:
                name, error = ours.recv()
            except EOFError:
                server.join()
                raise ChildProcessError(f"the process that executes notebooks ended with status {server.exitcode}; what went "
                                        "wrong stands above") from None
            yield name, error
        server.join()
    finally:
        if server.is_alive():
            os.kill(server.pid, signal.SIGINT)
            server.join(2 * _PATIENCE)
            server.kill()


def _serve(tasks: list[Task], at_once: int, answer: Connection) -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    try:
        for name, error in _forked(tasks, at_once, imported=True):
            answer.send((name, error))
    except KeyboardInterrupt:
        sys.exit(130)
    except ChildProcessError as error:
        sys.exit(str(error))


def _forked(tasks: list[Task], at_once: int, imported: bool = False) -> Iterator[tuple[str, EcholibError | None]]:
    context, waiting = get_context("fork"), list(tasks)
    running: dict[Connection, tuple[Task, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                task, (ours, theirs) = waiting.pop(0), context.Pipe(duplex=False)
                child = context.Process(target=_child, args=(task, theirs, max(1, cores() // at_once), imported), name=task.name)
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


def _child(task: Task, answer: Connection, threads: int, imported: bool) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the kernel: several at once share the cores
    if imported:
        prepare_kernel([answer.fileno()])
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
