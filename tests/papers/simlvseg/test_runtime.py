"""Time per frame: kept measurements, what may be said of the published ones, and the order on one machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from echolib import published
from echolib.evaluation.complexity import RunTime
from echolib.ledger.workspace import find_root
from echolib.pages import timing as shared
from echolib.pages.notebooks import parameters_of
from echolib.pages.scorecard import Cell
from echolib.pages.timing import Timing
from echolib.papers.simlvseg import runtime


def timing(name: str, mean: float, runs: int = 5) -> Timing:
    return Timing(name, 32, 112, mean, 0.1, runs, "a processor", 0.0, "2026-01-01 00:00 UTC", "abc")


def times(**modes: tuple[float, ...]) -> runtime.Times:
    return {(method, mode.replace("_", " ")): timing(method, value) for mode, values in modes.items()
            for method, value in zip(runtime.NETWORKS, values, strict=True)}


def test_all_are_timed_side_by_side_and_not_again(tmp_path, monkeypatch):
    asked: list[dict] = []

    def in_turn(models, *, runs, device):
        asked.append({name: shape for name, (_, shape) in models.items()})
        return {name: RunTime(1.0, 0.1, runs, shape[0], "a processor") for name, (_, shape) in models.items()}

    monkeypatch.setattr(shared, "times_in_turn", in_turn)
    monkeypatch.setattr(shared.models, "build", lambda name, **_: name)
    workspace = SimpleNamespace(build=tmp_path / "build" / "smoke", root=find_root())
    (tmp_path / "build").mkdir()
    first = runtime.measure(workspace, runs=3, frames_at_once=32)
    assert asked == [{"nnU-Net, one clip": (1, 1, 112), "nnU-Net, 32 frames at once": (32, 1, 112),
                      "SimLVSeg-SI, one clip": (1, 16, 112), "SimLVSeg-SI, 32 frames at once": (2, 16, 112),
                      "SimLVSeg-3D, one clip": (1, 32, 112), "SimLVSeg-3D, 32 frames at once": (1, 32, 112)}]
    assert first["SimLVSeg-SI", "32 frames at once"].batch == 2
    assert runtime.measure(workspace, runs=3, frames_at_once=32) == first and len(asked) == 1
    runtime.measure(workspace, runs=4, frames_at_once=32)
    assert len(asked) == 2
    monkeypatch.setattr(shared, "hardware", lambda device: "another processor")
    runtime.measure(workspace, runs=4, frames_at_once=32)
    assert len(asked) == 3


def test_every_published_cell_has_a_status_and_both_devices_are_named():
    table = runtime.cells(times(one_clip=(1, 1, 1)))
    assert list(table.columns) == list(Cell.__dataclass_fields__)
    assert list(table.row) == list(published.load(runtime.TABLE).method) and (table.status == "undecided").all()
    assert table.why.str.contains("RTX 6000").all() and table.why.str.contains("a processor").all()
    assert (table.low < 1).all() and (table.high > 1).all()


@pytest.mark.parametrize(("faster", "slower", "runs", "status"), [
    (1.0, 2.0, 5, "holds"), (2.0, 1.0, 5, "does not hold"), (1.0, 1.01, 5, "undecided"), (1.0, 2.0, 2, "undecided")])
def test_an_order_needs_runs_and_a_difference(faster, slower, runs, status):
    assert runtime.faster_verdict(timing("a", faster, runs), timing("b", slower, runs)).status == status


def test_published_and_measured_times_stand_in_panels_of_their_own():
    timings = times(one_clip=(3, 1, 2), at_once=(3, 1, 2))
    figure = runtime.runtime_figure(timings)
    assert [a.get_title(loc="left").split("\n")[0] for a in figure.axes] == ["published,", "here,", "here,"]
    assert len(runtime.claims(timings)) == 4 and set(runtime.claims(timings).status) == {"holds"}
    text = runtime.table_html(timings)
    assert all(f"{v:.2f}" in text for v in published.load(runtime.TABLE).ms_per_frame) and "not to be subtracted" in text


def test_a_checkout_without_kept_benchmarks_says_so(tmp_path):
    assert "make bench" in runtime.committed_html(tmp_path)


def test_the_notebook_measures_what_the_scorecard_asks_for():
    found = parameters_of(find_root() / "notebooks" / "simlvseg_runtime.ipynb")
    assert [found[n].default for n in ("runs", "gpu_runs", "frames_at_once")] == [
        runtime.RUNS, runtime.GPU_RUNS, runtime.FRAMES_AT_ONCE]
