"""``make demo`` and the bundled checkpoint: the whole way, on real files."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shrota_testing.repository import ROOT

pytestmark = pytest.mark.triton
STOP_S = 15
WORST_SAMPLE_PERCENT = 15.0
TOTAL_PERCENT = 5.0


def demo(repository: Path) -> subprocess.Popen[str]:
    """The demo, as ``make demo`` runs it, in a process group of its own."""
    arguments = ["--checkpoint", "models/hindi-small", "--repository", str(repository)]
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.demo", *arguments],
        cwd=ROOT,
        text=True,
        encoding="utf-8",
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def left_over(repository: Path) -> Iterator[str]:
    """Command lines of processes that still serve this repository."""
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(repository) in command and process.pid != os.getpid():
            yield command


def wait_until_nothing_is_left(repository: Path) -> list[str]:
    """What still runs after ``STOP_S``."""
    deadline = time.monotonic() + STOP_S
    while (running := list(left_over(repository))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return running


def test_the_demo_prints_every_samples_transcript_and_error_rates_and_leaves_nothing(small_repository: Path) -> None:
    process = demo(small_repository)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    manifest = (ROOT / "samples" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    names = [json.loads(line)["audio"] for line in manifest]
    texts = r"^(\S+) \(.* s\)\n  transcript  (.+)\n  reference   (.+)\n"
    figures = r"  word error rate ([\d.]+) %, .*real-time factor [\d.]+$"
    details = re.findall(texts + figures, output, re.MULTILINE)
    assert [name for name, *_ in details] == names, output
    for *_, rate in details:
        assert float(rate) <= WORST_SAMPLE_PERCENT, output
    [total] = re.findall(r"^word error rate ([\d.]+) %", output, re.MULTILINE)
    assert float(total) <= TOTAL_PERCENT, output
    assert wait_until_nothing_is_left(small_repository) == []


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_everything_it_started(small_repository: Path, kind: signal.Signals) -> None:
    process = demo(small_repository)
    assert process.stderr is not None
    for line in process.stderr:
        if "Triton serves" in line:
            break
    assert list(left_over(small_repository))
    os.killpg(process.pid, kind)
    assert process.wait(timeout=STOP_S) != 0
    assert "Traceback" not in process.stderr.read()
    assert wait_until_nothing_is_left(small_repository) == []
    process.communicate()
