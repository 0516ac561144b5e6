"""Notebooks: declared parameters, execution by this interpreter, atomic outputs, manifests, staleness, shape."""

from __future__ import annotations

import getpass
import hashlib
import json
import socket
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from echolib.errors import NotebookError
from echolib.pages.head import comments_of
from echolib.pages.lint import lint
from echolib.pages.notebooks import execute, is_current, manifest_path, parameters_of, read_manifest, validate

ROOT = Path(__file__).parents[2]
PARAMETERS = """profile: str = "smoke"  # which profile
count: int = 2  # how many
ratio: float = 0.5  # share
seeds: list[int] = [0]  # seeds
note: str | None = None  # free text"""


def write(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    book = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    book.cells = [new_markdown_cell("# A stub"), new_code_cell(parameters, metadata={"tags": ["parameters"]}),
                  *[new_code_cell(c) for c in cells]]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    return path


def test_parameters_are_read_with_type_and_default(tmp_path):
    found = parameters_of(write(tmp_path / "a.ipynb"))
    assert {n: (p.annotation, p.default) for n, p in found.items()} == {
        "profile": ("str", "smoke"), "count": ("int", 2), "ratio": ("float", 0.5), "seeds": ("list[int]", [0]),
        "note": ("str | None", None)}


def test_defaults_complete_the_given_values(tmp_path):
    values = validate(write(tmp_path / "a.ipynb"), {"count": 3, "ratio": 1})
    assert values == {"profile": "smoke", "count": 3, "ratio": 1, "seeds": [0], "note": None}


@pytest.mark.parametrize(("given", "words"), [
    ({"cuont": 3}, ["'cuont'", "count: int", "profile: str"]),
    ({"count": "3"}, ["'count'", "takes int", "'3' (str)", "ratio: float"]),
    ({"count": True}, ["'count'", "takes int", "True (bool)"]),
    ({"seeds": [0, "1"]}, ["'seeds'", "takes list[int]"]),
    ({"profile": None}, ["'profile'", "takes str"]),
    ({"profile": "../elsewhere"}, ["'profile'", "leads out of the working folder", "'../elsewhere'"]),
    ({"profile": "a\\..\\..\\b"}, ["leads out of the working folder"]),
    ({"note": "/etc/passwd"}, ["'note'", "leads out of the working folder"]),
    ({"note": "~/x"}, ["leads out of the working folder"]),
    ({"note": "C:\\x"}, ["leads out of the working folder"]),
])
def test_bad_parameters_are_named(tmp_path, given, words):
    with pytest.raises(NotebookError) as caught:
        validate(write(tmp_path / "a.ipynb"), given)
    for word in ("a.ipynb", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("line", ["x = 3", "x: int", "x: int = f()", "x: open = 3", "x: int.real = 3", "print(1)"])
def test_a_parameters_cell_holds_typed_literals_only(tmp_path, line):
    with pytest.raises(NotebookError, match=r"a\.ipynb: parameters cell"):
        parameters_of(write(tmp_path / "a.ipynb", parameters=line))


def test_no_or_two_parameters_cells_are_refused(tmp_path):
    path = write(tmp_path / "a.ipynb", "1")
    book = nbformat.read(path, as_version=4)
    book.cells[2].metadata["tags"] = ["parameters"]
    nbformat.write(book, path)
    with pytest.raises(NotebookError, match="2 cells are tagged"):
        parameters_of(path)


def test_execution_is_complete_atomic_and_anonymous(tmp_path):
    source = write(tmp_path / "notebooks" / "a.ipynb", "import os, sys, pathlib",
                   "print(count * 2, sys.flags.no_site, pathlib.Path('mark.txt').read_text())",
                   "pathlib.Path('interpreter.txt').write_text(sys.executable)")
    (tmp_path / "mark.txt").write_text("here")
    out = tmp_path / "build" / "a.ipynb"
    assert execute(source, out, {"count": 21}, cwd=tmp_path, timeout_s=60, inputs=["k2", "k1"], progress=False) == out
    assert (tmp_path / "interpreter.txt").read_text() == sys.executable
    assert sorted(p.name for p in out.parent.iterdir() if p.suffix != ".lock") == ["a.ipynb", "a.manifest.json"]
    book = nbformat.read(out, as_version=4)
    assert book.cells[4].outputs[0].text == "42 0 here\n"
    assert (book.metadata.papermill.input_path, book.metadata.papermill.output_path) == ("notebooks/a.ipynb", "build/a.ipynb")
    manifest = read_manifest(out)
    assert manifest["parameters"] == {"profile": "smoke", "count": 21, "ratio": 0.5, "seeds": [0], "note": None}
    assert manifest["inputs"] == ["k1", "k2"] and manifest["notebook"] == "notebooks/a.ipynb"
    everything = out.read_text() + manifest_path(out).read_text()
    assert str(tmp_path) not in everything and socket.gethostname() not in everything
    assert f"/{getpass.getuser()}/" not in everything

    # current until something that matters changes, and then for the right reason
    given = {"count": 21}
    assert is_current(source, out, given, ["k1", "k2"]) == (True, "current")
    assert is_current(source, out, {"count": 22}, ["k1", "k2"]) == (False, "other parameters")
    assert is_current(source, out, given, ["k1"]) == (False, "other records")
    write(source, "print(0)")
    assert is_current(source, out, given, ["k1", "k2"]) == (False, "the notebook has changed")
    manifest |= {"code": "0", "notebook_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    manifest_path(out).write_text(json.dumps(manifest))
    assert is_current(source, out, given, ["k1", "k2"]) == (False, "the package's code has changed")
    out.write_text(out.read_text() + " ")
    assert is_current(source, out, given, [])[1] == "a.ipynb was changed after it was executed"
    manifest_path(out).unlink()
    assert is_current(source, out, given, [])[1] == "a.ipynb has no manifest: its run did not finish"
    out.unlink()
    assert is_current(source, out, given, [])[1] == "a.ipynb has not been executed"


@pytest.mark.parametrize(("cell", "words", "timeout"), [
    ("1 / 0", ["cell 4", "ZeroDivisionError", "division by zero"], 60),
    ("import time; time.sleep(60)", ["cell 4", "took longer than 2 s"], 2),
    ("import os; os.kill(os.getpid(), 9)", ["cell 4", "the kernel died"], 60),
])
def test_a_failure_names_the_cell_and_leaves_what_was_there(tmp_path, cell, words, timeout):
    source, out = write(tmp_path / "a.ipynb", "x = 1", cell, "y = 2"), tmp_path / "build" / "a.ipynb"
    out.parent.mkdir()
    out.write_text("old")
    manifest_path(out).write_text("old manifest")
    with pytest.raises(NotebookError) as caught:
        execute(source, out, {}, cwd=tmp_path, timeout_s=timeout, progress=False)
    for word in ("a.ipynb", *words):
        assert word in str(caught.value)
    left = {p.name: p.read_text() for p in out.parent.iterdir() if p.suffix != ".lock"}
    assert left == {"a.ipynb": "old", "a.manifest.json": "old manifest"}


TRANSPORT = """import json, pathlib
from ipykernel.connect import get_connection_info
said = json.loads(get_connection_info())
pathlib.Path("said.json").write_text(json.dumps([said["transport"], said["ip"], pathlib.Path(said["ip"]).parent.is_dir()]))"""


def test_kernels_that_start_together_cannot_take_each_other_s_port(tmp_path):
    execute(write(tmp_path / "a.ipynb", TRANSPORT), tmp_path / "build" / "a.ipynb", {}, cwd=tmp_path, progress=False)
    transport, place, there = json.loads((tmp_path / "said.json").read_text())
    assert (transport, there) == ("ipc", True)
    assert not Path(place).parent.exists()  # the sockets go with the kernel


def test_where_no_socket_fits_it_is_tcp(tmp_path, monkeypatch):
    far = tmp_path / ("d" * 80)
    far.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(far))
    execute(write(tmp_path / "a.ipynb", TRANSPORT), tmp_path / "build" / "a.ipynb", {}, cwd=tmp_path, progress=False)
    assert json.loads((tmp_path / "said.json").read_text())[0] == "tcp"


def test_a_kernel_that_does_not_start_stops_its_notebook_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(NotebookError, match="a.ipynb: before the first cell: Kernel died before replying to kernel_info"):
        execute(write(tmp_path / "a.ipynb", "1"), tmp_path / "build" / "a.ipynb", {}, cwd=tmp_path, progress=False)


def test_notebooks_outside_the_working_folder_are_refused(tmp_path):
    inside = tmp_path / "checkout"
    inside.mkdir()
    with pytest.raises(NotebookError, match="outside the working folder"):
        execute(write(tmp_path / "a.ipynb"), inside / "a.ipynb", {}, cwd=inside)
    with pytest.raises(NotebookError, match="outside the working folder"):
        execute(write(inside / "a.ipynb"), tmp_path / "out.ipynb", {}, cwd=inside)


def test_missing_and_damaged_notebooks_are_named(tmp_path):
    with pytest.raises(NotebookError, match=r"no notebook b\.ipynb"):
        parameters_of(tmp_path / "b.ipynb")
    (tmp_path / "b.ipynb").write_text("{")
    with pytest.raises(NotebookError, match=r"b\.ipynb: not a notebook"):
        parameters_of(tmp_path / "b.ipynb")


def test_lint_finds_each_fault(tmp_path):
    assert lint(write(tmp_path / "good.ipynb", "x = 1")) == []
    long = "\n".join(f"x{i} = {i}" for i in range(56))
    path = write(tmp_path / "bad.ipynb", "def f():\n    return 1", "if True:\n    class A:\n        pass", "%time 1", long,
                 parameters="a: int = 1\nb = 2  # x\nc: int = len('a')  # y")
    book = nbformat.read(path, as_version=4)
    book.cells[2]["execution_count"] = 3
    nbformat.write(book, path)
    text = "\n".join(lint(path))
    for word in ("cell 3: stores an output", "cell 3: defines 'f'", "cell 4: defines 'A'", "cell 5: is not plain Python",
                 "65 lines of code; at most 60", "'a' has no comment", "'b = 2' is not 'name: type = literal'",
                 "the value of 'c' is not a literal"):
        assert word in text


def test_lint_finds_a_figure_that_nobody_would_see(tmp_path):
    assert lint(write(tmp_path / "good.ipynb", "display(plots.show(f))\nprint(1)\nplots.use_style()\nplots.show(f)")) == []
    found = lint(write(tmp_path / "bad.ipynb", "x = 1", "plots.show(f)\ndisplay(table)"))
    assert found == ["cell 4: 'plots.show(...)' before the last line is not shown; put it into display()"]


def test_the_notebooks_of_the_book_are_thin():
    found = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
    assert found
    assert {n.name: lint(n) for n in found} == {n.name: [] for n in found}
    assert all(parameters_of(n) for n in found)


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_page_opens_with_one_folded_block(notebook):
    """No code above the first result; what a reader may turn is told, with every parameter's comment."""
    cells = nbformat.read(notebook, as_version=4).cells
    assert [c.cell_type for c in cells[:3]] == ["markdown", "code", "code"]
    assert all("remove-input" in c.metadata.tags for c in cells[1:3]) and cells[2].source.endswith("\npage.head")
    told = comments_of(notebook)
    assert told.keys() == parameters_of(notebook).keys() and all(told.values())
