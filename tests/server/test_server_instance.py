"""What a server owns on the machine is removed, however it ended; what lives is left alone."""

import os
from pathlib import Path

import pytest

from shrota_server import instance
from shrota_server.instance import Instance, sweep


@pytest.fixture(autouse=True)
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of /dev/shm: other servers run on this machine."""
    folder = tmp_path / "shm"
    folder.mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(instance, "SHARED_MEMORY", folder)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    return folder


def test_removing_takes_regions_folder_and_lock(shared_memory: Path) -> None:
    mine = Instance.create()
    (shared_memory / f"{mine.region_prefix}uuid").touch()
    (shared_memory / "another").touch()
    mine.remove()
    assert [path.name for path in shared_memory.iterdir()] == ["another"]
    assert not mine.folder.exists()


def test_a_sweep_removes_what_the_dead_left_and_nothing_else(shared_memory: Path) -> None:
    living, dead = Instance.create(), Instance.create()
    for server in (living, dead):
        (shared_memory / f"{server.region_prefix}uuid").touch()
    os.close(dead.lock_fd)  # as when its last process ends
    assert sweep() == [dead.name]
    assert not dead.folder.exists()
    assert living.folder.is_dir()
    assert {path.name for path in shared_memory.iterdir()} == {f"{living.name}-uuid", f"{living.name}-lock"}
    living.remove()


def test_the_private_folder_is_private() -> None:
    mine = Instance.create()
    assert mine.folder.stat().st_mode & 0o777 == 0o700
    mine.remove()
