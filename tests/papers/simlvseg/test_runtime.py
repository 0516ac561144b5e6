"""Time per frame: kept measurements, what may be said of the published ones, and the order on one machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from echolib import published
from echolib.evaluation.complexity import RunTime
from echolib.ledger.workspace import find_root
from echolib.pages.notebooks import parameters_of
from echolib.pages.scorecard import Cell
from echolib.papers.simlvseg import runtime


def timing(method: str, mean: float, runs: int = 5, mode: str = "one clip") -> runtime.Timing:
    return runtime.Timing(method, mode, 32, 1, mean, 0.1, runs, "a processor", 0.0, "2026-01-01 00:00 UTC", "abc")


@pytest.fixture
def clock(monkeypatch):
    """Networks timed, in order; no time is spent."""
    log: list[tuple[str, int]] = []

    def time_per_frame(model, frames, size, *, runs, batch, device):
        log.append((model, batch))
        return RunTime(float(len(log)), 0.1, runs, batch, "a processor")

    monkeypatch.setattr(runtime, "time_per_frame", time_per_frame)
    monkeypatch.setattr(runtime.models, "build", lambda name, **_: name)
    return log


def test_a_second_build_does_not_measure_again(clock, tmp_path, monkeypatch):
    workspace = SimpleNamespace(build=tmp_path / "build" / "smoke", root=find_root())
    first = runtime.measure(workspace, runs=3, frames_at_once=32)
    assert clock == [("nnunet2d", 1), ("nnunet2d", 32),
                     ("si_uniformer_s", 1), ("si_uniformer_s", 2), ("unet3d", 1)]  # one clip is 32 frames
    assert runtime.measure(workspace, runs=3, frames_at_once=32) == first and len(clock) == 5
    runtime.measure(workspace, runs=4, frames_at_once=32)
    assert len(clock) == 10
    monkeypatch.setattr(runtime, "hardware", lambda device: "another processor")
    runtime.measure(workspace, runs=4, frames_at_once=32)
    assert len(clock) == 15


def test_every_published_cell_has_a_status_and_both_devices_are_named():
    table = runtime.cells([timing(m, 1.0) for m in runtime.NETWORKS])
    assert list(table.columns) == list(Cell.__dataclass_fields__)
    assert list(table.row) == list(published.load(runtime.TABLE).method) and (table.status == "undecided").all()
    assert table.why.str.contains("RTX 6000").all() and table.why.str.contains("a processor").all()
    assert (table.low < 1).all() and (table.high > 1).all()


@pytest.mark.parametrize(("faster", "slower", "runs", "status"), [
    (1.0, 2.0, 5, "holds"), (2.0, 1.0, 5, "does not hold"), (1.0, 1.01, 5, "undecided"), (1.0, 2.0, 2, "undecided")])
def test_an_order_needs_runs_and_a_difference(faster, slower, runs, status):
    assert runtime.faster_verdict(timing("a", faster, runs), timing("b", slower, runs)).status == status


def test_published_and_measured_times_stand_in_panels_of_their_own():
    timings = [timing(m, v, mode=mode) for mode in ("one clip", "32 frames at once")
               for m, v in zip(runtime.NETWORKS, (3, 1, 2), strict=True)]
    figure = runtime.runtime_figure(timings)
    assert [a.get_title(loc="left").split("\n")[0] for a in figure.axes] == ["published,", "this machine,", "this machine,"]
    assert len(runtime.claims(timings)) == 4 and set(runtime.claims(timings).status) == {"holds"}
    text = runtime.table_html(timings)
    assert all(f"{v:.2f}" in text for v in published.load(runtime.TABLE).ms_per_frame) and "not to be subtracted" in text


def test_a_checkout_without_kept_benchmarks_says_so(tmp_path):
    assert "make bench" in runtime.committed_html(tmp_path)


def test_the_notebook_measures_what_the_scorecard_asks_for():
    found = parameters_of(find_root() / "notebooks" / "simlvseg_runtime.ipynb")
    assert [found[n].default for n in ("runs", "gpu_runs", "frames_at_once")] == [
        runtime.RUNS, runtime.GPU_RUNS, runtime.FRAMES_AT_ONCE]
