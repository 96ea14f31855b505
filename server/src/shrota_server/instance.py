"""What one running server owns on this machine, so that nothing of it is left behind.

Every server has an identity: a random name that starts its shared-memory regions and its private folder. A lock file
beside the regions is held (flock) by every process of the server for as long as one of them lives. Whoever can take
the lock knows that all of them are dead, however they died, and removes what is left. Process ids would not do: they
are used again, and mean nothing between containers that share ``/dev/shm``.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
FOLDER_PREFIX = "shrota-"
LOCK_SUFFIX = "-lock"


@dataclass(frozen=True)
class Instance:
    """The identity of one server: ``name`` starts its regions, ``folder`` is its private one, ``lock_fd`` is held."""

    name: str
    folder: Path
    lock_fd: int

    @classmethod
    def create(cls) -> Self:
        """A new identity, its folder and its lock."""
        while True:
            name = f"{FOLDER_PREFIX}{secrets.token_hex(6)}"
            lock_path = SHARED_MEMORY / (name + LOCK_SUFFIX)
            descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same_file(descriptor, lock_path):
                break
            os.close(descriptor)  # a sweep came between the two calls and removed it
        folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(mode=0o700)
        return cls(name, folder, descriptor)

    @property
    def region_prefix(self) -> str:
        """What the names of the Python backend's shared-memory regions start with."""
        return f"{self.name}-"

    def remove(self) -> None:
        """Removes regions, folder and lock; call it when no process of the server lives."""
        remove(self.name, self.folder)
        os.close(self.lock_fd)


def remove(name: str, folder: Path) -> None:
    """Removes the folder and the shared-memory regions of the server ``name``, the lock file among them last."""
    shutil.rmtree(folder, ignore_errors=True)
    lock_name = name + LOCK_SUFFIX
    for path in sorted(SHARED_MEMORY.glob(f"{name}-*"), key=lambda path: path.name == lock_name):
        path.unlink(missing_ok=True)


def sweep() -> list[str]:
    """Removes what dead servers of this user left behind (all their processes were killed); returns their names."""
    removed = []
    for lock_path in SHARED_MEMORY.glob(f"{FOLDER_PREFIX}*{LOCK_SUFFIX}"):
        try:
            if lock_path.is_symlink() or lock_path.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(lock_path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # gone, or not ours
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # one of its processes lives
        else:
            name = lock_path.name.removesuffix(LOCK_SUFFIX)
            remove(name, Path(tempfile.gettempdir()) / name)
            removed.append(name)
        finally:
            os.close(descriptor)
    return removed


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
