"""Puts files into a model repository: all of them, or none."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from shrota_export.errors import RepositoryError
from shrota_export.paths import MODEL

STAGING_PREFIX = ".shrota-export-"


class Publication:
    """New files of a repository, collected beside it and moved into it at the end."""

    def __init__(self, repository: Path, staging: Path) -> None:
        self.repository = repository
        self._staging = staging

    def path(self, relative: Path) -> Path:
        """Where to write the file that shall become ``relative`` in the repository."""
        path = self._staging / "new" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def scratch(self) -> Path:
        """A folder on the repository's file system for what is not published."""
        path = self._staging / "scratch"
        path.mkdir(exist_ok=True)
        return path

    def commit(self, order: Sequence[Path], *, remove: Sequence[Path] = ()) -> None:
        """Moves the files into the repository, in the given order; whatever interrupts this, the old ones come back.

        The last file is the mark of completeness: it is taken away first. So even if the machine stops in between, no
        mark stands beside files that it does not describe.
        """
        for relative in order:
            give_usual_mode(self.path(relative))
        backups = {relative: self._backup(relative) for relative in order}
        moved: list[Path] = []
        try:
            moved.append(order[-1])
            (self.repository / order[-1]).unlink(missing_ok=True)
            for relative in order:
                target = self.repository / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                moved.append(relative)
                _move(self.path(relative), target)
        except BaseException:
            for relative in reversed(moved):
                backup = backups[relative]
                if backup is None:
                    (self.repository / relative).unlink(missing_ok=True)
                elif backup.exists():
                    backup.replace(self.repository / relative)
            raise
        for relative in remove:
            (self.repository / relative).unlink(missing_ok=True)

    def _backup(self, relative: Path) -> Path | None:
        """A second name for the file that is there now; None if there is none."""
        current = self.repository / relative
        if not current.exists():
            return None
        backup = self._staging / "old" / relative
        backup.parent.mkdir(parents=True, exist_ok=True)
        try:
            backup.hardlink_to(current)
        except OSError:  # a file system without hard links
            shutil.copy2(current, backup)
        return backup


@contextlib.contextmanager
def publication(repository: Path) -> Iterator[Publication]:
    """Opens a repository for writing; what was not committed is gone afterwards.

    Raises:
        RepositoryError: if the folder is no model repository, is being written to by another export, or is full.
    """
    check_repository(repository)
    lock = os.open(repository, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RepositoryError(f"another export is writing to {repository}; wait for its end") from None
        for leftover in repository.glob(f"{STAGING_PREFIX}*"):  # of an export that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=repository) as staging:
                yield Publication(repository, Path(staging))
        except OSError as error:
            if isinstance(error, RepositoryError) or error.errno not in _STORAGE_ERRORS:
                raise
            raise RepositoryError(f"cannot write to {repository}: {error.strerror}; nothing was changed") from error
    finally:
        os.close(lock)


def _move(source: Path, target: Path) -> None:
    """Atomic: both are on one file system."""
    source.replace(target)


_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


def data_files(repository: Path) -> list[Path]:
    """Files of weights beside the engine's graphs, whichever graph names them, from the repository's folder on."""
    return [path.relative_to(repository) for path in (repository / MODEL).parent.glob("model.*.onnx.data")]


def give_usual_mode(path: Path) -> None:
    """Gives a file the permissions of any new file: weights are written readable for their owner alone.

    The server often runs as another user.
    """
    usual = path.with_name(f"{path.name}.mode")
    usual.touch()
    path.chmod(usual.stat().st_mode)
    usual.unlink()


def check_repository(repository: Path) -> None:
    """Raises :class:`RepositoryError` unless the folder holds the configuration of the engine."""
    if not (repository / "acoustic_onnx" / "config.pbtxt").is_file():
        raise RepositoryError(
            f"no model repository at {repository} (acoustic_onnx/config.pbtxt is missing): "
            "copy the folder model_repository from the source, or name it with --repository"
        )
