"""Subtitles from word times: SRT and WebVTT.

Cues keep the limits that Netflix's Timed Text Style Guide sets for Hindi: at most two lines of 42 characters, at most
7 s, at least 5/6 s where the next cue leaves the room, never two at once. A pause of 1 s or more ends a cue. Characters
are counted as they are seen: signs above and below a letter (virama, nukta, chandrabindu, some vowel signs) take no
room of their own.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shrota_client.transcript import Transcript, Word

MAX_LINE_WIDTH = 42
MAX_LINES = 2
MAX_CUE_S = 7.0
MIN_CUE_S = 5 / 6
MAX_PAUSE_S = 1.0


@dataclass(frozen=True)
class Cue:
    """Lines of text that are shown from ``start`` to ``end``, both in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


def width(text: str) -> int:
    """Characters of the text that take room of their own."""
    return sum(unicodedata.category(character) not in {"Mn", "Me", "Cf"} for character in text)


def cues_of(transcript: Transcript) -> list[Cue]:
    """Cues of a transcript; where the server gave no word times, one cue over the whole audio."""
    words: Sequence[Word] = transcript.words
    if not words and transcript.text.strip():
        words = [Word(transcript.text.strip(), 0.0, transcript.duration, transcript.confidence)]
    groups = list(_groups(words))
    cues = []
    for index, group in enumerate(groups):
        start = group[0].start
        limit = groups[index + 1][0].start if index + 1 < len(groups) else float("inf")
        end = min(max(group[-1].end, start + MIN_CUE_S), limit)
        # a cue of no length is not allowed; a millisecond is the smallest one
        cues.append(Cue(start, max(end, start + 1e-3), _break_lines([word.word for word in group])))
    return cues


def _groups(words: Sequence[Word]) -> Iterator[list[Word]]:
    """The words of each cue."""
    group: list[Word] = []
    for word in words:
        if group and (
            word.start - group[-1].end >= MAX_PAUSE_S
            or word.end - group[0].start > MAX_CUE_S
            or not _fits([each.word for each in group] + [word.word])
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _fits(words: list[str]) -> bool:
    """Whether the words fit into the lines of one cue, filled greedily."""
    lines, used = 1, 0
    for word in words:
        room = width(word) + (1 if used else 0)
        if used and used + room > MAX_LINE_WIDTH:
            lines, used = lines + 1, width(word)
        else:
            used += room
    return lines <= MAX_LINES


def _break_lines(words: list[str]) -> tuple[str, ...]:
    """One line where it fits, else two lines as even as they can be."""
    whole = " ".join(words)
    if width(whole) <= MAX_LINE_WIDTH or len(words) == 1:
        return (whole,)
    breaks = [(" ".join(words[:index]), " ".join(words[index:])) for index in range(1, len(words))]
    return min(breaks, key=lambda lines: max(width(line) for line in lines))


def timestamp(seconds: float, separator: str) -> str:
    """``HH:MM:SS,mmm``, to the nearest millisecond; hours may have more than two digits."""
    milliseconds = round(max(0.0, seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{separator}{milliseconds:03}"


def srt(transcript: Transcript) -> str:
    """The transcript as SubRip."""
    blocks = []
    for number, cue in enumerate(cues_of(transcript), start=1):
        times = f"{timestamp(cue.start, ',')} --> {timestamp(cue.end, ',')}"
        blocks.append("\n".join((str(number), times, *cue.lines)) + "\n")
    return "\n".join(blocks)


def vtt(transcript: Transcript) -> str:
    """The transcript as WebVTT (W3C); ``&``, ``<`` and ``>`` are escaped."""
    blocks = ["WEBVTT\n"]
    for cue in cues_of(transcript):
        times = f"{timestamp(cue.start, '.')} --> {timestamp(cue.end, '.')}"
        lines = (line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in cue.lines)
        blocks.append("\n".join((times, *lines)) + "\n")
    return "\n".join(blocks)
