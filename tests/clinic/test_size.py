"""Speed and memory of the whole command, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from echolib.clinic.cohort import segment_files
from tests.clinic.clips import stand_in
began = time.perf_counter()
rows = segment_files([Path(sys.argv[1])], Path(sys.argv[2]), stand_in(), say=lambda _: None)
print(json.dumps({"failed": rows[0].failed, "seconds": time.perf_counter() - began,
                  "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20}))
"""


@pytest.mark.slow
def test_a_thousand_large_frames_fit_in_a_gibibyte_and_a_half(tmp_path):
    """1,002 frames of 600 x 800 px in colour would be 1.4 GB decoded; they are never in memory together."""
    make = ("import numpy as np, sys\nfrom echolib.data.video import write_mp4_frames\nfrom tests.clinic.clips import beating\n"
            "video, _ = beating(40, 600, 800)\n"
            "frames = (np.repeat(video[t % 40][..., None], 3, -1) for t in range(1002))\n"
            "write_mp4_frames(sys.argv[1], frames, 50, 28, 'ultrafast')")
    subprocess.run([sys.executable, "-c", make, str(tmp_path / "long.mp4")], check=True)
    done = subprocess.run([sys.executable, "-c", _PROGRAM, str(tmp_path / "long.mp4"), str(tmp_path / "out")], check=True,
                          capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert not told["failed"] and told["gib"] < 1.5, told
