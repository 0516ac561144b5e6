"""Table 1's page: what each network was trained with, counted by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from echolib.config import load_profile
from echolib.config.specs import chain
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.simlvseg.table1_drawing import seen_html

DESK = load_profile(Path(__file__).parents[3] / "profiles" / "desk.yml")


def test_what_a_network_has_seen_is_counted_over_both_stages():
    steps = {"reconstruct": 720, "segment": 400}
    ledger = SimpleNamespace(require=lambda specs: [
        SimpleNamespace(spec=s, steps=steps[s.recipe.kind], train_seconds=100.0 + 50 * s.seed) for s in specs])
    runs = {"3D": [segment_run(DESK, "unet3d", seed=seed, pretrained=True) for seed in (0, 1)],
            "frames": [segment_run(DESK, "nnunet2d", seed=0)]}
    assert len(chain(runs["3D"][0])) == 2
    text = seen_html(ledger, runs).data
    # 720 steps of 4 clips; 400 steps of 4 traced frames in clips of 32; twice (100 + 150) / 2 s
    assert '<th scope="row">3D</th><td>2,880</td><td>1,600</td><td>51,200</td><td>250</td>' in text
    assert '<th scope="row">frames</th><td>0</td><td>6,400</td><td>6,400</td><td>100</td>' in text
