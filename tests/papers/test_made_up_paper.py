"""A made-up paper with one table and one figure, added to a copy of the package as the book tells it: three files a page.

Its pages come into the table of contents, its cells onto the scorecard, its runs and notebooks into the plan; nothing else in
the package names it. And what is declared wrongly is one error that names where and what.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from echolib.errors import ConfigError, EcholibError
from echolib.pages.catalogue import Catalogue, Paper
from echolib.pages.experiment import Experiment
from echolib.papers.book import discover
from tests.small import write_checkout, write_page

ROOT = Path(__file__).parents[2]
PAPER = '''"""A made-up paper."""

from echolib.pages.catalogue import Paper

PAPER = Paper("madeup", "A made-up paper", place=5, lead="madeup_table1")
'''
PAGE = '''"""{number} of the made-up paper."""

from echolib import published
from echolib.pages.experiment import Claim, Experiment, Printed, SeedOptions
from echolib.papers.simlvseg.runs import segment_run

NETWORKS = {{"Ours": "unet3d", "Theirs": "nnunet2d"}}


def groups(profile, seed, options):
    """A run of each network."""
    return {{name: segment_run(profile, model, seed=seed) for name, model in NETWORKS.items()}}


def cells(profile, options):
    """Every printed cell, answered by the run of its row."""
    return [Printed(row.method, "dsc_overall", row.dsc_overall, group=row.method if row.method in NETWORKS else "",
                    other=row.method not in NETWORKS) for row in published.load("{id}").itertuples()]


PAGES = (Experiment(id="{id}", number="{number}", title="Dice", notebook="{id}", place={place}, published="{id}", groups=groups,
                    cells=cells, options=SeedOptions(), claims=(Claim("Ours scores above theirs", "Ours", "Theirs"),)),)
'''
#: Run in the copy, where training takes no time; what it prints is what the copy's own book says.
SCRIPT = '''
import json
from pathlib import Path

from echolib import models
from echolib.batch import cost
from echolib.batch.planner import make_plan
from echolib.ledger import runs
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages import overview
from echolib.papers.book import BOOK
from echolib.training.engine import Outcome
from echolib.training.recipe import skeleton


def fit(recipe, folder, **_):
    models.save_weights(skeleton(recipe.spec), folder / "weights.safetensors", {"spec": recipe.spec.key})
    return Outcome(best_epoch=1, best_score=0.5, steps=cost.steps(recipe.spec), seconds=10.0, weights=Path("weights.safetensors"))


runs.fit = fit
workspace = Workspace.open("tiny")
plan = make_plan(workspace, rate=1e9)
ledger = Ledger(workspace, say=lambda text: None, progress=False)
paper = next(p for p in BOOK.papers if p.id == "madeup")
cells, claims = overview.all_cells(BOOK, paper, ledger), overview.all_claims(BOOK, paper, ledger)
print(json.dumps({
    "parts": [(part["caption"], [c["file"] for c in part["chapters"]]) for part in BOOK.toc()["parts"]],
    "steps": [(s.kind, s.name, s.label, sorted(s.pages)) for s in plan.steps if any("madeup" in page for page in s.pages)],
    "problems": {page: why for page, why in plan.problems.items() if "madeup" in page},
    "cells": cells[["experiment", "row", "status"]].values.tolist(), "claims": claims[["experiment", "status"]].values.tolist(),
    "records": sum(len(r) > 0 for r in cells.records),
    "page": overview.overview_html(BOOK, cells, claims).count("madeup_figure1.html")}))
'''


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


@pytest.fixture
def copy(tmp_path) -> Path:
    """A checkout with the package as it is and one small profile."""
    root = write_checkout(tmp_path / "checkout")
    shutil.copytree(ROOT / "echolib", root / "echolib", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return root


def add_page(root: Path, name: str, number: str, place: int) -> None:
    """The three files of a page."""
    (root / "echolib" / "published" / f"{name}.csv").write_text("method,dsc_overall\nOurs,93.1\nTheirs,92.0\nOthers,91.0\n")
    (root / "echolib" / "papers" / "madeup" / f"{name.removeprefix('madeup_')}.py").write_text(
        PAGE.format(id=name, number=number, place=place))
    write_page(root, name, 'seeds: "Optional[list[int]]" = None  # seeds')


def add_paper(root: Path) -> None:
    (root / "echolib" / "papers" / "madeup").mkdir()
    (root / "echolib" / "papers" / "madeup" / "__init__.py").write_text(PAPER)
    add_page(root, "madeup_table1", "Table 1", 1)


def python(root: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True, timeout=240,
                          check=False)


def test_a_made_up_paper_is_read_planned_and_scored(copy):
    add_paper(copy)
    before = files(copy)
    add_page(copy, "madeup_figure1", "Figure 1", 2)
    assert files(copy) - before == {"echolib/published/madeup_figure1.csv", "echolib/papers/madeup/figure1.py",
                                    "notebooks/madeup_figure1.ipynb"}, "a page is three files"
    done = python(copy, "-c", SCRIPT)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    captions = [caption for caption, _ in said["parts"]]
    assert captions.index("SimLVSeg") < captions.index("A made-up paper") < captions.index("Beyond the papers")
    assert dict(map(tuple, said["parts"]))["A made-up paper"] == ["notebooks/madeup_table1", "notebooks/madeup_figure1"]
    assert said["problems"] == {}
    shared = [(label, pages) for kind, _, label, pages in said["steps"] if kind == "run"]
    assert shared and all({"madeup_table1", "madeup_figure1"} <= set(pages) for _, pages in shared), "both pages share them"
    assert {label for label, _ in shared} == {"unet3d 16x1 seed0", "nnunet2d 1x1 seed0"}
    assert [name for kind, name, _, _ in said["steps"] if kind == "notebook"] == ["madeup_table1", "madeup_figure1"]
    for name in ("madeup_table1", "madeup_figure1"):
        assert [(row, status) for entry, row, status in said["cells"] if entry == name] == [
            ("Ours", "awaiting data"), ("Theirs", "awaiting data"), ("Others", "as published")]
        assert [name, "undecided"] in said["claims"]
    assert said["records"] == 4 and said["page"] == 4, "three cells and a claim link to the figure's page"


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda root: (root / "echolib/published/madeup_table1.csv").unlink(),
     "madeup_table1: echolib/published/madeup_table1.csv is missing; transcribe Table 1 there"),
    (lambda root: (root / "notebooks/madeup_table1.ipynb").unlink(), "no notebook madeup_table1.ipynb"),
    (lambda root: shutil.copy(root / "echolib/papers/madeup/table1.py", root / "echolib/papers/madeup/table2.py"),
     "two pages are called 'madeup_table1', in echolib/papers/madeup/table1.py and echolib/papers/madeup/table2.py"),
    (lambda root: shutil.copytree(root / "echolib/papers/madeup", root / "echolib/papers/other"),
     "echolib/papers/other/__init__.py: PAPER is called 'madeup'; expected 'other', its folder's name"),
    (lambda root: (root / "echolib/papers/madeup/table1.py").unlink(),
     "echolib/papers/madeup/__init__.py: paper 'madeup' has no page 'madeup_table1' to lead its scorecard; its pages: none"),
    (lambda root: (root / "echolib/papers/madeup/table1.py").write_text("PAGES = ('table 1',)\n"),
     "echolib/papers/madeup/table1.py: PAGES holds 'table 1'; expected Experiments"),
    (lambda root: (root / "echolib/papers/madeup/table1.py").write_text("import echolib.papers.madeup.tabel1\n"),
     "echolib/papers/madeup/table1.py: cannot be imported: No module named 'echolib.papers.madeup.tabel1'"),
    (lambda root: (root / "echolib/papers/madeup/__init__.py").write_text("PAPER = 'madeup'\n"),
     "echolib/papers/madeup/__init__.py: PAPER is 'madeup'; expected a Paper"),
])
def test_a_bad_declaration_is_one_error_before_anything_is_computed(copy, spoil, words):
    add_paper(copy)
    spoil(copy)
    done = python(copy, "-m", "echolib", "notebook", "madeup_table1", "--profile", "tiny")
    assert done.returncode == 2 and done.stdout == "", done.stderr[-2000:]
    assert done.stderr.startswith("echolib: ") and words in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (copy / "build").exists(), "something was computed"


def page(name: str, notebook: str = "") -> Experiment:
    return Experiment(id=name, number="Table 1", title="t", notebook=notebook or name, place=1)


def test_two_papers_share_no_notebook():
    with pytest.raises(ConfigError, match="b: notebook 'n' belongs to paper 'one' already; expected another one for paper 'two'"):
        Catalogue({Paper("one", "One", 1): (page("a", "n"),), Paper("two", "Two", 2): (page("b", "n"),)})


def test_pages_stand_by_place_and_prose_before_its_page():
    first, second = page("second"), page("first")
    book = Catalogue({Paper("one", "One", 1, after=("book/end",)): (
        Experiment(**{**vars(first), "place": 2, "prose": ("book/before",)}), second)}, closing=("Last", ("book/last",)))
    assert book.notebooks == ("first", "second")
    assert [[c["file"] for c in part["chapters"]] for part in book.toc()["parts"]] == [
        ["notebooks/first", "book/before", "notebooks/second", "book/end"], ["book/last"]]


def test_a_page_that_nobody_declared_is_named():
    with pytest.raises(EcholibError, match="no page of the book has the notebook 'b'; its notebooks: a"):
        Catalogue({Paper("one", "One", 1): (page("a"),)}).of_notebook("b")


def test_a_folder_without_a_paper_is_no_part(tmp_path, monkeypatch):
    (tmp_path / "stray_papers" / "notes").mkdir(parents=True)
    for folder in ("stray_papers", "stray_papers/notes"):
        (tmp_path / folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert discover(tmp_path / "stray_papers", "stray_papers") == {}
