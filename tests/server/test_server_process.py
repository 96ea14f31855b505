"""How a process ended is known for as long as somebody may ask."""

import os
from pathlib import Path

import pytest

from shrota_server.errors import StartError
from shrota_server.instance import Instance
from shrota_server.process import Process


@pytest.mark.parametrize(
    ("script", "how"), [("exit 3", "exit code 3"), ("kill -9 $$", "signal SIGKILL"), ("exit 0", "exit code 0")]
)
def test_the_exit_is_told_before_and_after_stop(script: str, how: str) -> None:
    process = Process(["/bin/sh", "-c", script], os.environ, Instance.create())
    assert process.wait(10)
    assert process.describe_exit() == how
    process.stop()
    assert process.wait(0)
    assert process.describe_exit() == how


def test_a_process_that_was_stopped_first_tells_it_too() -> None:
    process = Process(["/bin/sleep", "60"], os.environ, Instance.create())
    process.stop()
    assert process.describe_exit() == "signal SIGTERM"


def test_a_guardian_that_cannot_be_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance.create()
    monkeypatch.setattr("sys.executable", "/nonexistent/python3")
    with pytest.raises(StartError, match=r"cannot start /bin/true: .*No such file"):
        Process(["/bin/true"], os.environ, instance)
    assert not instance.folder.exists()
    assert not list(Path("/dev/shm").glob(f"{instance.name}*"))  # noqa: S108 - where shared memory is
