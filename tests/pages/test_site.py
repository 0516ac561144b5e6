"""The book: what is gathered, when it is refused, how it is built and put in place, and what its prose refers to."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
from pathlib import Path

import pytest
import yaml

from echolib import config, published
from echolib.errors import NotebookError
from echolib.pages import site as book
from echolib.pages.notebooks import manifest_path
from echolib.papers.book import BOOK
from echolib.papers.simlvseg import generated as pages
from echolib.training.recipes.reconstruct import Reconstruct
from echolib.training.recipes.segment import Segment

ROOT = Path(__file__).parents[2]
TOC = {"format": "jb-book", "root": "book/index", "chapters": [{"file": "notebooks/a"}, {"file": "book/more"}]}


def checkout(folder: Path, **prose: str) -> Path:
    """A tiny checkout: the real configuration, two prose pages, one notebook that was executed."""
    (folder / "book" / "_static").mkdir(parents=True)
    (folder / "book" / "offline" / "widgets").mkdir(parents=True)
    (folder / "book" / "offline" / "widgets" / "config.js").write_text("")
    for name in ("logo.svg", "custom.css", "sortable.js", "accessible.js"):
        shutil.copy(ROOT / "book" / "_static" / name, folder / "book" / "_static" / name)
    (folder / "book" / "references.bib").write_text("@misc{a1999, author = {A, B}, title = {T}, year = {1999}}\n")
    shutil.copy(ROOT / "_config.yml", folder / "_config.yml")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    texts = {"index": "# Home\n\n```{include} ../generated/scorecard.md\n```\n", "more": "# More\n\n$x^2$ {cite}`a1999`\n\n"
             "```{bibliography}\n```\n"}
    for name, text in (texts | prose).items():
        (folder / "book" / f"{name}.md").write_text(text)
    notebook = json.dumps({"cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Notebook"}],
                           "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
                           "nbformat": 4, "nbformat_minor": 5})
    for place in (folder / "notebooks", folder / "build"):
        place.mkdir()
        (place / "a.ipynb").write_text(notebook)
    digest = hashlib.sha256(notebook.encode()).hexdigest()
    manifest_path(folder / "build" / "a.ipynb").write_text(json.dumps(
        {"notebook": "notebooks/a.ipynb", "notebook_sha256": digest, "executed_sha256": digest, "parameters": {}, "inputs": [],
         "code": "0"}))
    return folder


def gather(root: Path, **generated: str) -> Path:
    texts = {"scorecard.md": "The card.\n", **{f"{k}.md": v for k, v in generated.items()}}
    return book.assemble(root, root / "build" / "staging", TOC, [root / "build" / "a.ipynb"], texts)


def test_assemble_gathers_everything_and_nothing_old(tmp_path):
    root = checkout(tmp_path)
    (root / "film.mp4").write_bytes(b"film")
    (root / "build" / "staging").mkdir()
    (root / "build" / "staging" / "old").write_text("old")
    staging = book.assemble(root, root / "build" / "staging", TOC, [root / "build" / "a.ipynb"], {"scorecard.md": "x"},
                            {"media/film.mp4": root / "film.mp4"})
    found = {p.relative_to(staging).as_posix() for p in staging.rglob("*") if p.is_file()}
    assert {"_config.yml", "_toc.yml", "book/index.md", "notebooks/a.ipynb", "generated/scorecard.md",
            "extra/offline/widgets/config.js", "extra/media/film.mp4"} <= found
    assert not found & {"old", "book/offline/widgets/config.js", "notebooks/a.manifest.json"}


def test_assemble_refuses_a_notebook_that_is_not_current(tmp_path):
    root = checkout(tmp_path)
    (root / "notebooks" / "a.ipynb").write_text("{}")
    with pytest.raises(NotebookError, match=r"a\.ipynb: its source notebooks/a\.ipynb has changed"):
        gather(root)
    manifest_path(root / "build" / "a.ipynb").unlink()
    with pytest.raises(NotebookError, match=r"a\.ipynb has no manifest"):
        gather(root)
    assert not (root / "build" / "staging").exists()


def test_assemble_names_a_page_that_is_missing(tmp_path):
    root = checkout(tmp_path)
    (root / "book" / "more.md").unlink()
    with pytest.raises(book.BookError, match="not there: book/more"):
        gather(root)


def test_build_is_whole_or_not_at_all(tmp_path, monkeypatch):
    root = checkout(tmp_path)
    out = root / "build" / "html"
    home = book.build(gather(root), out, progress=False)
    assert home == out / "index.html" and "The card." in (out / "book" / "index.html").read_text()
    assert (out / "offline" / "widgets" / "config.js").is_file() and not (out / ".buildinfo").exists()
    assert sorted(p.name for p in out.parent.iterdir()) == ["a.ipynb", "a.manifest.json", "html", "staging"]

    # nothing changed: nothing is run
    with monkeypatch.context() as patch:
        patch.setattr(book, "_jupyter_book", lambda *_: pytest.fail("built again"))
        assert book.build(gather(root), out) == home

    # a warning is an error that names the page, and the old pages stay
    with pytest.raises(book.BookError) as caught:
        book.build(gather(root, scorecard="See [this](nowhere.md) and {cite}`nobody`.\n"), out, progress=False)
    said = str(caught.value)
    assert "generated/scorecard.md:2" in said and "nowhere.md" in said and "nobody" in said and str(tmp_path) not in said
    assert "The card." in (out / "book" / "index.html").read_text()
    assert sorted(p.name for p in out.parent.iterdir()) == ["a.ipynb", "a.manifest.json", "html", "staging"]


def test_pages_that_load_from_elsewhere_are_named(tmp_path):
    (tmp_path / "a.html").write_text('<script async src="https://cdn.example.org/x.js"></script><a href="https://example.org">x</a>'
                                     '<img alt="x" src="//example.org/y.png"><img src="y.png"><link rel=x href=http://e.org/z>')
    assert book.check_offline(tmp_path) == ["a.html: loads https://cdn.example.org/x.js", "a.html: loads //example.org/y.png",
                                            "a.html: loads http://e.org/z"]


def test_paths_and_hosts_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-box7")
    (tmp_path / "ok.html").write_text("see the /home page of path/home/x, gpu-box77, :root { } and /data/EchoNet")
    (tmp_path / "host.html").write_text("ran on gpu-box7.")
    (tmp_path / "folder.ipynb").write_text('"/srv/checkout/echolib"')
    (tmp_path / "home.md").write_text("/home/someone/x")
    (tmp_path / "kernel.html").write_text("/tmp/ipykernel_12/3.py:1: Warning")
    found = book.check_private(tmp_path, {"/srv/checkout"})
    assert sorted(f.split(":")[0] for f in found) == ["folder.ipynb", "home.md", "host.html", "kernel.html"]


@pytest.mark.parametrize("exchange", [True, False])
def test_swap_replaces_the_whole_folder(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(book, "_exchange", lambda a, b: False)
    new, old = tmp_path / "new", tmp_path / "html"
    for folder, name in ((new, "n"), (old, "o")):
        folder.mkdir()
        (folder / name).touch()
    book._swap(new, old)
    assert [p.name for p in old.iterdir()] == ["n"]


def test_an_interrupted_swap_is_mended(tmp_path):
    (tmp_path / ".html.old").mkdir()
    book._recover(tmp_path / "html")
    assert (tmp_path / "html").is_dir() and not (tmp_path / ".html.old").exists()


def test_toc_and_pages_agree():
    for page in book.toc_pages(BOOK.toc()):
        assert (ROOT / f"{page}.md").is_file() or page.startswith("notebooks/")
    assert {p.stem for p in (ROOT / "book").glob("*.md")} == {
        Path(p).name for p in book.toc_pages(BOOK.toc()) if p.startswith("book/")}


def test_vendored_scripts_are_unchanged():
    folder = ROOT / "book" / "offline"
    listed = dict(reversed(line.split(maxsplit=1)) for line in (folder / "CHECKSUMS").read_text().splitlines())
    there = {f"./{p.relative_to(folder).as_posix()}": hashlib.sha256(p.read_bytes()).hexdigest()
             for p in folder.rglob("*") if p.is_file() and p.name not in ("CHECKSUMS", "README.md")}
    assert there == listed


def test_the_audit_names_options_that_exist():
    text = (ROOT / "book" / "audit.md").read_text()
    named = re.findall(r"<code>(Switches|Profile|Reconstruct|Segment|RunSpec)\.(\w+)</code>", text)
    assert len(named) >= 10
    for kind, name in named:
        options = {"Reconstruct": Reconstruct, "Segment": Segment}.get(kind) or getattr(config, kind)
        assert name in options.model_fields, f"{kind}.{name}"
    assert re.findall(r'<tr><th scope="row">(\d+)</th>', text) == [str(n) for n in range(1, 13)]


def test_the_switch_table_shows_every_option():
    text = pages.switch_table()
    assert set(pages.SWITCHES) == set(config.Switches.model_fields)
    assert "patients_95" in text and "frames_90" in text and "weight_decay=0.001" in text and "milestones=(45, 60)" in text


def test_the_published_table_is_the_published_csv():
    text = pages.published_table1()
    for entry in published.load("simlvseg_table1").to_dict("records"):
        assert entry["method"] in text
    assert "93.32 <small>(93.21–93.43)</small>" in text and text.count("<tr>") == 8


def test_the_profile_table_has_every_profile():
    text = pages.profile_table(ROOT / "profiles")
    assert [m for m in re.findall(r'<th scope="row"><code>(\w+)</code>', text)][-1] == "paper"
    assert set(re.findall(r'<th scope="row"><code>(\w+)</code>', text)) == {p.stem for p in (ROOT / "profiles").glob("*.yml")}


def test_every_citation_has_a_reference_and_every_reference_is_cited():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    sources = [p.read_text() for pattern in ("book/*.md", "notebooks/*.ipynb") for p in ROOT.glob(pattern)]
    cited = {k.strip() for text in sources for group in re.findall(r"\{cite\}`([^`]+)`", text) for k in group.split(",")}
    assert cited <= keys and keys <= cited
    assert set(published.load("simlvseg_table1").citation) <= keys


def test_the_configuration_is_offline():
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    sphinx = settings["sphinx"]["config"]
    assert settings["execute"]["execute_notebooks"] == "off" and settings["only_build_toc_files"]
    assert "sphinx_thebe" not in sphinx["extensions"] and "linkify" not in settings["parse"]["myst_enable_extensions"]
    assert all(name.startswith("../offline/") for name in [sphinx["mathjax_path"], *sphinx["nb_ipywidgets_js"]])
