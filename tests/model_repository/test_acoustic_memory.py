"""Memory of a Python model's process: kept for the next buffers, given back when nothing is under way."""

import subprocess
import sys
from pathlib import Path

from shrota_testing.repository import ROOT

MODEL = ROOT / "model_repository" / "acoustic" / "1"
PROGRAM = """
import resource, sys, time
import numpy as np
from shrota_acoustic import memory

def faults_of(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(3 * 2**20 // 4, np.float32)  # 3 MiB, 768 pages; of larger ones numpy asks for huge pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

before = faults_of(20)
memory.keep_buffers()
faults_of(1)
after = faults_of(20)
kept = resident()
memory.LEAST_S, idle = 0.01, []
trimmer = memory.Trimmer(lambda: bool(idle), every_s=0.01)
trimmer.start()
time.sleep(0.1)
busy = resident()
idle.append(True)
deadline = time.monotonic() + 10
while resident() > kept - 2 * 2**20 and time.monotonic() < deadline:
    time.sleep(0.01)
print(before, after, kept - busy, kept - resident())
trimmer.stop()
"""


def test_buffers_are_kept_and_go_back_when_nothing_is_under_way() -> None:
    low = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONPATH": str(MODEL)}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=low, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    before, after, given_back_busy, given_back_idle = map(int, ended.stdout.split())
    assert before > 20 * 700  # every one anew
    assert after < 1000
    assert given_back_busy < 2**20
    assert given_back_idle > 2 * 2**20


def test_what_is_the_same_in_three_models_is_the_same() -> None:
    """Each model stands alone in a repository, so each has the lines; nobody shall mend one of them only."""
    files = [
        ROOT / "model_repository" / folder / "1" / package / "memory.py"
        for folder, package in (("acoustic", "shrota_acoustic"), ("ctc_decoder", "shrota_decoder"))
    ] + [ROOT / "model_repository" / "acoustic_torch" / "1" / "shrota_torch" / "memory.py"]
    texts = [_function(file) for file in files]
    assert len(set(texts)) == 1


def _function(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    begin = text.index("def keep_buffers")
    return text[begin : text.index("\n\n\n", begin)]
