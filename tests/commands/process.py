"""``echolib`` started as a person starts it: a process of its own, its output in a pipe or on a terminal of 80 columns."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Sequences by which a progress bar erases itself.
MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status and all that it wrote, errors included, in order."""

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        """Those that hold something, without what moves a terminal's cursor."""
        return [line.rstrip() for line in MOVES.sub("", self.text).splitlines() if line.strip()]


def echolib(*words: object, cwd: Path = ROOT, package: Path = ROOT, terminal: bool = False) -> Ended:
    """Run a command to its end.

    Args:
        words: of the command line.
        cwd: the folder it is started in.
        package: the folder whose ``echolib`` it is.
        terminal: write to a terminal of 80 columns instead of a pipe.
    """
    command = [sys.executable, "-m", "echolib", *map(str, words)]
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    if not terminal:
        done = subprocess.run(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=600)
        return Ended(done.returncode, done.stdout.decode())
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return Ended(process.wait(timeout=600), b"".join(parts).decode())
