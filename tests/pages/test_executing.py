"""Several notebooks at once: they do run together, and what happens to one does not happen to the other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook

from echolib.errors import NotebookError
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
