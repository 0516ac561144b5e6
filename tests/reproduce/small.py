"""A small checkout for tests of the plan and of the book: two pages, a cohort of five videos, trainings that take no time."""

from __future__ import annotations

from pathlib import Path

from nbformat import write as write_notebook
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from echolib import models
from echolib.reproduce import contents, cost
from echolib.reproduce import ledger as ledger_module
from echolib.reproduce.experiments import Experiment
from echolib.training.engine import Outcome

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
