"""Seeds beyond a profile's: claims that hang on them are tested on these too, what the page shows stays as it was."""

from __future__ import annotations

import pytest
import yaml

from echolib.config import load_profile
from echolib.errors import ConfigError
from echolib.pages import scorecard
from echolib.papers.book import BOOK
from echolib.papers.css import attention, external, phases, segmenters, table4
from echolib.papers.pkecho import ablations
from echolib.papers.simlvseg.figure8 import FIGURE8
from echolib.papers.sscf import table3, table5
from tests.papers.css.standin import Chain
from tests.papers.standin import PROFILES, ROOT, StandIn

HELPS, BEST = "Pre-training with 60 % masked frames helps", "60 % is the best ratio"
FURTHER = """
further:
  - {entry: simlvseg_figure8, groups: [mask 60 %, no pre-training], seeds: [3, 4]}
"""


@pytest.fixture
def further(tmp_path):
    raw = yaml.safe_load((ROOT / "profiles" / "desk.yml").read_text())
    return lambda more=FURTHER: _load(tmp_path / "desk.yml", yaml.safe_dump(raw | yaml.safe_load(more)))


def _load(path, text):
    path.write_text(text)
    return load_profile(path)


def test_only_claims_between_named_groups_are_tested_on_more_seeds(further):
    profile = further()
    found = scorecard.claims(FIGURE8, StandIn("desk", further=profile.further)).set_index("claim").why
    assert "over 5 seeds" in found[HELPS] and "over 3 seeds" in found[BEST]
    before = scorecard.claims(FIGURE8, StandIn("desk", further=())).set_index("claim").why
    assert "over 3 seeds" in before[HELPS] and before[BEST] == found[BEST]


@pytest.mark.parametrize(("ledger", "entry", "groups", "claim", "other"), [
    (StandIn, ablations.TABLE5, ("2 iterations", "1 iteration"), "Two iterations beat one", "Three iterations beat two"),
    (Chain, table4.TABLE4, ("Video Only, 1/8 labels", "Video+Seg., 1/8 labels"), "Masks as input help, 1/8 of the labels",
     "Distillation helps, supervised masks, 1/8 of the labels"),
    (Chain, segmenters.TABLE6, ("CSS", "CPS"), "CSS has a higher Dice on frames that nobody traced than CPS",
     "CSS has a higher Dice on frames that nobody traced than Supervised"),
    (Chain, external.TABLE9, ("CSS, 1/8 labels", "Ouyang et al., 1/8 labels"),
     "CSS has a smaller error on another hospital's clips than Ouyang et al., 1/8 of the labels",
     "CSS has a smaller error on another hospital's clips than Ji et al., 1/8 of the labels"),
    (Chain, attention.TABLE2, ("CSS", "Xu et al."), "CSS attends to the ventricle more than Xu et al.",
     "CSS attends to the ventricle more than Ji et al."),
    (Chain, phases.PHASES, ("CSS, sinus", "Supervised, sinus"),
     "Training by the cycle brings the matched phase nearer to the true one, sinus",
     "Training by the cycle brings the matched phase nearer to the true one, arrhythmia"),
    (StandIn, table5.TABLE5, ("k = 3 on EchoNet-Dynamic", "k = 5 on EchoNet-Dynamic"),
     "More frames help, k = 5 over 3, EchoNet-Dynamic", "More frames help, k = 3 over 1, EchoNet-Dynamic"),
    (StandIn, table3.TABLE6, tuple(f"{name} on CAMUS, fold {n} of 3" for name in ("SSCF", "DeepLabV3") for n in (1, 2, 3)),
     "SSCF has the smaller EF error, against DeepLabV3, CAMUS",
     "SSCF has the smaller EF error, against DeepLabV3, EchoNet-Dynamic")])
def test_so_are_claims_about_evaluations_and_those_of_a_judge(further, ledger, entry, groups, claim, other):
    names = ", ".join(f'"{name}"' for name in groups)
    profile = further(f"\nfurther:\n  - {{entry: {entry.id}, groups: [{names}], seeds: [3, 4]}}\n")
    found = scorecard.claims(entry, ledger("desk", further=profile.further)).set_index("claim").why
    assert "over 5 seeds" in found[claim] and "over 3 seeds" in found[other]
    needed = BOOK.needs(entry.notebook, profile)
    assert {s.seed for s in needs_of(entry, profile)} == {0, 1, 2, 3, 4} <= {s.seed for s in needed.runs}


def needs_of(entry, profile):
    return [s.run for s in entry.needs(profile).evaluations if s.run is not None] or entry.needs(profile).runs


def test_the_page_needs_them_and_shows_the_others(further):
    plain, profile = PROFILES["desk"].model_copy(update={"further": ()}), further()
    more = {s.key for s in FIGURE8.needs(profile).runs} - {s.key for s in FIGURE8.needs(plain).runs}
    assert len(more) == 2 * 2 and {s.seed for s in FIGURE8.needs(profile).runs} == {0, 1, 2, 3, 4}
    assert {name: len(group) for name, group in FIGURE8.runs(profile).items()} == dict.fromkeys(FIGURE8.runs(plain), 3)
    assert more <= {s.key for s in BOOK.needs("simlvseg_figure8", profile).runs}


def test_a_reader_s_page_has_none(further):
    mine = FIGURE8.turned({"seeds": [0, 1]})
    assert {s.seed for s in mine.needs(mine.options.applied(further())).runs} == {0, 1}
    fewer = FIGURE8.turned({"ratios": ["none", 0.3]})
    assert {s.seed for s in fewer.needs(fewer.options.applied(further())).runs} == {0, 1, 2}


@pytest.mark.parametrize(("more", "found"), [
    ("{entry: simlvseg_figure8, groups: [mask 60 %, no pre-training], seeds: [2, 3]}", "simlvseg_figure8: seed 2 is there"),
    ("{entry: simlvseg_figure8, groups: [mask 60 %, no pre-training], seeds: [3, 3]}", "simlvseg_figure8: seed 3 is there"),
    ("{entry: simlvseg_figure8, groups: [mask 60 %], seeds: [3]}", "at least 2 items"),
])
def test_bad_seeds_are_refused_when_the_profile_is_read(further, more, found):
    with pytest.raises(ConfigError, match=found):
        further(f"\nfurther:\n  - {more}\n")


@pytest.mark.parametrize(("more", "found"), [
    ("{entry: nosuch, groups: [mask 60 %, no pre-training], seeds: [3]}", "'further' names no entry 'nosuch'"),
    ("{entry: simlvseg_figure8, groups: [mask 60 %, no pre-training, mask 61 %], seeds: [3]}",
     "names no group 'mask 61 %' of simlvseg_figure8; its groups: .*mask 60 %"),
    ("{entry: simlvseg_figure8, groups: [mask 60 %, mask 50 %], seeds: [3]}",
     "no claim of simlvseg_figure8 that takes more seeds has all its groups among 'mask 60 %', 'mask 50 %'; expected those of a "
     "claim: 'mask 60 %', 'no pre-training';"),
    ("{entry: family, groups: [nnU-Net, SimLVSeg-3D], seeds: [3]}", "no claim of family that takes more seeds .* it has none"),
])
def test_seeds_for_claims_that_there_are_not_are_refused_before_anything_is_computed(further, more, found):
    with pytest.raises(ConfigError, match=found):
        BOOK.needs("simlvseg_figure8", further(f"\nfurther:\n  - {more}\n"))
