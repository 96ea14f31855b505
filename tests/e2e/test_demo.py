"""``make demo`` and the bundled checkpoint: the whole way, on real files."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shrota_testing.repository import ROOT, copy_repository

pytestmark = pytest.mark.triton
STOP_S = 15


@pytest.fixture(scope="module")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the bundled checkpoint."""
    folder = copy_repository(tmp_path_factory.mktemp("demo") / "model_repository")
    subprocess.run(
        [
            Path(sys.executable).with_name("shrota"),
            "export",
            "onnx",
            ROOT / "models/hindi-small",
            "--repository",
            folder,
        ],
        check=True,
        cwd=ROOT,
    )
    return folder


def demo(repository: Path) -> subprocess.Popen[str]:
    """The demo, as ``make demo`` runs it, in a process group of its own."""
    arguments = ["--checkpoint", "models/hindi-small", "--repository", str(repository)]
    return subprocess.Popen(
        [sys.executable, "scripts/demo.py", *arguments],
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


def test_the_demo_transcribes_every_sample_within_15_percent(small_repository: Path) -> None:
    process = demo(small_repository)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    rates = [float(line.partition("WER")[2].split("%")[0]) for line in output.splitlines() if " WER " in f" {line}"]
    assert len(rates) >= 5
    assert max(rates) <= 15, output
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
