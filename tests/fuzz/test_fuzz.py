"""Damaged inputs: a short run here, a long one with ``-m fuzz``; and every input that once broke a reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.child import one
from tests.fuzz.readers import READERS, make
from tests.fuzz.run import run, summary

MOST_GROWTH_MIB, MOST_SECONDS = 64, 10

#: (reader, seed, number) of inputs that ended in another exception than a named error, and in which.
KEPT = [
    ("MP4", 1, 2, "AttributeError: a codec that FFmpeg does not know"),
    ("MP4", 2, 11, "UnicodeDecodeError: a title that is not UTF-8"),
    ("NPY", 2, 2, "TokenError: a header that is no Python text"),
    ("clip store", 2, 129, "TokenError: the same in frames.npy"),
    ("EchoNet folder", 2, 37, "OSError: a study's name that is too long for a file"),
    ("notebook", 2, 1, "UnicodeDecodeError: not UTF-8"),
    ("notebook", 2, 69, "AttributeError: a cell without a type"),
    ("profile", 1, 0, "UnicodeDecodeError: not UTF-8"),
    ("profile", 2, 76, "ValueError: a number of 5,000 digits"),
]


@pytest.mark.parametrize(("name", "seed", "number", "was"), KEPT)
def test_what_once_broke_a_reader_is_read_or_refused(tmp_path, name, seed, number, was):
    reader = next(r for r in READERS if r.name == name)
    make(reader, tmp_path / "in")
    line = one(reader, tmp_path / "in", seed, number)
    assert line["outcome"] in ("read", "refused"), (was, line)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_the_clean_input_of_every_reader_is_read(tmp_path, reader):
    make(reader, tmp_path / "in")
    assert reader.read(tmp_path / "in") is not None
    assert all(list((tmp_path / "in").rglob(Path(file).name)) for file in reader.files)


def check(found: dict, inputs: int) -> None:
    assert not found["defects"], found["defects"]
    assert found["inputs"] == inputs and found["outcomes"]["refused"] > 0.4 * inputs
    assert found["memory_at_the_end_mib"] <= found["memory_after_a_tenth_mib"] + MOST_GROWTH_MIB
    assert found["open_files"][1] <= found["open_files"][0] + 2
    assert found["slowest"]["seconds"] < MOST_SECONDS  # of CPU: a reader that nearly hangs


def test_a_few_damaged_inputs_in_a_process_of_little_memory():
    """Crashes, hangs, memory bombs, other exceptions, files left behind: none in a short run."""
    check(summary(run(10 * len(READERS), seed=10), 10), 10 * len(READERS))


@pytest.mark.fuzz
def test_many_damaged_inputs():
    found = summary(run(2400, seed=11), 11)
    check(found, 2400)
    assert all(counts["inputs"] > counts.get("read", 0) for counts in found["readers"].values()), "a reader that refuses nothing"
