"""Making the book: what stops one page stops no other, each is named, and what lies there unfinished is never shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from echolib import cli
from echolib.batch import make
from echolib.batch.make import IncompleteBook, make_book, make_notebook, make_pages
from echolib.errors import TrainingError
from echolib.ledger import runs
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import Catalogue
from echolib.pages.notebooks import manifest_path
from echolib.papers import book
from tests.small import catalogue, entry, two_pages, write_checkout

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A checkout with a cohort and the prose of a tiny book."""
    root = write_checkout(tmp_path_factory.mktemp("make") / "checkout")
    Workspace.open("tiny", root).store("echonet", workers=1, progress=False)
    (root / "book" / "offline").mkdir(parents=True)
    (root / "book" / "index.md").write_text("# Home\n")
    shutil.copy(ROOT / "_config.yml", root / "_config.yml")
    return root


@pytest.fixture
def root(simulated, tmp_path, monkeypatch) -> Path:
    """A copy of it; Sphinx, the scorecard and the page on speed are left out."""
    root = tmp_path / "checkout"
    shutil.copytree(simulated, root)
    two_pages(monkeypatch)
    monkeypatch.setattr(make, "_generated", lambda making, ledger: ({}, {}))
    monkeypatch.setattr(make.speed, "speed_pages", lambda root: {"speed.md": "none"})
    monkeypatch.setattr(make, "build", lambda staging, out: shutil.copytree(staging, out, dirs_exist_ok=True) / "index.html")
    monkeypatch.chdir(root)
    return root


def shown(root: Path, name: str) -> str:
    return (root / "build" / "tiny" / "html" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")


def fails(monkeypatch, model: str) -> list[str]:
    """Let the training of a network fail; the list takes the label of every try."""
    tried, fit = [], runs.fit

    def maybe(recipe, *args, **options):
        spec = recipe.spec
        tried.extend([spec.label] if spec.recipe.kind == "segment" else [])
        if spec.model.name == model:
            raise TrainingError(f"{spec.label}: epoch 1, step 2: the loss is nan")
        return fit(recipe, *args, **options)

    monkeypatch.setattr(runs, "fit", maybe)
    return tried


def test_both_pages_are_made_and_not_made_again(root, capsys):
    home = make_book("tiny")
    assert home == Path("build/tiny/html/index.html")
    assert "one of tiny" in shown(root, "one") and "two of tiny" in shown(root, "two")
    before = {p: p.read_bytes() for p in (root / "build" / "tiny" / "notebooks").glob("*.json")}
    capsys.readouterr()
    make_book("tiny")
    said = capsys.readouterr().out
    assert "run " not in said and "notebook one" not in said and len(before) == 2
    assert before == {p: p.read_bytes() for p in before}


def test_a_failed_run_stops_its_page_and_no_other(root, monkeypatch, capsys):
    tried = fails(monkeypatch, "nnunet2d")
    with pytest.raises(IncompleteBook, match="1 page of the book was not made:\n  page two: nnunet2d .* loss is nan") as error:
        make_book("tiny")
    assert list(error.value.pages) == ["two"] and "give the same command again" in str(error.value)
    assert "one of tiny" in shown(root, "one")
    note = shown(root, "two")
    assert "# Page two" in note and "This page could not be made" in note and "two of tiny" not in note
    assert "page two stops" in capsys.readouterr().out and tried.count("nnunet2d 1x1 seed0") == 1


def test_a_run_that_failed_for_one_page_is_not_tried_again_for_the_next(root, monkeypatch):
    monkeypatch.setattr(book, "BOOK", catalogue(entry("one", nnunet2d=False), entry("two", nnunet2d=False)))
    tried = fails(monkeypatch, "nnunet2d")
    with pytest.raises(IncompleteBook, match="2 pages"):
        make_book("tiny")
    assert tried == ["nnunet2d 1x1 seed0"]


def test_a_missing_published_table_stops_its_page_before_anything_is_run_for_it(root, monkeypatch):
    monkeypatch.setattr(book, "BOOK", catalogue(entry("one", unet3d=True), entry("two", "simlvseg_table99", nnunet2d=False)))
    tried = fails(monkeypatch, "none")
    with pytest.raises(IncompleteBook, match="page two: two: echolib/published/simlvseg_table99.csv is missing"):
        make_book("tiny")
    assert tried == ["unet3d 16x1 ssl0.6 seed0"] and "one of tiny" in shown(root, "one")


def test_a_bad_parameter_stops_its_page(root, monkeypatch):
    good = Catalogue.parameters
    monkeypatch.setattr(Catalogue, "parameters",
                        lambda self, name, profile: good(self, name, profile) | ({"speed": 2} if name == "two" else {}))
    with pytest.raises(IncompleteBook, match="page two: two.ipynb has no parameter 'speed'; its parameters: profile: str"):
        make_book("tiny")
    assert "one of tiny" in shown(root, "one")


def test_a_record_of_another_specification_stops_its_page(root):
    make_book("tiny")
    spec = book.BOOK.needs("two", Workspace.open("tiny", root).profile).runs[0]
    path = root / "build" / "tiny" / "runs" / spec.key / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "f" * 16}))
    with pytest.raises(IncompleteBook, match=f"page two: {spec.key}/record.json: says key ffff.*delete the record and run again"):
        make_book("tiny")
    assert "This page could not be made" in shown(root, "two") and "one of tiny" in shown(root, "one")


def test_a_cell_that_fails_stops_its_page(root):
    path = root / "notebooks" / "two.ipynb"
    path.write_text(path.read_text().replace("print(", "1 / 0; print("))
    with pytest.raises(IncompleteBook, match="page two: two.ipynb: cell 3: ZeroDivisionError"):
        make_book("tiny")
    assert "one of tiny" in shown(root, "one")


def test_pages_alone_compute_nothing_and_leave_out_what_is_stale(root, monkeypatch):
    with pytest.raises(IncompleteBook, match="page one: run .*not run yet; make it with `echolib run"):
        make_pages("tiny")
    make_book("tiny")
    make_pages("tiny")
    path = root / "notebooks" / "two.ipynb"
    path.write_text(path.read_text().replace("two of", "two again of"))
    with pytest.raises(IncompleteBook, match="page two: the notebook has changed; execute it with `echolib notebook two"):
        make_pages("tiny")
    assert "This page could not be made" in shown(root, "two") and "one of tiny" in shown(root, "one")
    make_notebook("tiny", "two")
    make_pages("tiny")
    assert "two again of tiny" in shown(root, "two")


def test_an_execution_cut_short_is_not_shown(root):
    make_book("tiny")
    manifest_path(root / "build" / "tiny" / "notebooks" / "two.ipynb").unlink()
    with pytest.raises(IncompleteBook, match="page two: two.ipynb has no manifest: its run did not finish"):
        make_pages("tiny")


def test_the_exit_status_says_that_pages_are_missing(root, monkeypatch, capsys):
    fails(monkeypatch, "nnunet2d")
    monkeypatch.setattr("sys.argv", ["echolib", "book", "--profile", "tiny"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2 and "page two:" in capsys.readouterr().err
