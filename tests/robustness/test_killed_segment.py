"""``echolib segment`` stopped by kill -9 or Ctrl-C: a clip's folder is the old or the new one, and the next run mends the rest.

The whole command runs, in a forked child: reading, a network, films, reports, the table. Only the network is a small one, from
``--weights``. No file of a result holds the time that it took, a date or a process number, so every file is compared byte for
byte; seconds stand in the line of progress alone.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from echolib import cli
from echolib.clinic.weights import load_segmenter
from echolib.data.video import write_avi, write_mp4
from echolib.phantom.clip import simulate
from echolib.phantom.presets import draw
from tests.robustness import children
from tests.robustness.children import content, start

#: How the command ends: all clips done; killed; stopped by Ctrl-C.
DONE, KILLED, STOPPED = 0, -signal.SIGKILL, 130
NAMES = ("one", "two")
PATIENCE_S = 300.0  # the command computes: on a machine that others use it may take minutes
OUTPUTS = {"report.html", "summary.json", "beats.csv", "area.csv", "overlay.mp4", "masks.nii.gz"}


def end(child: int) -> int:
    return children.end(child, PATIENCE_S)


def command(folder: Path, out: Path, *words: str) -> None:
    """The command line, and its exit status as the child's."""
    sys.argv = ["echolib", "segment", str(folder / "one.avi"), str(folder / "two.mp4"), "--out", str(out), "--device", "cpu",
                *words]
    try:
        cli.main()
    except SystemExit as stop:
        os._exit(stop.code or DONE)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Two short phantom clips and two undisturbed runs: ``whole``, and ``old``, which differs in every file."""
    folder = tmp_path_factory.mktemp("clips")
    for number, (name, write) in enumerate((("one.avi", write_avi), ("two.mp4", write_mp4))):
        clip = simulate(draw("echonet", [41, number], frames=12))
        write(folder / name, clip.frames, clip.fps)
    import echolib.clinic.cohort  # noqa: F401
    load_segmenter()  # both so that no child need load what they need
    for name, words in (("old", ("--fps", "20")), ("whole", ())):
        assert end(start(partial(command, folder, folder / name, *words))) == DONE
    old, whole = content(folder / "old"), content(folder / "whole")
    assert old.keys() == whole.keys() == {"cohort.csv"} | {f"{name}/{file}" for name in NAMES for file in OUTPUTS}
    assert all(old[name] != whole[name] for name in whole if not name.endswith("masks.nii.gz"))
    return folder


def assert_old_or_new(clips: Path, out: Path, before: bool) -> None:
    """After a signal: every clip's folder is whole, and the table is true of the clips that it names."""
    old, new = (content(clips / name) for name in ("old", "whole"))
    left = content(out) if out.exists() else {}
    for name in NAMES:
        found, earlier, later = ({path: data for path, data in files.items() if path.startswith(f"{name}/")}
                                 for files in (left, old if before else {}, new))
        assert found in (earlier, later), f"{name}: {sorted(found)}"
    table, lines = left.get("cohort.csv"), new["cohort.csv"].splitlines(keepends=True)
    parts = [b"".join(lines[:n]) for n in range(2, len(lines) + 1)]
    assert table in [old["cohort.csv"] if before else None, *parts]
    for number, name in enumerate(NAMES, start=1):
        if table in parts[number - 1:]:
            assert left[f"{name}/summary.json"] == new[f"{name}/summary.json"], "in the table, not in its folder"
    others = [path for path in left if path.split("/")[0] not in (*NAMES, "cohort.csv")]
    assert all(path.split("/")[0].endswith((".part", ".old")) for path in others), others


def stopped_and_run_again(clips: Path, out: Path, before: bool, stop: Callable[[int], None] | None, hook=lambda: None) -> int:
    """Run the command, stop it, look, run it to the end and compare with the undisturbed run; how the first one ended."""
    if before:
        shutil.copytree(clips / "old", out)
    child = start(partial(command, clips, out), before=hook)
    if stop is not None:
        stop(child)
    status = end(child)
    assert_old_or_new(clips, out, before)
    if status == STOPPED:
        assert not [path for path in out.rglob("*") if path.name.startswith(".")], "Ctrl-C leaves time to clear up"
    assert end(start(partial(command, clips, out))) == DONE
    assert content(out) == content(clips / "whole")
    assert sorted(path.name for path in out.iterdir()) == ["cohort.csv", *NAMES], "remains"
    return status


def at_random_moments(clips: Path, folder: Path, numbers: list[signal.Signals], seed: int) -> list[int]:
    rng, began = random.Random(seed), time.monotonic()
    assert end(start(partial(command, clips, folder / "timed"))) == DONE
    took, statuses = time.monotonic() - began, []
    for attempt, number in enumerate(numbers):
        pause = took * rng.uniform(0.1, 0.9)

        def stop(child: int, pause: float = pause, number: int = number) -> None:
            time.sleep(pause)
            os.kill(child, number)
        statuses.append(stopped_and_run_again(clips, folder / f"{attempt}", attempt % 2 == 0, stop))
        assert statuses[-1] in (DONE, STOPPED if number == signal.SIGINT else -number)
    assert set(statuses) != {DONE}, "every signal came too late: this test looked at nothing"
    return statuses


def killed_at_write(number: int) -> Callable[[], None]:
    """kill -9 by its own hand at the ``number``-th time that it flushes, renames or removes something."""
    def arm() -> None:
        count = itertools.count(1)
        for module, name in ((os, "fsync"), (os, "replace"), (os, "rename"), (shutil, "rmtree")):
            def counted(*words, plain=getattr(module, name), **options):
                if next(count) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return plain(*words, **options)
            setattr(module, name, counted)
    return arm


def test_a_signal_at_any_moment(clips, tmp_path):
    at_random_moments(clips, tmp_path, [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGINT], seed=1)


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_a_write(clips, tmp_path, before):
    for number in random.Random(2 + before).sample(range(1, 34), 3):
        assert stopped_and_run_again(clips, tmp_path / f"{number}", before, None, killed_at_write(number)) == KILLED


@pytest.mark.slow
def test_twenty_signals(clips, tmp_path):
    statuses = at_random_moments(clips, tmp_path, [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT] * 5, seed=3)
    assert {KILLED, STOPPED} <= set(statuses)


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
def test_killed_at_every_write(clips, tmp_path, before):
    for number in itertools.count(1):
        if stopped_and_run_again(clips, tmp_path / f"{number}", before, None, killed_at_write(number)) == DONE:
            break  # there are no more writes than that
    assert number > 33
