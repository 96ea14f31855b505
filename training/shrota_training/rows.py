"""Lists of speech and of what to speak: a file with one JSON object a line, packed with gzip where its name says so."""

import gzip
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class RowsError(ValueError):
    """A file is no such list; the text says which and what is wrong with it."""


def read_rows(path: Path, *names: str, empty: bool = False) -> list[Row]:
    """Read a list.

    Args:
        path: the file.
        names: what every line must have.
        empty: whether it may be.

    Raises:
        RowsError: It is no such list, or an empty one that must not be.
    """
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
    except (ValueError, OSError, EOFError) as error:  # ValueError: neither UTF-8 nor JSON
        raise RowsError(f"{path} holds no lines of JSON: {str(error).splitlines()[0]}") from error
    if not rows and not empty:
        raise RowsError(f"{path} is empty: make it anew")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or any(name not in row for name in names):
            raise RowsError(f"{path}, line {number}: give a JSON object with {', '.join(names)}")
    return rows
