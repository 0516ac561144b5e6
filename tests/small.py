"""A small checkout for tests of the plan and of the book: two pages, a cohort of five videos, trainings that take no time."""

from __future__ import annotations

import shutil
from pathlib import Path

from nbformat import write as write_notebook
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from echolib import models
from echolib.batch import cost
from echolib.ledger import runs
from echolib.pages.catalogue import Catalogue, Paper
from echolib.pages.experiment import Experiment
from echolib.papers import book
from echolib.papers.simlvseg.runs import segment_run
from echolib.training.engine import Outcome
from echolib.training.recipe import skeleton

ROOT = Path(__file__).parents[1]
#: The paper of the copied package's book: two pages.
PAPER = '''
"""Two pages."""

from echolib.pages.catalogue import Paper
from echolib.pages.experiment import Experiment
from echolib.training.recipes.reconstruct import Reconstruct
from echolib.training.recipes.segment import Segment
from echolib.config import ClipSpec, ModelSpec, RunSpec, TrainSpec

PAPER = Paper("tiny", "A tiny paper", 1)
'''
PAGE = '''
"""Page {name}."""

from echolib.config import ClipSpec, ModelSpec, RunSpec, TrainSpec
from echolib.pages.experiment import Experiment
from echolib.training.recipes.reconstruct import Reconstruct
from echolib.training.recipes.segment import Segment


def _groups(profile, seed, options):
    common = dict(data=profile.echonet, model=ModelSpec(name="{model}", width=profile.width), seed=seed,
                  clip=ClipSpec(frames={frames}))
    first = RunSpec(recipe=Reconstruct(), train=TrainSpec(epochs=1, batch=2), **common)
    return {{"{model}": RunSpec(recipe=Segment(), train=TrainSpec(epochs=1, batch=2),
                                parents={{"init": first}} if {pretrained} else {{}}, **common)}}


PAGES = (Experiment(id="{name}", number="Table 0", title="t", notebook="{name}", place={place}, groups=_groups),)
'''
PROFILE = """name: tiny
purpose: a test
quotable: false
seeds: [0]
echonet: {layout: echonet, size: 32, channels: 1, phantom: {train: 3, val: 1, test: 1, frames: [32, 34]}}
width: 0.125
clip_3d: {frames: 16, period: 1}
pretrain: {epochs: 1, batch: 2}
segment: {epochs: 2, batch: 4, lr: 0.001}
framewise: {epochs: 1, batch: 2}
bootstrap: 200
"""


def entry(name: str, published: str = "simlvseg_table1", more=None, **pretrained: bool) -> Experiment:
    """A page of some networks, each pre-trained or not."""
    def groups(profile, seed, options):
        return {model: segment_run(profile, model, seed=seed, pretrained=yes) for model, yes in pretrained.items()}

    return Experiment(id=name, number="Table 0", title="t", published=published, notebook=name, groups=groups,
                      place={"one": 1, "two": 2}[name], **({} if more is None else {"more": more}))


def catalogue(*entries: Experiment) -> Catalogue:
    """A book of these pages."""
    return Catalogue({Paper("tiny", "A tiny paper", 1): entries})


def write_checkout(root: Path) -> Path:
    """A checkout with the profile ``tiny`` and the notebooks ``one`` and ``two``."""
    for folder in ("profiles", "notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "profiles" / "tiny.yml").write_text(PROFILE)
    for name in ("one", "two"):
        write_page(root, name)
    return root


def write_page(root: Path, name: str, *parameters: str) -> None:
    """A notebook that prints its name and profile; ``parameters`` are further lines of its parameters cell."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    lines = "\n".join(('profile: str = "tiny"', *parameters))
    cells = [new_markdown_cell(f"# Page {name}"), new_code_cell(lines, metadata={"tags": ["parameters"]}),
             new_code_cell(f'print("{name} of", profile)')]
    write_notebook(new_notebook(metadata={"kernelspec": kernel}, cells=cells), root / "notebooks" / f"{name}.ipynb")


def write_book(root: Path) -> Path:
    """A checkout that runs by itself: :func:`write_checkout` with the package, whose book has those two pages and no others."""
    write_checkout(root)
    shutil.copytree(ROOT / "echolib", root / "echolib", ignore=shutil.ignore_patterns("__pycache__"))
    papers = root / "echolib" / "papers"
    for path in papers.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("__init__.py", "book.py"):
            path.unlink()
    (papers / "tiny").mkdir()
    (papers / "tiny" / "__init__.py").write_text(PAPER)
    for place, (name, model, frames, pretrained) in enumerate((("one", "unet3d", 16, True), ("two", "nnunet2d", 1, False))):
        text = PAGE.format(name=name, model=model, frames=frames, pretrained=pretrained, place=place)
        (papers / "tiny" / f"{name}.py").write_text(text)
    path = papers / "book.py"
    path.write_text(path.read_text() + '\n\nBOOK = Catalogue(BOOK.pages, closing=("", ()))\n')
    with open(root / "echolib" / "batch" / "make.py", "a", encoding="utf-8") as stream:
        stream.write('\n\n_generated = lambda making, ledger: ({}, {})\nspeed.speed_pages = lambda root: {"speed.md": "none"}\n')
    shutil.copytree(ROOT / "profiles" / "slurm", root / "profiles" / "slurm")
    for name in ("Snakefile", "_config.yml"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
    (root / "book" / "offline" / "widgets").mkdir(parents=True)
    (root / "book" / "offline" / "widgets" / "config.js").touch()
    (root / "book" / "index.md").write_text("# Home\n\n{cite}`a1999`\n\n```{bibliography}\n```\n")
    (root / "book" / "references.bib").write_text("@misc{a1999, author = {A, B}, title = {T}, year = {1999}}\n")
    return root


def two_pages(monkeypatch) -> None:
    """The book has two pages: ``one`` needs a pre-trained 3D U-Net, ``two`` a frame-wise network. Training takes no time."""
    monkeypatch.setattr(book, "BOOK", catalogue(entry("one", unet3d=True), entry("two", nnunet2d=False)))

    def fit(recipe, folder, **_):
        models.save_weights(skeleton(recipe.spec), folder / "weights.safetensors", {"spec": recipe.spec.key})
        return Outcome(best_epoch=1, best_score=0.5, steps=cost.steps(recipe.spec), seconds=10.0,
                       weights=Path("weights.safetensors"))

    monkeypatch.setattr(runs, "fit", fit)
