"""Damage many inputs and read them: ``python -m tests.fuzz.run --count 2000 --record results/fuzz/readers.json``.

The same seed and versions give the same inputs. Exit status 1 says that a defect was found; the lines say which input.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from echolib.files import write_json

ROOT = Path(__file__).parents[2]
#: Longest wait for the next answer, in seconds of a clock that other programs share; the first one also loads the libraries.
PATIENCE_S, START_S = 60.0, 600.0
PACKAGES = ("av", "nbformat", "nibabel", "numpy", "opencv-python-headless", "pandas", "pyarrow", "pydantic", "pydicom", "PyYAML",
            "safetensors", "torch")


def run(count: int, seed: int, *, first: int = 0) -> list[dict]:
    """Read ``count`` damaged inputs, the readers in turn; one line an input, see :mod:`tests.fuzz.child`."""
    lines: list[dict] = []
    position, last = first, first + count
    with tempfile.TemporaryDirectory() as folder:
        while position < last:
            part = Path(folder) / f"from-{position}"
            (part / "tmp").mkdir(parents=True)
            names, done, why = _child(part, seed, position, last)
            lines += done
            position += len(done)
            if position < last:
                lines.append({"reader": names[position % len(names)], "number": position // len(names), "position": position,
                              "outcome": "defect", "error": why})
                position += 1
    return lines


def _child(folder: Path, seed: int, first: int, last: int) -> tuple[list[str], list[dict], str]:
    """One process from ``first`` on: the readers, the lines it wrote, and why it stopped before the end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    with open(folder / "stderr", "w") as noise:
        command = [sys.executable, "-m", "tests.fuzz.child", str(folder / "inputs"), str(seed), str(first), str(last)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, text=True, env=environment, cwd=folder)
    answers: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_pour, args=(process.stdout, answers), daemon=True).start()
    lines: list[dict] = []
    try:
        while (line := answers.get(timeout=PATIENCE_S if lines else START_S)) is not None:
            lines.append(json.loads(line))
        why = f"the process ended with status {process.wait()}" + _tail(folder / "stderr")
    except queue.Empty:
        process.kill()
        process.wait()
        why = f"hung for more than {PATIENCE_S:g} s"
    if not lines:
        raise RuntimeError(f"the reading process did not start: {why}")
    return lines[0]["readers"], lines[1:], why


def _pour(stream, answers: queue.Queue[str | None]) -> None:
    for line in stream:
        answers.put(line)
    answers.put(None)


def _tail(path: Path) -> str:
    text = path.read_text(errors="replace").strip().splitlines()
    return f": {text[-1][:200]}" if text else ""


def summary(lines: list[dict], seed: int) -> dict:
    """What is committed: counts by reader and outcome, the slowest input, memory, versions."""
    from echolib.ledger.code import code_fingerprint

    tenth = next((line["resident"] for line in lines[max(len(lines) // 10, 1):] if "resident" in line), 0)
    end = next((line["resident"] for line in reversed(lines) if "resident" in line), 0)
    slowest = max(lines, key=lambda line: line.get("seconds", 0))
    readers = {}
    for name in sorted({line["reader"] for line in lines}):
        own = [line for line in lines if line["reader"] == name]
        outcomes = Counter(line["error"] if line["outcome"] == "refused" else line["outcome"] for line in own)
        readers[name] = {"inputs": len(own), **outcomes}
    shown = ("reader", "number", "damage", "error")
    defects = [{k: line[k] for k in shown if k in line} for line in lines if line["outcome"] == "defect"]
    return {"inputs": len(lines), "seed": seed, "readers": readers,
            "outcomes": dict(Counter(line["outcome"] for line in lines)), "defects": defects,
            "slowest": {k: slowest.get(k) for k in ("reader", "number", "seconds")},
            "memory_after_a_tenth_mib": tenth // 2 ** 20, "memory_at_the_end_mib": end // 2 ** 20,
            "open_files": [lines[0].get("open_files"), lines[-1].get("open_files")],
            "cpu_seconds": round(sum(line.get("seconds", 0) for line in lines), 1),
            "versions": {"python": sys.version.split()[0]} | {name: version(name) for name in PACKAGES},
            "code": code_fingerprint(("",)), "date": datetime.now(UTC).strftime("%Y-%m-%d")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="position to begin at")
    parser.add_argument("--record", type=Path, help="where the result is written, as JSON")
    asked = parser.parse_args()
    found = summary(run(asked.count, asked.seed, first=asked.first), asked.seed)
    if asked.record:
        write_json(asked.record, found)
    print(json.dumps({k: found[k] for k in found if k not in ("versions", "readers")}, indent=1))
    sys.exit(1 if found["defects"] else 0)


if __name__ == "__main__":
    main()
