"""``make loadtest``, ``make soak``, ``make overload``: export the checkpoint, then ``shrota loadtest`` with it.

The repository is the demo's own, which is exported again only where the checkpoint or the code has changed.
"""

import argparse
import signal
import sys
from types import FrameType
from typing import NoReturn

from scripts.command import run
from scripts.repository import ROOT, export, shrota

REPOSITORY = ROOT / ".cache" / "demo" / "model_repository"


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Ends on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


def main() -> None:
    """Exports and runs the command; arguments that are not its own go to ``shrota loadtest``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(ROOT / "models" / "hindi-small"))
    arguments, others = parser.parse_known_args()
    signal.signal(signal.SIGTERM, stop)
    export(arguments.checkpoint, REPOSITORY)
    sys.stdout.flush()
    shrota("loadtest", *others, "--repository", str(REPOSITORY))


if __name__ == "__main__":
    run(main)
