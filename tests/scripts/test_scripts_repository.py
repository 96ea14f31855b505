"""Commands that the scripts run: what becomes of them when the script is interrupted."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.repository import ROOT, run_to_its_end

CHILD = """
import pathlib, signal, sys, time

def stop(number, frame):
    time.sleep(1)  # longer than subprocess.run would wait
    pathlib.Path("ended").write_text("as it should")
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import signal, sys
from scripts.loadtest import stop
from scripts.repository import run_to_its_end

signal.signal(signal.SIGTERM, stop)
run_to_its_end([sys.executable, "-c", sys.argv[1]])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_ends_properly_when_the_script_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PARENT}", CHILD]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(30) != 0
    assert (tmp_path / "ended").read_text() == "as it should"


def test_a_command_that_fails_says_so() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_to_its_end([sys.executable, "-c", "raise SystemExit(3)"])
    assert caught.value.returncode == 3
