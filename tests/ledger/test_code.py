"""What makes a result stale: the code that it depends on, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

import echolib.training.recipes  # noqa: F401
from echolib.config import load_profile
from echolib.ledger import code
from echolib.papers.simlvseg.runs import segment_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spec():
    return segment_run(load_profile(ROOT / "profiles" / "smoke.yml"), "unet3d", seed=0)


def names(modules: tuple[str, ...]) -> set[str]:
    return {file.relative_to(code.ROOT).as_posix() for file in code.closure(modules)}


def test_a_run_depends_on_its_recipe_its_network_the_loop_and_the_scores(spec):
    found = names(("echolib.training.engine", "echolib.evaluation.scores", "echolib.models.unet3d",
                   "echolib.training.recipes.segment"))
    assert {"config/specs.py", "data/augment.py", "data/clips.py", "losses/simlvseg.py", "models/unet3d.py",
            "training/batches.py", "training/engine.py", "training/recipes/segment.py", "evaluation/bootstrap.py",
            "evaluation/inference.py"} <= found
    others = {"config/profile.py", "config/protocols.py", "training/recipes/reconstruct.py", "models/uniformer.py",
              "models/registry.py", "evaluation/half_cycles.py", "plots.py", "cli.py"}
    assert not others & found
    assert not any(name.split("/")[0] in ("ledger", "pages", "papers", "batch", "clinic", "phantom") for name in found)


def test_another_recipe_another_network_another_code(spec):
    framewise = segment_run(load_profile(ROOT / "profiles" / "smoke.yml"), "nnunet2d", seed=0)
    pretrained = segment_run(load_profile(ROOT / "profiles" / "smoke.yml"), "unet3d", seed=0, pretrained=True)
    assert len({code.run_code(one) for one in (spec, framewise, pretrained.parents["init"])}) == 3
    assert code.run_code(spec) == code.run_code(pretrained)


def test_comments_and_docstrings_do_not_count_and_statements_do():
    one = '"""Doc."""\n\ndef f(x):\n    """Say."""\n    return x + 1  # why\n'
    assert code._meaning(one) == code._meaning("def f(x):\n    return x + 1\n")
    assert code._meaning(one) != code._meaning("def f(x):\n    return x + 2\n")
    assert code.code_fingerprint(("config",)) != code.code_fingerprint(("losses",))


def test_the_same_name_with_another_content_is_another_code(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("import echolib.b\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "c.py").write_text("y = 1\n")
    assert code.closure(("echolib.a",)) == [tmp_path / "a.py", tmp_path / "b.py"]
    before = code.modules_code(("echolib.a",))
    (tmp_path / "c.py").write_text("y = 2\n")
    assert code.modules_code(("echolib.a",)) == before
    (tmp_path / "b.py").write_text("x = 22\n")
    assert code.modules_code(("echolib.a",)) != before
