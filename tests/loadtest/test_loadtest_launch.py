"""How a load test's command ends when it is stopped."""

import subprocess
import sys
from pathlib import Path

import pytest

STOPPED = """
import os, signal, sys
from shrota_loadtest.launch import stop_on_signals

stop_on_signals()
try:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)
    print("ended")
"""


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_a_second_signal_does_not_disturb_the_end(environment: dict[str, str], tmp_path: Path, first: str) -> None:
    command = [sys.executable, "-c", STOPPED, first]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ended\n")
