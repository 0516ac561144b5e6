"""The table of what the seeds leave open: spreads from records, claims by status, and the same from before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from echolib.config import load_profile
from echolib.errors import RecordError
from echolib.pages import decided
from echolib.pages.catalogue import Paper
from echolib.pages.decided import Decided, decided_html
from echolib.pages.experiment import Needs

ROOT = Path(__file__).parents[2]
DESK = load_profile(ROOT / "profiles" / "desk.yml")
MEANS = {"A": (0.80, 0.82, 0.84), "B": (0.70, 0.75, 0.80)}
BEFORE = ROOT / "results" / "decided" / "desk-before.json"


def spec(key: str, **parents: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(key=key, parents=parents)


class Shelf:
    """Records by the first letter of a key: seconds, threads, processes."""

    took = {"a": (1800.0, 2, 1), "b": (900.0, 1, 1), "c": (450.0, 1, 2)}

    def find(self, spec):
        if spec.key[0] not in self.took:
            return SimpleNamespace(record=None)
        seconds, threads, processes = self.took[spec.key[0]]
        provenance = SimpleNamespace(wall_seconds=seconds, threads=threads, processes=processes)
        return SimpleNamespace(record=SimpleNamespace(provenance=provenance))


class Ledger:
    """Runs are (group, seed)."""

    workspace = SimpleNamespace(profile=DESK)
    runs = evaluations = Shelf()

    def require(self, specs):
        return [SimpleNamespace(scores={"overall": SimpleNamespace(mean=MEANS[name][seed])}) for name, seed in specs]


def entry(name: str, groups: tuple[str, ...], draws: str = "") -> SimpleNamespace:
    return SimpleNamespace(id=name, number=name.upper(), title="a <page>", draws=draws, notebook=f"{name[0]}_notebook",
                           runs=lambda profile: {g: [(g, s) for s in range(3)] for g in groups})


def made(**how: object) -> Decided:
    entries = [entry("one", ("A", "B")), entry("two", ()), entry("three", ()), entry("four", ("A",), draws="one")]
    claimed = pd.DataFrame({"experiment": ["one", "one", "one", "two"],
                            "status": ["holds", "does not hold", "undecided", "holds"]})
    needs = {"o_notebook": Needs((spec("b1", parent=spec("a1"), other=spec("lost")),), (spec("b2"),)),
             "t_notebook": Needs((spec("c1"), spec("b1")), ()),
             "f_notebook": Needs((spec("b9"), spec("lost")), ())}
    book = SimpleNamespace(pages={Paper("p", "Paper: of <it>", place=1): entries}, notebooks=list(needs),
                           needs=lambda notebook, profile: needs[notebook])
    return decided.decided(book, Ledger(), claimed, what="much <more>", **how)


@pytest.fixture
def found() -> Decided:
    return made()


def test_spreads_and_claims(found):
    assert [p.entry for p in found.pages] == ["one", "two"]
    one, two = found.pages
    assert one.title == "Paper, ONE: a <page>"
    assert (one.sd_median, one.sd_largest, one.sd_group) == (3.5, 5.0, "B") and one.groups == 2 and one.seeds == 3
    assert (one.holds, one.fails, one.undecided) == (1, 1, 1) and (two.sd_median, two.holds) == (None, 1)
    assert found.share == 0.75
    assert (one.hours, two.hours) == (1.0 + 0.25 + 0.25, 0.25), "a run that two pages ask for counts once, with what it builds on"
    assert [p.entry for p in made(stopped={"one"}).pages] == ["two"], "a page that lacks records is left out"
    assert np.isnan(Decided(profile="p", what="", pages=()).share)


def test_it_stands_beside_the_table_from_before(found):
    old = found.model_copy(update={"commit": "0123456789abcdef", "what": "less", "pages": found.pages[:1]})
    text = decided_html(found, old)
    assert "Of 4 claims 2 hold, 1 do not, 0 make no difference, and 1 are undecided; before, of 3: 1, 1, 0 and 1" in text
    assert "much &lt;more&gt;" in text and "0123456789 " not in text and "(commit 0123456789): less" in text
    rows = text.split("<tr>")[2:]
    assert len(rows) == 2 and rows[0].count("3.50") == 2 and rows[1].count("–") == 6 + 2
    assert "before" not in decided_html(found) and "1.8 in all" in text


def test_a_kept_table_is_read_back_and_a_damaged_one_refused(found, tmp_path):
    file = tmp_path / "kept.json"
    assert decided.load(file) is None
    decided.keep(found, file)
    assert decided.load(file) == found
    file.write_text(file.read_text().replace('"holds": 1', '"holds": -1', 1))
    with pytest.raises(RecordError, match=r"kept.json: pages.0.holds: .*greater than or equal to 0"):
        decided.load(file)


def test_what_desk_left_open_before_is_in_the_repository():
    found = decided.load(BEFORE)
    by = {p.entry: p for p in found.pages}
    assert found.profile == "desk" and by["simlvseg_figure7"].sd_largest > 15 and found.share < 0.4


def test_the_schedule_in_words():
    assert decided.schedule(DESK) == (
        "stages 1 and 2 of 12 epochs of 60 steps of 4 clips and 4 epochs of 100 steps of 4 clips; in the ablations 4 epochs of "
        "60 steps of 4 clips and 2 epochs of 100 steps of 4 clips")
