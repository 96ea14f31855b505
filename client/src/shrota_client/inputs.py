"""What a command line names: files, folders, globs, manifests and standard input become a list of recordings."""

import glob
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from shrota_client.errors import AudioError
from shrota_client.manifest import SUFFIXES as MANIFEST_SUFFIXES
from shrota_client.manifest import read_manifest

_SUFFIXES = "aif aifc aiff au caf flac mp3 oga ogg opus rf64 snd sph voc w64 wav wave"
AUDIO_SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())
"""File name endings that a folder is searched for; a file named by itself may have any."""


@dataclass(frozen=True)
class Source:
    """One recording to transcribe.

    Attributes:
        name: what reports and results call it.
        audio: where it is.
        place: path, without an absolute part, that its output gets in a folder, still with the audio's ending.
    """

    name: str
    audio: Path | BinaryIO
    place: PurePath


def find_sources(arguments: Sequence[str]) -> list[Source]:
    """Recordings in the order of the arguments; within a folder or a glob, sorted by path.

    An argument is a file, a folder (searched through, hidden files aside, for known endings), a glob such as
    ``"calls/**/*.wav"``, a manifest (``.jsonl``), or ``-`` for standard input. A file that does not exist is passed on:
    it fails when it is its turn, and costs no other.

    Raises:
        AudioError: a folder or glob without audio, or standard input named twice.
        ManifestError: a manifest that is not one.
    """
    if arguments.count("-") > 1:
        raise AudioError("standard input is named twice: it can be read once")
    return [source for argument in arguments for source in _expand(argument)]


def _expand(argument: str) -> Iterator[Source]:
    path = Path(argument)
    if argument == "-":
        yield Source("-", _standard_input(), PurePath("stdin"))
    elif path.is_dir():
        yield from _search(path)
    elif path.suffix.lower() in MANIFEST_SUFFIXES:
        for utterance in read_manifest(path):
            yield Source(str(utterance.audio), utterance.audio, _inside(utterance.name))
    elif not path.exists() and glob.has_magic(argument):
        matches = sorted(match for match in glob.glob(argument, recursive=True) if Path(match).is_file())  # noqa: PTH207 - pathlib has no absolute patterns
        if not matches:
            raise AudioError(f"no file matches {argument!r}: check the pattern")
        for match in matches:
            yield Source(match, Path(match), _inside(Path(match).name))
    else:
        yield Source(argument, path, PurePath(path.name or argument))


def _standard_input() -> BinaryIO:
    """Everything that standard input gives, read here and now: nothing else can interrupt a read from a pipe."""
    if sys.stdin.isatty():
        raise AudioError("standard input is a terminal: send audio into it, for example `shrota transcribe - < a.wav`")
    content = io.BytesIO(sys.stdin.buffer.read())
    content.name = "standard input"
    return content


def _search(folder: Path) -> Iterator[Source]:
    found = False
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and not name.startswith("."):
                found = True
                yield Source(str(path), path, path.relative_to(folder))
    if not found:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise AudioError(f"the folder {folder} has no audio files (looked for {known})")


def _inside(name: str) -> PurePath:
    """The path without what would lead out of an output folder: a root, ``..``, ``.``."""
    path = PurePath(name)
    parts = [part for part in path.parts if part not in {path.anchor, "..", "."}]
    return PurePath(*parts) if parts else PurePath("audio")
