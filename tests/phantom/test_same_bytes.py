"""One cohort, one fingerprint: whatever processor the libraries think they have, however many workers and threads."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from numpy._core import _multiarray_umath as _umath

#: what libraries are told to leave unused; CI and a developer's machine agree by these very numbers too
VARIANTS = {
    "as it is": {},
    "MKL, compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL, AVX2": {"MKL_CBWR": "AVX2"},
    "torch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN, SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "numpy without vectors": {"NPY_DISABLE_CPU_FEATURES": " ".join(_umath.__cpu_dispatch__)},
    "OpenCV without vectors": {"OPENCV_IPP": "disabled", "OPENCV_CPU_DISABLE": "SSE4_1,SSE4_2,AVX,AVX2,AVX512_SKX"},
    "the C library without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable"},
    "two workers, two threads": {"WORKERS": "2", "OMP_NUM_THREADS": "2"},
}
#: of the cohort below: change it only with the simulator, and say so in the record of changes
EXPECTED = "a09f3450bb669900"
SCRIPT = """
import hashlib, os, sys, warnings
warnings.filterwarnings("ignore")
from pathlib import Path
from echolib.config import PhantomSpec
from echolib.data import camus, echonet
from echolib.data.store import pack
from echolib.phantom.cohort import write_camus, write_echonet

if __name__ == "__main__":
    out, workers = Path(sys.argv[1]), int(os.environ.get("WORKERS", "1"))
    quiet = {"workers": workers, "progress": False}
    write_echonet(out / "a", PhantomSpec(preset="echonet", train=2, val=1, test=1, seed=3, frames=(30, 36)), **quiet)
    write_echonet(out / "w", PhantomSpec(preset="wide", train=1, val=0, test=0, seed=3, frames=(30, 36)), **quiet)
    write_camus(out / "b", PhantomSpec(preset="camus", train=0, val=0, test=1, seed=3), **quiet, size=(137, 167))
    total = hashlib.sha256()
    for name, reader in (("a", echonet), ("w", echonet), ("b", camus)):
        cohort = reader.read(out / name)
        store = pack(cohort, out / f"{name}-store", size=48, channels=1, progress=False)
        total.update(cohort.fingerprint.encode() + store.frames.tobytes())
        for file in sorted((out / name).rglob("*")):
            if file.is_file() and file.suffix in (".npz", ".csv", ".avi", ".gz"):
                total.update(file.read_bytes())
    print(total.hexdigest()[:16])
"""


def fingerprint(folder, variables: dict[str, str]) -> str:
    folder.mkdir()
    script = folder / "simulate.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, folder], env={**os.environ, **variables}, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_fingerprint_on_every_processor(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(VARIANTS, pool.map(lambda name: fingerprint(tmp_path / name, VARIANTS[name]), VARIANTS),
                         strict=True))
    assert found == dict.fromkeys(VARIANTS, EXPECTED)


def test_another_seed_has_another_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SCRIPT", SCRIPT.replace("test=1, seed=3, frames", "test=1, seed=4, frames"))
    assert fingerprint(tmp_path / "other", {}) != EXPECTED


@pytest.mark.skipif(sys.platform != "linux", reason="variables of glibc")
def test_the_variants_reach_their_libraries():
    """A variable that is not heard would make the test above pass for nothing."""
    def says(code: str, variant: str) -> str:
        return subprocess.run([sys.executable, "-c", code], env={**os.environ, **VARIANTS[variant]}, capture_output=True,
                              text=True,
                              check=True).stdout.strip()

    assert says("import torch; print(torch.backends.cpu.get_cpu_capability())", "torch without vectors") == "DEFAULT"
    features = "import numpy._core._multiarray_umath as u; print(any(u.__cpu_features__[k] for k in u.__cpu_dispatch__))"
    assert says(features, "numpy without vectors") == "False"
    assert says("import cv2; print(cv2.ipp.useIPP())", "OpenCV without vectors") == "False"
