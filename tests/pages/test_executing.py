"""Several notebooks at once: they do run together, and what happens to one does not happen to the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from nbformat import read, write
from nbformat.v4 import new_code_cell, new_notebook

from echolib.errors import NotebookError
from echolib.hardware import cores
from echolib.pages.executing import Task, run_all
from echolib.pages.notebooks import read_manifest

forks = pytest.mark.skipif(sys.platform != "linux", reason="notebooks run one after the other where forking is not safe")
#: Leaves a mark and waits for the other's; alone it would wait in vain.
MEET = """
import time
from pathlib import Path
Path("{me}.mark").touch()
for _ in range(600):
    if Path("{other}.mark").exists():
        break
    time.sleep(0.1)
else:
    raise TimeoutError("nobody came")
"""


def task(folder: Path, name: str, code: str, alone: bool = False) -> Task:
    book = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}, cells=[
        new_code_cell('profile: str = "tiny"', metadata={"tags": ["parameters"]}), new_code_cell(code)])
    write(book, folder / f"{name}.ipynb")
    return Task(name, folder / f"{name}.ipynb", folder / "out" / f"{name}.ipynb", {"profile": "tiny"}, folder, alone=alone)


@forks
def test_two_run_together_and_one_that_measures_time_before_them(tmp_path):
    tasks = [task(tmp_path, "a", MEET.format(me="a", other="b")), task(tmp_path, "b", MEET.format(me="b", other="a")),
             task(tmp_path, "timed", 'from pathlib import Path; assert not list(Path().glob("*.mark"))', alone=True)]
    ended = list(run_all(tasks, at_once=2))
    assert ended[0] == ("timed", None) and sorted(ended[1:]) == [("a", None), ("b", None)]
    for one in tasks:
        assert read_manifest(one.out)["notebook"] == f"{one.name}.ipynb"
    assert not list((tmp_path / "out").glob(".running-*"))


@forks
def test_an_error_and_a_kill_stop_their_own_page(tmp_path):
    killed = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"  # the process that feeds this kernel
    tasks = [task(tmp_path, "good", "1 + 1"), task(tmp_path, "bad", "1 / 0"), task(tmp_path, "killed", killed)]
    ended = dict(run_all(tasks, at_once=2))
    assert ended["good"] is None and tasks[0].out.is_file()
    assert isinstance(ended["bad"], NotebookError) and "bad.ipynb: cell 2: ZeroDivisionError" in str(ended["bad"])
    assert isinstance(ended["killed"], NotebookError) and "killed by signal 9" in str(ended["killed"])
    assert not tasks[1].out.exists() and not tasks[2].out.exists()
    left = list((tmp_path / "out").glob(".running-killed-*"))
    assert left, "the kill came too late"
    again = task(tmp_path, "killed", "2 + 2")
    assert dict(run_all([again])) == {"killed": None}
    assert not list((tmp_path / "out").glob(".running-*"))


def test_one_after_the_other(tmp_path):
    tasks = [task(tmp_path, "bad", "1 / 0"), task(tmp_path, "good", "1 + 1")]
    ended = dict(run_all(tasks, at_once=1))
    assert ended["good"] is None and "ZeroDivisionError" in str(ended["bad"])


#: Processes started in the kernel, a drawing, a temporary folder that goes with the kernel, and where all of it runs.
LIFE = """
import json, os, sys, tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
import matplotlib
import matplotlib.pyplot as plt
import torch
with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
    root = pool.submit(max, 3, 4).result()
with torch.no_grad():
    summed = torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 8, 8)).shape[-1]
kept = tempfile.TemporaryDirectory()
plt.plot([1, 2])
plt.show()
Path("{name}.json").write_text(json.dumps({{"pool": root, "conv": summed, "folder": kept.name, "here": os.getcwd(),
    "backend": matplotlib.get_backend(), "main": __name__, "bars": os.environ["ECHOLIB_BARS"], "threads": torch.get_num_threads(),
    "group": os.getpgid(0) == os.getpid(), "python": sys.executable}}))
"""


@forks
def test_a_kernel_forked_from_what_is_imported_is_like_any_other(tmp_path, capfd):
    tasks = [task(tmp_path, name, LIFE.format(name=name)) for name in ("a", "b", "c")]
    assert dict(run_all(tasks, at_once=2)) == {"a": None, "b": None, "c": None}
    assert capfd.readouterr() == ("", "")
    for name, one in zip(("a", "b", "c"), tasks, strict=True):
        said = json.loads((tmp_path / f"{name}.json").read_text())
        assert not Path(said.pop("folder")).exists()
        assert said.pop("backend").lower().endswith("inline") and said.pop("threads") == max(1, cores() // 2)
        assert said == {"pool": 4, "conv": 6, "here": str(tmp_path), "main": "__main__", "bars": "0", "group": True,
                        "python": sys.executable}
        assert "image/png" in str(read(one.out, as_version=4).cells[-1].outputs)
