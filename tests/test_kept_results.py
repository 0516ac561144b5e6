"""What is committed in ``results/``: every record is whole, and a cohort has one fingerprint, whichever machine simulated it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import pytest

from echolib.config import load_profile

ROOT = Path(__file__).parents[1]
#: SHA-256 of desk's packed cohort; another one means that another machine, or a change of the phantom, made other images.
DESK = "d1dd936169005e668296c2be4e04e23ef2c14a9a031ea4bc2ea682eba5f0a7fe"
RECORDS = sorted((ROOT / "results" / "desk").glob("*/*.json"))


def test_records_of_desk_share_one_cohort():
    found, desk = defaultdict(set), load_profile(ROOT / "profiles" / "desk.yml").echonet.model_dump(mode="json")
    for path in RECORDS:
        record = json.loads(path.read_text())
        if record["spec"].get("data"):
            found[json.dumps(record["spec"]["data"], sort_keys=True)].add(record["provenance"]["data"])
    assert all(len(prints) == 1 for prints in found.values()), found
    assert found[json.dumps(desk, sort_keys=True)] == {DESK}


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in RECORDS}))
def test_kept_files_are_what_their_checksums_say(folder):
    sums = sorted((ROOT / "results" / "desk" / folder).glob("*.sha256"))
    assert {s.name.removesuffix(".sha256") for s in sums} == {p.stem for p in RECORDS if p.parent.name == folder}
    for path in sums:
        for line in path.read_text().splitlines():
            digest, name = line.split(maxsplit=1)
            file = path.parent / name.strip().lstrip("*")
            if file.is_file():  # weights that were not kept are named as well
                assert hashlib.sha256(file.read_bytes()).hexdigest() == digest, file.name
