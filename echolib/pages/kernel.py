"""The kernel that executes a notebook: this very interpreter, spoken to through sockets of its own, forked where it can be.

Jupyter starts a kernel through a *provisioner*. Ours takes a process that was forked from one that has imported everything and
waits for its command line; so a notebook does not wait for imports that take longer than its cells.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from shutil import rmtree

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from traitlets import CaselessStrEnum, Unicode

from echolib.files import write_json

#: Name of the provisioner, for Jupyter.
_FORKED = "echolib-forked"
#: Longest path of a folder in which a socket's path still fits into the 108 bytes that Linux has for it.
_LONGEST = 80


@contextmanager
def environment(**changed: str) -> Iterator[None]:
    """Set environment variables for the time of a block."""
    kept = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def own_kernel(folder: Path) -> Iterator[None]:
    """Make 'python3' mean this interpreter: a kernel specification in ``folder``, first on Jupyter's path."""
    spec = folder / "jupyter" / "kernels" / NATIVE_KERNEL_NAME
    spec.mkdir(parents=True)
    ready = {} if _ready is None else {"metadata": {"kernel_provisioner": {"provisioner_name": _FORKED}}}
    write_json(spec / "kernel.json", {
        "argv": [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}",
                 "--log-level=ERROR"],  # else it warns on every start that it talks to this machine over plain TCP
        "display_name": "Python 3", "language": "python", **ready})
    with environment(JUPYTER_PATH=str(folder / "jupyter"), IPYTHONDIR=str(folder / "ipython"),
                     PYDEVD_DISABLE_FILE_VALIDATION="1", ECHOLIB_BARS="0"):
        try:
            yield
        finally:
            rmtree(folder / "ipython", ignore_errors=True)


def manager(folder: Path) -> type[AsyncKernelManager]:
    """Kernels that are spoken to through sockets in ``folder``.

    A TCP port is chosen by one process and opened by another, and in between a kernel that starts beside it may take it. A
    socket in a folder of its own is nobody else's. Windows has none, and a long path does not fit: there it is TCP.
    """
    if sys.platform == "win32" or len(os.fsencode(folder)) > _LONGEST:
        return AsyncKernelManager

    class SocketKernelManager(AsyncKernelManager):
        transport = CaselessStrEnum(["tcp", "ipc"], default_value="ipc")
        connection_file = Unicode(str(folder / "kernel.json"))

    return SocketKernelManager


def prepare_kernel(closed: Iterable[int] = ()) -> None:
    """Fork the next kernel of this process from what it is now; it waits until a notebook wants one, or we are gone.

    To be called where nothing runs yet: a fork has no threads but the one that calls it.

    Args:
        closed: open files, by number, that are ours alone. All others stay open: libraries know some by their number, and would
            write into whatever has that number next.
    """
    global _ready
    _ready = _Prepared(closed)
    KernelProvisionerFactory.instance().provisioners[_FORKED] = EntryPoint(
        _FORKED, f"{__name__}:{ForkedProvisioner.__name__}", KernelProvisionerFactory.GROUP_NAME)


class _Prepared:
    """A forked process that becomes a kernel; what :class:`subprocess.Popen` offers to a provisioner."""

    stdin = stdout = stderr = None

    def __init__(self, closed: Iterable[int]) -> None:
        command, self._command = os.pipe()
        up, said = os.pipe()
        self.pid, self.returncode = os.fork(), None
        if self.pid == 0:
            os.close(self._command)  # its end is seen when we are gone
            os.close(up)
            _become(command, said, closed)
        os.close(command)
        os.close(said)
        os.read(up, 1)  # its process group is its own now
        os.close(up)

    def start(self, arguments: list[str], env: Mapping[str, str], cwd: str) -> None:
        with os.fdopen(self._command, "wb") as pipe:
            pickle.dump((arguments, dict(env), cwd), pipe)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


#: The process that waits to be this one's next kernel.
_ready: _Prepared | None = None


class ForkedProvisioner(LocalProvisioner):
    """Starts the kernel that :func:`prepare_kernel` has prepared; where that is used up, a new interpreter."""

    async def launch_kernel(self, cmd: list[str], **kwargs) -> KernelConnectionInfo:
        """Start it; the arguments are Jupyter's."""
        global _ready
        if _ready is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process, _ready, self.cwd = _ready, None, kwargs.get("cwd") or Path.cwd()
        self.process.start(cmd[cmd.index("ipykernel_launcher") + 1:], kwargs.get("env", os.environ), str(self.cwd))
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def _become(command: int, said: int, closed: Iterable[int]) -> None:
    """The forked process, to its end: wait for a command line, then be the kernel."""
    status = 1
    try:
        os.setsid()
        os.write(said, b"1")
        os.close(said)
        for one in closed:
            os.close(one)
        with os.fdopen(command, "rb") as pipe:
            sent = pipe.read()
        status = _kernel(*pickle.loads(sent)) if sent else 0  # noqa: S301  (our own parent's)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _kernel(arguments: list[str], env: dict[str, str], cwd: str) -> int:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    # Its own default was read from the environment when it was imported; by it the kernel leaves when its parent does.
    arguments = [*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"]
    sys.argv = ["ipykernel_launcher", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ipykernel import kernelapp

    try:
        kernelapp.launch_new_instance(argv=arguments)
        return 0
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    finally:
        atexit._run_exitfuncs()  # temporary folders go with their kernel, as from any interpreter
