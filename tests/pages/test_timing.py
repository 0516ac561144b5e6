"""Networks counted and timed: kept measurements, truncated digits, and an order on one machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from echolib import models
from echolib.errors import ConfigError
from echolib.evaluation.complexity import measure, times_in_turn
from echolib.ledger.workspace import find_root
from echolib.pages import timing
from echolib.pages.timing import Pass, Timing, counted, faster_verdict, interval, is_known, keep_times, printed_verdict, timed

SMALL, LARGE = Pass("small", "nnunet2d", 1, 32), Pass("large", "pkecho_r18", 4, 64, {"iterations": 1})


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "build").mkdir()
    return SimpleNamespace(build=tmp_path / "build" / "smoke", root=find_root())


def one(mean: float, sd: float = 0.1, runs: int = 5, load: float = 0.0) -> Timing:
    return Timing("a", 1, 32, mean, sd, runs, "a processor", load, "2026-01-01 00:00 UTC", "abc")


def test_all_are_timed_in_one_go_and_not_again(workspace, monkeypatch):
    found = timed(workspace, [SMALL, LARGE], device="cpu", runs=2)
    assert list(found) == ["small", "large"] and all(t.mean > 0 and t.runs == 2 for t in found.values())
    assert found["large"].fps == pytest.approx(1000 / found["large"].mean)
    monkeypatch.setattr(timing, "times_in_turn", lambda *_, **__: pytest.fail("measured again"))
    assert timed(workspace, [SMALL, LARGE], device="cpu", runs=2) == found
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        timed(workspace, [SMALL], device="cpu", runs=2)  # another set of networks was not side by side


def test_rounds_take_the_networks_in_turn(monkeypatch):
    order = []
    built = {one.name: models.build(one.model, frames=one.frames, size=one.size, options=one.options) for one in (SMALL, LARGE)}
    for name, model in built.items():
        model.register_forward_hook(lambda *_, name=name: order.append(name))
    assert built["small"].training
    found = times_in_turn({"small": (built["small"], (5, 1, 32)), "large": (built["large"], (1, 4, 64))}, runs=2)
    assert order == ["small", "large"] * 3 and found["small"].runs == 2 and built["small"].training
    assert found["small"].batch == 5 and found["large"].batch == 1
    with pytest.raises(ConfigError, match="runs = 0"):
        times_in_turn({}, runs=0)


def test_counts_are_kept_and_scale_with_windows(workspace, monkeypatch):
    window = Pass("window", "sscf", 4, 64, built=3, counted=1)
    found = counted(workspace, [LARGE, window])
    whole = counted(workspace, [Pass("whole", "sscf", 4, 64, built=3)])["whole"]
    assert found["window"].gflops == pytest.approx(whole.gflops, rel=1e-3) and found["window"].parameters == whole.parameters
    assert timed(workspace, [window], device="cpu", runs=1)["window"].frames == 4
    monkeypatch.setattr(timing, "measure", lambda *_: pytest.fail("counted again"))
    assert counted(workspace, [LARGE, window]) == found


@pytest.mark.parametrize(("name", "frames", "options"), [("pkecho_r18", 4, {}), ("sscf", 1, {"explicit": True}),
                                                        ("nnunet2d", 1, {})])
def test_large_frames_are_counted_by_small_ones(workspace, name, frames, options):
    one = Pass("a", name, frames, 320, options, built={"sscf": 3}.get(name))
    direct = measure(models.build(name, frames=one.built or frames, size=320, options=options), frames, 320).gflops
    assert counted(workspace, [one])["a"].gflops == pytest.approx(direct, rel=1e-9)
    assert name != "sscf" or direct == pytest.approx(68.767, abs=1e-3)  # as released


def test_printed_digits_may_be_rounded_or_cut_off():
    assert printed_verdict(11.7, 11.782, 1).status == "exact" and "cut off" in printed_verdict(11.7, 11.782, 1).why
    assert printed_verdict(42, 42.25, 0).status == "exact" and "cut off" not in printed_verdict(42, 42.25, 0).why
    assert printed_verdict(25.7, 25.708, 1).status == "exact"
    far = printed_verdict(57.7, 53.70, 1, "as released")
    assert far.status == "differs" and far.why.endswith(": as released")


def test_an_order_needs_runs_quiet_and_a_difference():
    assert faster_verdict(one(1.0), one(2.0)).status == "holds" and faster_verdict(one(2.0), one(1.0)).status == "does not hold"
    assert faster_verdict(one(1.0, runs=2), one(2.0)).status == "undecided"
    assert "busy" in faster_verdict(one(1.0, load=99.0), one(2.0)).why


def test_work_beside_the_timed_page_makes_the_times_no_fair_sample(monkeypatch):
    """On two cores, beside two trainings (load 2.4), SSCF came out faster than DeepLabV3; alone it is slower."""
    monkeypatch.setattr(timing, "cores", lambda: 2)
    assert "the machine was busy (load 2.4 on 2 cores)" in faster_verdict(one(485, load=2.4), one(520, load=2.4)).why
    assert faster_verdict(one(243, load=1.3), one(205, load=1.3)).status == "does not hold"
    monkeypatch.setattr(timing, "cores", lambda: 16)
    assert faster_verdict(one(243, load=2.4), one(205, load=2.4)).status == "does not hold"
    assert faster_verdict(one(1.0, sd=1.0), one(1.1, sd=1.0)).status == "undecided"
    low, high = interval(one(1.0))
    assert low < 1.0 < high and high - 1.0 == pytest.approx(2.776 * 0.1 / 5 ** 0.5, rel=1e-3)


def committed(workspace, monkeypatch, load: float = 0.3) -> dict[str, tuple[bool | None, str]]:
    """Time two networks here at a load, and keep them for a checkout of its own."""
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    timed(workspace, [SMALL, LARGE], device="cpu", runs=1)
    monkeypatch.undo()
    return keep_times(workspace, {"page": lambda: timed(workspace, [SMALL, LARGE], device="cpu", runs=1)})


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own; the commit is nobody's."""
    (tmp_path / "build").mkdir()
    monkeypatch.setattr(timing, "collect", lambda *_: SimpleNamespace(finished="2026-01-01 00:00 UTC", commit="abc"))
    return SimpleNamespace(build=tmp_path / "build" / "smoke", root=tmp_path)


def test_times_of_a_quiet_machine_are_kept_and_taken_on_any_other(checkout, monkeypatch):
    monkeypatch.setattr(timing, "hardware", lambda device="cpu": "one machine")
    patch = pytest.MonkeyPatch()
    assert committed(checkout, patch) == {"page": (True, "")}
    found = timed(checkout, [SMALL, LARGE], device="cpu", runs=1)
    assert committed(checkout, patch) == {"page": (False, "")}
    (checkout.build.parent / "timing.json").unlink()  # another machine has none of its own
    monkeypatch.setattr(timing, "hardware", lambda device="cpu": "another machine")
    measure = lambda: timed(checkout, [SMALL, LARGE], device="cpu", runs=1)  # noqa: E731
    assert is_known(measure) and measure() == found
    assert not is_known(lambda: timed(checkout, [SMALL], device="cpu", runs=1))
    assert keep_times(checkout, {"page": measure}) == {"page": (False, "")} and measure() == found
    monkeypatch.setenv("ECHOLIB_ANEW", "1")
    assert not is_known(measure)
    monkeypatch.delenv("ECHOLIB_ANEW")
    with timing.anew():
        own = measure()
        assert measure() == own  # once
    assert own != found and measure() == own
    monkeypatch.setattr(timing, "code_fingerprint", lambda parts: "other code")
    assert not is_known(measure)


def test_times_of_a_busy_machine_are_not_kept(checkout):
    patch = pytest.MonkeyPatch()
    ((changed, why),) = committed(checkout, patch, load=9.0).values()
    assert changed is None and "busy (load 9)" in why and not (checkout.root / "results").exists()
    assert keep_times(checkout, {"page": lambda: timed(checkout, [SMALL], device="cpu", runs=1)})["page"][0] is None


def test_a_measurement_waits_for_what_ran_before(monkeypatch):
    loads = iter([3.0, 2.4, 1.9, 0.4, 0.3])
    slept = []
    monkeypatch.setattr("os.getloadavg", lambda: (next(loads), 0.0, 0.0))
    monkeypatch.setattr(timing.time, "sleep", slept.append)
    monkeypatch.setattr(timing, "cores", lambda: 2)
    assert timing.wait_until_quiet() == 0.4 and len(slept) == 3
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 0.0, 0.0))
    assert timing.wait_until_quiet(most=0) == 9.0
