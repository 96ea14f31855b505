"""How every script of this folder begins and ends on the command line."""

import argparse
import errno
import os
from collections.abc import Callable
from pathlib import Path

from shrota_training.rows import RowsError


def require(*files: Path) -> None:
    """Find out before anything is written whether all files that a script reads are there.

    Raises:
        FileNotFoundError: One is not.
    """
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def at_least(least: float, most: float = 1e9) -> Callable[[str], float]:
    """Return what reads a number within bounds from the command line."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            bounds = f"from {least:g} to {most:g}" if most < 1e9 else f"of at least {least:g}"
            raise argparse.ArgumentTypeError(f"{text!r}: give a number {bounds}")
        return number

    return read


def run(name: str, main: Callable[[], None]) -> None:
    """Run a script's main function; a file or folder that is not there, or is broken, is said in one line.

    Raises:
        SystemExit: It is not there, or broken; the text names it.
    """
    try:
        main()
    except RowsError as error:
        raise SystemExit(f"{name}: {error}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = f"{error.filename} is not there: check the path" if error.filename else str(error)
        raise SystemExit(f"{name}: {reason}") from error
