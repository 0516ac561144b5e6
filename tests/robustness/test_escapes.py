"""Nothing that a file says is executed, and no name leads out of the folder it is meant for."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from echolib.clinic.reading import open_clip
from echolib.clinic.weights import load_segmenter
from echolib.data.truth import read_truth
from echolib.errors import EcholibError, NotebookError
from echolib.pages import site as book
from echolib.pages.notebooks import execute
from tests.models.helpers import Planted


def _object_npy(path: Path, planted: Planted) -> None:
    np.save(path, np.array([planted] * 3, dtype=object), allow_pickle=True)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("way", ["checkpoint", "checkpoint named safetensors", "npy clip", "npz truth"])
def test_planted_code_never_runs(tmp_path, way):
    """Beside tests/models: the ways in which `echolib segment` and the readers of arrays meet a stranger's file."""
    planted = Planted(tmp_path / "executed")
    if way.startswith("checkpoint"):
        path = tmp_path / ("w.safetensors" if "named" in way else "w.ckpt")
        torch.save({"state_dict": {"model.a": planted}}, path)
        read = load_segmenter
    elif way == "npy clip":
        path, read = tmp_path / "clip.npy", open_clip
        _object_npy(path, planted)
    else:
        path = tmp_path / "Truth" / "s.npz"
        path.parent.mkdir()
        np.savez(path, **{name: np.array([planted], dtype=object) for name in (
            "masks", "shape", "volumes_ml", "disk_volumes_ml", "phase", "knobs", "ef", "edv", "esv", "spacing_mm")})

        def read(_):
            return read_truth(tmp_path, "s")
    with pytest.raises(EcholibError, match=path.name):
        read(path)
    assert not (tmp_path / "executed").exists()


def test_a_parameter_cannot_leave_through_a_link(tmp_path):
    (tmp_path / "out").mkdir()
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "link").symlink_to(tmp_path / "out")
    cell = new_code_cell('folder: str = "here"', metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), checkout / "page.ipynb")
    for value in ("link/x", "link"):
        with pytest.raises(NotebookError, match="page.ipynb.*through a link"):
            execute(checkout / "page.ipynb", checkout / "done.ipynb", {"folder": value}, cwd=checkout)
    assert not list((tmp_path / "out").iterdir())


def test_a_notebook_cannot_be_written_through_a_link(tmp_path):
    (tmp_path / "out").mkdir()
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "link").symlink_to(tmp_path / "out")
    nbformat.write(new_notebook(cells=[new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})]), checkout / "page.ipynb")
    with pytest.raises(NotebookError, match="outside the working folder"):
        execute(checkout / "page.ipynb", checkout / "link" / "page.ipynb", {}, cwd=checkout)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["../elsewhere.md", "/tmp/elsewhere.md", "a/../../elsewhere.md"])
@pytest.mark.parametrize("what", ["generated", "files", "toc"])
def test_names_in_the_book_cannot_leave_its_folder(tmp_path, what, name):
    root = tmp_path / "root"
    root.mkdir()
    toc = {"root": name if what == "toc" else "book/intro"}
    (root / "a").touch()
    with pytest.raises(book.BookError, match="leads out of the book's folder"):
        book.assemble(root, tmp_path / "staging", toc, [], {name: "text"} if what == "generated" else {},
                      {name: root / "a"} if what == "files" else {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root"]
