"""The processes of the Python models, Triton's "stubs": which model each serves, and which have died.

Triton ends a stub in good order by waiting for it, so it vanishes. A stub that died by itself stays a zombie: Triton
does not notice, does not start another, and goes on saying that the model is ready.
"""

from collections.abc import Iterable
from pathlib import Path, PurePath

import psutil

from shrota_server.installation import STUB


class StubWatch:
    """Looks at the children of one tritonserver."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._models: dict[int, str] = {}
        self._suspects: set[int] = set()
        self._reported: set[int] = set()

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last look found a stub that the next one may find dead."""
        return not self._suspects.isdisjoint(self._models.keys() - self._reported)

    def find_dead(self) -> list[str]:
        """Models of which a stub has died since the last look; each death is told once.

        A stub counts as dead at the second look that finds it a zombie: one that Triton is about to wait for is one
        for a moment too.
        """
        zombies = set()
        present = set()
        for child in self._children():
            present.add(child.pid)
            try:
                if child.status() == psutil.STATUS_ZOMBIE:
                    zombies.add(child.pid)
                elif child.pid not in self._models and (model := stub_model(child.cmdline())) is not None:
                    self._models[child.pid] = model
            except psutil.Error:
                continue  # gone since
        dead = {pid for pid in zombies & self._suspects if pid in self._models} - self._reported
        self._suspects = zombies
        self._reported |= dead
        for pid in self._models.keys() - present:
            del self._models[pid]
        self._reported &= present
        return sorted({self._models[pid] for pid in dead})

    def _children(self) -> list[psutil.Process]:
        try:
            return list(psutil.Process(self._server_pid).children())
        except psutil.Error:
            return []  # tritonserver itself is gone; somebody else's matter


def stub_model(command_line: Iterable[str]) -> str | None:
    """The model that a stub with this command line serves; None if it is no stub.

    The first argument is the model's file, ``<repository>/<model>/<version>/<file>``.
    """
    words = list(command_line)
    if len(words) < 2 or Path(words[0]).name != STUB:  # noqa: PLR2004 - the program and its first argument
        return None
    parents = PurePath(words[1]).parents
    return parents[1].name if len(parents) > 1 else None
