"""Manifests: JSON lines, one utterance each.

::

    {"audio": "wav/first.wav", "text": "मेरा नाम राम है"}

``audio`` is a path, relative to the folder of the manifest unless it is absolute. ``text`` is the reference, where one
is needed. Other fields may be there and are ignored.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shrota_client.errors import ManifestError

SUFFIXES = frozenset({".jsonl", ".ndjson"})
"""File name endings by which a manifest is told from audio."""


@dataclass(frozen=True)
class Utterance:
    """One line of a manifest.

    Attributes:
        name: ``audio`` as the manifest writes it.
        audio: where the file is.
        text: the reference, or None.
        fields: the whole line.
    """

    name: str
    audio: Path
    text: str | None
    fields: dict[str, Any]


def read_manifest(path: Path, *, need_text: bool = False) -> list[Utterance]:
    """Reads a manifest; empty lines are skipped.

    Raises:
        ManifestError: it cannot be read, is empty, or has a line that is not one; the text says which and why.
    """
    utterances = []
    for place, fields in read_json_lines(path):
        audio, text = fields.get("audio"), fields.get("text")
        if not isinstance(audio, str) or not audio:
            raise ManifestError(f'{place}: there is no "audio" with a path')
        if not (isinstance(text, str) or (text is None and not need_text)):
            raise ManifestError(f'{place}: there is no "text" with the reference')
        utterances.append(Utterance(audio, path.parent / audio, text, fields))
    if not utterances:
        raise ManifestError(f'{path} is empty: write one line {{"audio": "path", "text": "…"}} for each utterance')
    return utterances


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file, each with its place in it ("FILE, line 3").

    Raises:
        ManifestError: the file cannot be read, or a line is no JSON object.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 at byte {error.start}: convert it") from error
    # not splitlines: JSON strings may hold U+2028 and its like
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"{place}: this is not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise ManifestError(f"{place}: this is not a JSON object")
        yield place, fields
