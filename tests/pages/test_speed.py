"""The page on speed: what was measured is shown, what was not says so, and a bad record is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echolib.errors import RecordError
from echolib.pages import speed
from echolib.pages.speed import Curve, Result, Row, Side

ROOT = Path(__file__).parents[2]


def result(name: str, device: str = "cpu", **changes) -> Result:
    row = Row(key="full", what="inference, 3D U-Net x 1", unit="µs per frame", ours=Side(n=3, mean=4000, sd=20),
              reference=Side(n=3, mean=10_000, sd=50), ratio=2.5, target=2, roofline=0.4)
    values = dict(name=name, device=device, command=f"python benchmarks/{name}.py", hardware="a <fast> machine",
                  versions={"torch": "2.6"}, date="2026-01-02", load_average=0.1, busy=False, matmul_gflops={"float32": 100.0},
                  copy_gb_s=10.0, rows=[row],
                  curves=[Curve(x_label="batch", y_label="clips/s", x=[1, 2], y=[3, 4])] if name == "growth" else [])
    return Result(**values | changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in speed.NEEDED:
        write(tmp_path, result(name))
    return tmp_path


def write(root: Path, one: Result) -> Path:
    path = root / speed.FOLDER / f"{one.name}-{one.device}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(one.model_dump_json())
    return path


def row_with(text: str, words: str) -> str:
    return next(line for line in text.split("<tr>") if words in line)


def test_measured_rows_show_numbers_and_gpu_rows_their_command(root):
    text = speed.speed_pages(root)["speed_targets.md"]
    cpu = row_with(text, "processor, published width")
    assert ">4,000 µs" in cpu and ">10,000 µs" in cpu and "2.5 <small>(met)" in cpu
    assert "a &lt;fast&gt; machine, 2026-01-02" in cpu and "busy" not in cpu
    gpu = row_with(text, "inference, batched, on a GPU")
    assert "not yet measured (no GPU here): <code>python benchmarks/inference.py --device cuda --record</code>" in gpu


def test_a_gpu_record_takes_the_place_of_its_command(root):
    write(root, result("inference", "cuda", hardware="one GPU", busy=True))
    gpu = row_with(speed.speed_pages(root)["speed_targets.md"], "inference, batched, on a GPU")
    assert "one GPU, 2026-01-02 (busy machine)" in gpu and "not yet measured" not in gpu


def test_a_missed_aim_is_shown_as_such(root):
    slow = result("inference").rows[0].model_copy(update={"ratio": 1.2})
    write(root, result("inference", rows=[slow]))
    assert "1.2 <small>(not met)" in speed.speed_pages(root)["speed_rows.md"]


def test_growth_is_drawn_and_the_same_twice(root):
    first, second = (speed.speed_pages(root)["speed_growth.md"] for _ in range(2))
    assert first == second and first.count("<svg") == 1 and "2026-01-02" in first


def test_a_missing_record_is_named(root):
    (root / speed.FOLDER / "growth-cpu.json").unlink()
    with pytest.raises(RecordError, match="results/benchmarks/growth-cpu.json is missing"):
        speed.speed_pages(root)


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: json.dumps(json.loads(text) | {"busy": "perhaps"}),
                                    lambda text: json.dumps(json.loads(text) | {"host": "x"}), lambda text: ""])
def test_a_damaged_record_is_named(root, damage):
    path = root / speed.FOLDER / "inference-cpu.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordError, match="inference-cpu.json is damaged"):
        speed.speed_pages(root)


def test_a_record_under_another_name_is_refused(root):
    (root / speed.FOLDER / "train_step-cuda.json").write_text(result("inference").model_dump_json())
    with pytest.raises(RecordError, match="train_step-cuda.json holds the result of 'inference'"):
        speed.speed_pages(root)


def engines(**changes) -> dict:
    row = dict(network="nnU-Net", plain=[90.0, 91.0, 92.0], fast=[90.5, 91.5, 92.5], mean_difference=0.5, seed_sd=1.0,
               within_seed_noise=True, train_seconds={"plain": 20.0, "fast": 10.0})
    where = dict(commit="c" * 40, uncommitted_changes=False, code="0" * 16, data="1" * 64, hardware="a <slow> machine", threads=1,
                 versions={"torch": "2.6"}, wall_seconds=3.0, finished="2026-01-02 10:00 UTC")
    return dict(profile="smoke", seeds=[0, 1, 2], rows=[row | changes], keys={"nnU-Net, plain": ["a"]}, provenance=where)


def test_trainings_on_both_paths_are_shown_or_their_command(root):
    assert "--record results/benchmarks/engine_equivalence-smoke.json" in speed.speed_pages(root)["speed_engines.md"]
    path = root / speed.FOLDER / "engine_equivalence-smoke.json"
    path.write_text(json.dumps(engines()))
    page = speed.speed_pages(root)["speed_engines.md"]
    for word in ("smoke: nnU-Net", "90.00, 91.00, 92.00", "90.50, 91.50, 92.50", "+0.50", "yes",
                 "a &lt;slow&gt; machine, 2026-01-02"):
        assert word in page
    path.write_text(json.dumps(engines(seed_sd=None, within_seed_noise=None)))
    assert "one seed cannot say" in speed.speed_pages(root)["speed_engines.md"]


def test_damaged_and_misplaced_trainings_are_named(root):
    path = root / speed.FOLDER / "engine_equivalence-desk.json"
    path.write_text(json.dumps(engines()))
    with pytest.raises(RecordError, match="engine_equivalence-desk.json holds trainings of profile 'smoke'; .*--profile desk"):
        speed.speed_pages(root)
    path.write_text("{}")
    with pytest.raises(RecordError, match="engine_equivalence-desk.json is damaged"):
        speed.speed_pages(root)


def test_the_page_includes_what_is_generated(root):
    page = (ROOT / "book" / "speed.md").read_text()
    assert set(speed.speed_pages(root)) == set(speed.PARTS)
    assert all(f"../generated/{name}" in page for name in speed.PARTS)


def test_every_benchmark_and_path_that_the_page_names_is_there():
    for name in {*speed.BENCHED, *(target.name for target in speed.TARGETS)}:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()
    page = (ROOT / "book" / "speed.md").read_text()
    for words in page.split("`"):
        if words.endswith(".py"):
            assert (ROOT / words).is_file(), words


def test_the_records_of_this_checkout_can_be_read():
    assert {name for name, _ in speed.read_results(ROOT / speed.FOLDER)} >= set(speed.NEEDED)
