"""Runs spread over the GPUs of one machine: each job takes a device that no other job holds.

``python -m echolib.batch.devices COMMAND ...`` locks a free slot, sets ``CUDA_VISIBLE_DEVICES`` to its device and becomes the
command. The lock is one of the operating system on an open file: it goes with the process, however that ends, and two jobs
never get the same slot. Locks lie in the machine's temporary folder, so batches of several checkouts keep clear of each other.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from echolib.errors import ConfigError

#: Environment variable: how many jobs may share a device (default 1). Small networks leave most of one idle.
SHARE = "ECHOLIB_RUNS_PER_DEVICE"


def visible() -> list[str]:
    """Devices that this process may use: those that ``CUDA_VISIBLE_DEVICES`` names (a scheduler sets it), else all."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch  # seconds: only where nothing else tells

    return [str(i) for i in range(torch.cuda.device_count())]


def per_device() -> int:
    """How many jobs may share a device.

    Raises:
        ConfigError: the variable holds no whole number of at least 1.
    """
    text = os.environ.get(SHARE, "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{SHARE} is {text!r}; expected a whole number, 1 or more")
    return int(text)


def claim(devices: list[str], *, share: int = 1, folder: Path | None = None,
          wait_s: float | None = None) -> tuple[str, int] | None:
    """Lock a free slot of a device; the emptiest devices are tried first.

    Args:
        devices: names as in ``CUDA_VISIBLE_DEVICES``.
        share: slots of each device.
        folder: where the locks lie; None: a folder of this user in the temporary folder.
        wait_s: give up after so many seconds; None: wait until a slot is free.

    Returns:
        (device, file descriptor that holds the lock; close it to give the device back), or None after ``wait_s``.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"echolib-devices-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    end = None if wait_s is None else time.monotonic() + wait_s
    while True:
        for slot in range(share):
            for device in devices:
                name = re.sub(r"[^A-Za-z0-9_-]", "_", device)
                held = os.open(folder / f"{name}.{slot}.lock", os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return device, held
                except BlockingIOError:
                    os.close(held)
        if end is not None and time.monotonic() >= end:
            return None
        time.sleep(0.5)


def main(command: list[str]) -> None:
    """Claim a device and become ``command``; without any device, just become it."""
    devices = visible()
    if devices:
        device, held = claim(devices, share=per_device())
        os.set_inheritable(held, True)  # the lock lives on in the command
        os.environ["CUDA_VISIBLE_DEVICES"] = device
        print(f"device {device}", flush=True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
