"""SRT and WebVTT from word times."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrota_client import Transcript, Word
from shrota_client.subtitles import MAX_CUE_S, MAX_LINE_WIDTH, cues_of, srt, timestamp, vtt, width


def transcript(words: Sequence[tuple[str, float, float]]) -> Transcript:
    return Transcript(
        text=" ".join(word for word, _, _ in words),
        confidence=0.9,
        duration=words[-1][2] if words else 5.0,
        words=tuple(Word(word, start, end, 0.9) for word, start, end in words),
    )


TWO_CUES = transcript([("मेरा", 0.5, 0.9), ("नाम", 1.0, 1.4), ("राम", 1.5, 2.0), ("है", 3.5, 3.75)])


def test_srt() -> None:
    assert srt(TWO_CUES) == (
        "1\n00:00:00,500 --> 00:00:02,000\nमेरा नाम राम\n"
        "\n"
        # a short cue stays for 5/6 s
        "2\n00:00:03,500 --> 00:00:04,333\nहै\n"
    )


def test_vtt() -> None:
    assert vtt(TWO_CUES) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nमेरा नाम राम\n\n00:00:03.500 --> 00:00:04.333\nहै\n"
    )


def test_vtt_escapes_its_markup() -> None:
    assert "a &lt;b&gt; &amp;amp;" in vtt(transcript([("a", 0, 1), ("<b>", 1, 2), ("&amp;", 2, 3)]))


def test_two_lines_are_as_even_as_they_can_be() -> None:
    words = [("अ" * 9, float(index) / 2, float(index) / 2 + 0.4) for index in range(6)]
    (cue,) = cues_of(transcript(words))
    assert cue.lines == (" ".join(["अ" * 9] * 3),) * 2


def test_a_cue_is_cut_before_the_next_one() -> None:
    first, second = cues_of(transcript([("क" * 42, 0.0, 0.05), ("ख" * 42, 0.05, 0.1), ("ग", 0.4, 2.0)]))
    assert first.end == second.start == 0.4


def test_without_word_times_the_text_is_one_cue() -> None:
    (cue,) = cues_of(Transcript("एक दो", 0.9, 3.0))
    assert (cue.start, cue.end, cue.lines) == (0.0, 3.0, ("एक दो",))


def test_silence_has_no_cues() -> None:
    silence = Transcript("", 1.0, 3.0)
    assert srt(silence) == ""
    assert vtt(silence) == "WEBVTT\n"


@pytest.mark.parametrize(("text", "expected"), [("कि", 2), ("क्", 1), ("हाँ", 2), ("abc", 3), ("", 0)])
def test_signs_above_and_below_take_no_room(text: str, expected: int) -> None:
    assert width(text) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "00:00:00,000"),
        (0.0004, "00:00:00,000"),
        (59.9996, "00:01:00,000"),
        (3599.9999, "01:00:00,000"),
        (7262.0625, "02:01:02,062"),
        (360_000, "100:00:00,000"),
        (-1, "00:00:00,000"),
    ],
)
def test_timestamps(seconds: float, expected: str) -> None:
    assert timestamp(seconds, ",") == expected


@given(st.integers(0, 10**9))
def test_a_timestamp_says_its_milliseconds(milliseconds: int) -> None:
    text = timestamp(milliseconds / 1000, ".")
    match = re.fullmatch(r"(\d\d+):([0-5]\d):([0-5]\d)\.(\d{3})", text)
    assert match
    hours, minutes, seconds, rest = map(int, match.groups())
    assert ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest == milliseconds


@st.composite
def spoken(draw: st.DrawFn) -> Transcript:
    """Words that follow each other, with pauses of any length."""
    words, now = [], 0.0
    for _ in range(draw(st.integers(1, 40))):
        start = now + draw(st.floats(0, 3))
        now = start + draw(st.floats(0.02, 2))
        words.append((draw(st.text("कखगaािँ्", min_size=1, max_size=15)), start, now))
    return transcript(words)


@given(spoken())
def test_cues_keep_every_word_in_order_and_never_overlap(spoken_transcript: Transcript) -> None:
    cues = cues_of(spoken_transcript)
    assert " ".join(line for cue in cues for line in cue.lines) == spoken_transcript.text
    assert all(cue.end > cue.start for cue in cues)
    assert all(one.end <= two.start + 1e-3 for one, two in pairwise(cues))
    assert all(cue.end - cue.start <= MAX_CUE_S + 1e-9 for cue in cues)
    assert all(len(cue.lines) <= 2 for cue in cues)
    assert all(width(line) <= MAX_LINE_WIDTH for cue in cues for line in cue.lines)
