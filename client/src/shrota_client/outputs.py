"""Where results go: standard output, one file, or a folder with a file for each recording."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from shrota_client.errors import OutputError
from shrota_client.formats import ONE_FILE_EACH, SUFFIXES, StreamWriter, render
from shrota_client.inputs import Source
from shrota_client.results import Result
from shrota_client.writing import STANDARD_OUTPUT, writing


class Output:
    """Takes the results in order; a context manager, which opens and closes what it writes to.

    Args:
        output_format: a key of :data:`shrota_client.formats.SUFFIXES`.
        target: None or ``-`` for standard output, a folder (one that exists, or a path with a slash at its end), or a
            file.
        sources: all recordings, in the order of their results.

    Raises:
        OutputError: several recordings cannot share a file in this format; in the methods as well, the target cannot be
            written.
    """

    def __init__(self, output_format: str, target: str | None, sources: Sequence[Source]) -> None:
        self._format = output_format
        self._target = None if target in {None, "-"} else target
        self._place = self._target or STANDARD_OUTPUT
        self._folder: Path | None = None
        if target is not None and (target.endswith(("/", os.sep)) or Path(target).is_dir()):
            self._folder = Path(target)
        self._several = len(sources) > 1
        if output_format in ONE_FILE_EACH and self._several and self._folder is None:
            raise OutputError(
                f"{output_format} holds one recording: for {len(sources)} of them, give a folder with --output FOLDER/"
            )
        self._names = output_names(sources, SUFFIXES[output_format])
        self._count = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with writing(self._place):
            if self._folder is None:
                self._writer = StreamWriter(self._open(), self._format, several=self._several)
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def _open(self) -> TextIO:
        """The stream that takes all results."""
        if self._target is not None:
            return self._stack.enter_context(_create(Path(self._target)))
        if sys.stdout is None:
            raise OutputError(f"{STANDARD_OUTPUT} is closed: open it, or name a file with --output")
        return sys.stdout

    def write(self, source: Source, result: Result) -> None:
        """Adds one result."""
        name = self._names[self._count]
        self._count += 1
        if self._folder is None:
            with writing(self._place):
                self._writer.write(source.name, result)
        elif result.transcript is not None:
            path = self._folder / name
            text = render(self._format, source.name, result)
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with _create(path) as stream:
                    stream.write(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # what a full disk did not take is still in the file's buffer: closing it fails as well
        with writing(self._place), self._stack:
            if self._folder is None and kind is None:
                self._writer.close()


def output_names(sources: Sequence[Source], suffix: str) -> list[Path]:
    """A path in the output folder for each source, all different.

    The audio's ending is replaced; where two would then be one (``a.wav`` and ``a.mp3``), both keep theirs before the
    new one; and where that is not enough, the later ones are numbered.
    """
    short = [Path(source.place).with_suffix(suffix) for source in sources]
    count = Counter(short)
    full = [Path(f"{source.place}{suffix}") for source in sources]
    names: list[Path] = []
    taken: set[Path] = set()
    for plain, long in zip(short, full, strict=True):
        name = plain if count[plain] == 1 else long
        number = 1
        while name in taken:
            number += 1
            name = long.with_name(f"{long.stem}-{number}{suffix}")
        taken.add(name)
        names.append(name)
    return names


def _create(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n")
