"""Work done in a forked child, so that it can be killed, denied a disk or made another user, without loading anything anew."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

from echolib.errors import EcholibError

DONE, DENIED, REFUSED, INTERRUPTED, BROKEN = 0, 3, 4, 5, 6


def start(work: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> int:
    """Do ``before`` and ``work`` in a child; its process id, once ``work`` begins. See :func:`end` for how it ends."""
    ready, begun = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child that is not ready must not run on as a second pytest
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)  # a child has none of its parent's threads, and waits for ever for the pools to which they belong
    torch.set_num_threads(1)
    child = os.fork()
    if child:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.close(begun)
        os.read(ready, 1)
        os.close(ready)
        return child
    status = BROKEN
    try:
        faulthandler.dump_traceback_later(50)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()
        os.write(begun, b".")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        work()
        status = DONE
    except OSError as error:
        print(f"denied: {error}", file=sys.stderr)
        status = DENIED
    except EcholibError as error:
        print(f"refused: {error}", file=sys.stderr)
        status = REFUSED
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)


def end(child: int, patience_s: float = 60.0) -> int:
    """Wait for a child: one of the statuses above, or minus the signal that killed it."""
    stop = time.monotonic() + patience_s
    while time.monotonic() < stop:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


def interrupt(work: Callable[[], object], after_s: float, number: int) -> int:
    """Start ``work`` and send it a signal after a while; how it ended."""
    child = start(work)
    time.sleep(after_s)
    os.kill(child, number)
    return end(child)


def no_file_above(size: int) -> Callable[[], None]:
    """A disk that is full: no file grows beyond ``size`` bytes, and the write that tries gives an error."""
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return limit


def as_nobody() -> None:
    """Give up root's right to write everywhere."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; locks, which are empty, left out."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
