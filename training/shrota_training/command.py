"""How every script of this folder begins and ends on the command line."""

import errno
import os
from collections.abc import Callable
from pathlib import Path


def require(*files: Path) -> None:
    """Find out before anything is written whether all files that a script reads are there.

    Raises:
        FileNotFoundError: One is not.
    """
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def run(name: str, main: Callable[[], None]) -> None:
    """Run a script's main function; a file or folder that is not there is said in one line.

    Raises:
        SystemExit: It is not there; the text names it.
    """
    try:
        main()
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = f"{error.filename} is not there: check the path" if error.filename else str(error)
        raise SystemExit(f"{name}: {reason}") from error
