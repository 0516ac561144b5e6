"""A small checkout for tests of the plan and of the book: two pages, a cohort of five videos, trainings that take no time."""

from __future__ import annotations

import shutil
from pathlib import Path

from nbformat import write as write_notebook
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from echolib import models
from echolib.batch import contents, cost
from echolib.ledger import ledger as ledger_module
from echolib.pages.entries import Experiment
from echolib.training.engine import Outcome

ROOT = Path(__file__).parents[2]
#: Appended to modules of the copied package: a book of two pages, and neither scorecard nor speed page.
SMALL = {
    "contents": '''
from echolib.papers.simlvseg.experiments import Experiment


def _entry(name, **models):
    return Experiment(id=name, paper="simlvseg", number="Table 0", title="t", published="simlvseg_table1", notebook=name,
                      groups=lambda profile, seed: {model: profile.segment_run(model, seed=seed, pretrained=pretrained)
                                                    for model, pretrained in models.items()}, cells=lambda profile: [])


NOTEBOOKS, BESIDES = ("one", "two"), {}
REGISTRY = {"one": _entry("one", unet3d=True), "two": _entry("two", nnunet2d=False)}
''',
    "make": '''
_generated = lambda making, ledger: ({}, {})
speed.speed_pages = lambda root: {"speed.md": "none"}
'''}
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


def entry(name: str, published: str = "simlvseg_table1", **runs) -> Experiment:
    return Experiment(id=name, paper="simlvseg", number="Table 0", title="t", published=published, notebook=name,
                      groups=lambda profile, seed: {model: profile.segment_run(model, seed=seed, pretrained=pretrained)
                                                    for model, pretrained in runs.items()}, cells=lambda profile: [])


def write_checkout(root: Path) -> Path:
    """A checkout with the profile ``tiny`` and the notebooks ``one`` and ``two``."""
    (root / "profiles").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "profiles" / "tiny.yml").write_text(PROFILE)
    (root / "notebooks").mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name in ("one", "two"):
        cells = [new_markdown_cell(f"# Page {name}"), new_code_cell('profile: str = "tiny"', metadata={"tags": ["parameters"]}),
                 new_code_cell(f'print("{name} of", profile)')]
        write_notebook(new_notebook(metadata={"kernelspec": kernel}, cells=cells), root / "notebooks" / f"{name}.ipynb")
    return root


def write_book(root: Path) -> Path:
    """A checkout that runs by itself: :func:`write_checkout` with the package as it is and a book of those two pages."""
    write_checkout(root)
    shutil.copytree(ROOT / "echolib", root / "echolib", ignore=shutil.ignore_patterns("__pycache__"))
    for module, text in SMALL.items():
        with open(root / "echolib" / "batch" / f"{module}.py", "a", encoding="utf-8") as stream:
            stream.write(text)
    shutil.copytree(ROOT / "profiles" / "slurm", root / "profiles" / "slurm")
    for name in ("Snakefile", "_config.yml"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
    (root / "book" / "offline" / "widgets").mkdir(parents=True)
    (root / "book" / "offline" / "widgets" / "config.js").touch()
    (root / "book" / "index.md").write_text("# Home\n\n{cite}`a1999`\n\n```{bibliography}\n```\n")
    (root / "book" / "references.bib").write_text("@misc{a1999, author = {A, B}, title = {T}, year = {1999}}\n")
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters: [file: notebooks/one, file: notebooks/two]\n")
    return root


def two_pages(monkeypatch) -> None:
    """The book has two pages: ``one`` needs a pre-trained 3D U-Net, ``two`` a frame-wise network. Training takes no time."""
    monkeypatch.setattr(contents, "NOTEBOOKS", ("one", "two"))
    monkeypatch.setattr(contents, "BESIDES", {})
    monkeypatch.setattr(contents, "REGISTRY", {"one": entry("one", unet3d=True), "two": entry("two", nnunet2d=False)})

    def train(spec, store, folder, **_):
        net = models.build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, size=spec.data.size,
                           out_channels=3 if spec.task == "reconstruct" else 1, seed=0)
        models.save_weights(net, folder / "weights.safetensors", {})
        return Outcome(best_epoch=1, best_score=0.5, steps=cost.steps(spec), seconds=10.0, weights=Path("weights.safetensors"))

    monkeypatch.setattr(ledger_module, "train_segment", train)
    monkeypatch.setattr(ledger_module, "train_reconstruct", train)


def untrained_runs(monkeypatch) -> None:
    """Every run counts as finished, with the weights that its network begins with: for tests of what comes after a run."""
    def require(self, specs):
        for spec in specs:
            folder = self.workspace.run_dir(spec)
            if not (folder / "weights.safetensors").is_file():
                folder.mkdir(parents=True)
                net = models.build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, seed=0)
                models.save_weights(net, folder / "weights.safetensors", {})

    monkeypatch.setattr(ledger_module.Ledger, "require", require)
