"""Output formats: what is written for one recording, and for several in one stream."""

import json
from typing import Any, TextIO

from shrota_client.results import Result
from shrota_client.subtitles import srt, vtt

SUFFIXES = {"text": ".txt", "json": ".json", "jsonl": ".jsonl", "srt": ".srt", "vtt": ".vtt"}
"""The formats by name, with the file name ending of each."""

ONE_FILE_EACH = frozenset({"srt", "vtt"})
"""Formats that hold one recording: several cannot share a stream."""

NEED_TIMES = frozenset({"srt", "vtt"})
"""Formats that say when each word was spoken."""


def as_fields(name: str, result: Result) -> dict[str, Any]:
    """A result as a JSON object: ``audio`` and the transcript's fields, or ``audio`` and ``error``."""
    if result.transcript is None:
        return {"audio": name, "error": str(result.error)}
    return {"audio": name, **result.transcript.as_dict()}


def render(output_format: str, name: str, result: Result) -> str:
    """The content of a file for this recording alone; it must have a transcript."""
    transcript = result.unwrap()
    if output_format == "text":
        return transcript.text + "\n"
    if output_format == "srt":
        return srt(transcript)
    if output_format == "vtt":
        return vtt(transcript)
    return json.dumps(as_fields(name, result), ensure_ascii=False, indent=2 if output_format == "json" else None) + "\n"


class StreamWriter:
    """Writes results one after the other to one stream, each as soon as it is there.

    ``text`` is the transcript alone, with the name and a tab before it where there are ``several``; a failed recording
    has no line. ``json`` is one array, ``jsonl`` an object a line; failed recordings are in both, with their ``error``.
    """

    def __init__(self, stream: TextIO, output_format: str, *, several: bool) -> None:
        self._stream = stream
        self._format = output_format
        self._several = several
        self._count = 0

    def write(self, name: str, result: Result) -> None:
        """Adds one result."""
        self._count += 1
        if self._format == "json":
            text = json.dumps(as_fields(name, result), ensure_ascii=False, indent=2)
            self._stream.write(("[\n" if self._count == 1 else ",\n") + text)
        elif self._format == "jsonl":
            self._stream.write(json.dumps(as_fields(name, result), ensure_ascii=False) + "\n")
        elif result.transcript is not None:
            prefix = f"{name}\t" if self._format == "text" and self._several else ""
            self._stream.write(prefix + render(self._format, name, result))
        self._stream.flush()

    def close(self) -> None:
        """Ends the stream, which stays open."""
        if self._format == "json":
            self._stream.write("\n]\n" if self._count else "[]\n")
            self._stream.flush()
