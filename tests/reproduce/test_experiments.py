"""The registry: every entry has its CSV, its notebook and runnable specifications; the published numbers are untouched."""

from __future__ import annotations

from pathlib import Path

import pytest

from echolib import published
from echolib.config import load_profile
from echolib.errors import ConfigError
from echolib.reproduce.experiments import REGISTRY
from echolib.reproduce.provenance import _meaning, code_fingerprint

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=lambda e: e.id)
def test_an_entry_is_complete(entry):
    table = published.load(entry.published)
    assert {row.published for row in entry.rows} <= set(table.method)
    assert (ROOT / "notebooks" / f"{entry.notebook}.ipynb").is_file()
    profile = load_profile(ROOT / "profiles" / "smoke.yml")
    runs = entry.runs(profile)
    assert {side for claim in entry.claims for side in (claim.better, claim.worse)} <= set(runs)
    keys = [spec.key for specs in runs.values() for spec in specs]
    assert len(keys) == len(set(keys)) == len(runs) * len(profile.seeds)


def test_published_values_that_the_text_also_states():
    table = published.load("simlvseg_table1").set_index("method")
    assert table.dsc_overall["SimLVSeg-3D"] == 93.32 and table.dsc_overall_lo["SimLVSeg-3D"] == 93.21
    assert table.gflops_per_frame["SimLVSeg-3D"] == 1.13 and table.params_m["SimLVSeg-3D"] == 18.83
    assert len(table) == 7


def test_an_unknown_published_table_is_named():
    with pytest.raises(ConfigError, match="simlvseg_table9"):
        published.load("simlvseg_table9")


def test_the_code_fingerprint_ignores_comments_and_docstrings_only():
    one = '"""Doc."""\n\ndef f(x):\n    """Say."""\n    return x + 1  # why\n'
    assert _meaning(one) == _meaning("def f(x):\n    return x + 1\n")
    assert _meaning(one) != _meaning("def f(x):\n    return x + 2\n")
    assert code_fingerprint(("config.py",)) != code_fingerprint(("losses.py",))
