"""A command that ends by itself in time: work inside :meth:`Clock.limit` is stopped as SIGTERM would stop it.

A training notes the signal, ends its step, writes its checkpoint and leaves (:mod:`echolib.training.determinism`); whatever else
is at work is left at once by :class:`TimeUp`, and every file that it was writing is the old one or not there.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from echolib.errors import ConfigError

#: Status with which a training leaves after SIGTERM.
ENDED = 128 + signal.SIGTERM


class TimeUp(BaseException):
    """The time is over, or the command was asked to end. No Exception, so that nothing takes it for a failure of the work."""


class Clock:
    """What is left of a budget.

    Args:
        seconds: the budget, from now on.
        reserve: seconds of it that are kept for ending: a step, a checkpoint and what has to be copied.
        now: a clock in seconds.

    Raises:
        ConfigError: nothing is left beside the reserve, or this is not the main thread, which alone gets signals.
    """

    def __init__(self, seconds: float, reserve: float, now: Callable[[], float] = time.monotonic) -> None:
        if seconds <= reserve:
            raise ConfigError(f"{seconds:g} s are no longer than the {reserve:g} s that ending may take; expected more minutes")
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError("only a program's main thread can be given a time limit")
        self._now, self._began, self.seconds, self.reserve = now, now(), seconds, reserve

    def passed(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._began

    def left(self) -> float:
        """Seconds for work, 0 at the least."""
        return max(0.0, self.seconds - self.reserve - self.passed())

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Work that may be stopped.

        Raises:
            TimeUp: it was, because the time is over or the process got SIGTERM; a training has written its checkpoint.
        """
        handlers = {signal.SIGTERM: _leave, signal.SIGALRM: _end}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            if self.left() <= 0:
                raise TimeUp
            signal.setitimer(signal.ITIMER_REAL, self.left())
            yield
        except SystemExit as error:
            if error.code != ENDED:
                raise
            raise TimeUp from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave(number: int, frame: object) -> None:
    raise TimeUp


def _end(number: int, frame: object) -> None:
    """The alarm: what SIGTERM means at this moment, to a training or to :func:`_leave`."""
    signal.raise_signal(signal.SIGTERM)
