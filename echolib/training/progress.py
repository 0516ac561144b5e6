"""One progress bar per run: epoch, step, loss, time left. Plain lines where the output is no terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_EVERY = 15.0  # s between plain lines inside an epoch


class RunProgress:
    """Progress of one run on standard error.

    Args:
        label: the run's name.
        total: steps of the whole run.
        done: steps already done (resume).
        epochs: epochs of the whole run.
        shown: False keeps silent.
        score: what a validation gives, in a word.
    """

    def __init__(self, label: str, total: int, done: int, epochs: int, shown: bool = True,
                 score: str = "Dice") -> None:
        self.label, self.total, self.done, self.epochs, self.shown, self.score = label, total, done, epochs, shown, score
        self._console = Console(stderr=True)
        self._live = shown and (self._console.is_terminal or self._console.is_jupyter)
        self._began, self._first, self._said = time.monotonic(), done, time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=self._console, disable=not self._live)
        self._task = self._bar.add_task(label, total=total, completed=done, news="")

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """One line of news, above the bar."""
        if self._live:
            self._bar.console.print(f"{self.label}: {text}", markup=False, highlight=False)
        elif self.shown:
            self._console.print(f"{self.label}: {text}", markup=False, highlight=False, soft_wrap=True)

    def step(self, epoch: int, loss: float, validation: float | None, last: bool) -> None:
        """One step is done. ``epoch`` counts from 1; ``last``: it ended the epoch."""
        self.done += 1
        told = f"  {self.score} {validation:.4f}" if validation is not None else ""
        news = f"epoch {epoch}/{self.epochs}  loss {loss:.4g}{told}"
        if self._live:
            self._bar.update(self._task, advance=1, news=news)
        elif last or time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            left = (self._said - self._began) / max(self.done - self._first, 1) * (self.total - self.done)
            self.say(f"{news}  step {self.done}/{self.total}  {left:.0f} s left")
