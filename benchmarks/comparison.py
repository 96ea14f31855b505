"""What a comparison of beam searches measures of each: texts, processor time, how long it keeps Python's lock."""

import itertools
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from benchmarks.log_probs import LogProbs, Spoken
from benchmarks.overhead import seconds
from shrota_client.score import score_texts
from shrota_decoder.segments import segment_starts
from shrota_decoder.vocabulary import Vocabulary

SEGMENT_FRAMES = 1500
Search = Callable[[LogProbs], str]


@dataclass
class Row:
    """One library at one width."""

    library: str
    beam_width: int
    search: Search
    texts: list[str] = field(default_factory=list)
    least_ms: float = math.inf
    least_held: float = math.inf


def segments_of(spoken: Sequence[Spoken], vocabulary: Vocabulary) -> list[list[LogProbs]]:
    """The segments of each sample, as the decoder cuts them."""
    cut = []
    for each in spoken:
        starts = segment_starts(each.log_probs, SEGMENT_FRAMES, vocabulary)
        edges = itertools.pairwise([*starts, each.log_probs.shape[0]])
        cut.append([each.log_probs[start:end].copy() for start, end in edges])
    return cut


def measure(rows: Sequence[Row], segments: Sequence[Sequence[LogProbs]], rounds: int) -> None:
    """Fills in the texts, the least times, and the least share of a search that kept Python's lock."""
    everything = [segment for sample in segments for segment in sample]
    whole = np.concatenate(everything)
    for row in rows:
        row.texts = texts_of(row.search, segments)
    for _ in range(rounds):
        for row in rows:
            started = time.thread_time()
            for segment in everything:
                row.search(segment)
            row.least_ms = min(row.least_ms, 1000 * (time.thread_time() - started))
            row.least_held = min(row.least_held, share_held(partial(row.search, whole)))


def texts_of(search: Search, segments: Sequence[Sequence[LogProbs]]) -> list[str]:
    """The text of each sample."""
    return [" ".join(" ".join(map(search, sample)).split()) for sample in segments]


def share_held(call: Callable[[], object]) -> float:
    """The longest time in a row that another thread waited for Python's lock, as a share of the call's."""
    done = threading.Event()
    longest_s = 0.0

    def tick() -> None:
        nonlocal longest_s
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(1e-4)
            now = time.perf_counter()
            longest_s, last = max(longest_s, now - last), now

    thread = threading.Thread(target=tick)
    thread.start()
    call_s = seconds(call)
    done.set()
    thread.join()
    return min(1.0, longest_s / call_s)


def words_to_take_out(spoken: Sequence[Spoken], heard: Collection[str], count: int) -> list[str]:
    """Of what was heard, the first words of the references that are said once and have more than four characters."""
    said = " ".join(each.text for each in spoken).split()
    rare = [word for word in dict.fromkeys(said) if word in heard and said.count(word) == 1 and len(word) > 4]
    return rare[:count]


def table(rows: Sequence[Row], spoken: Sequence[Spoken]) -> str:
    """The results as a Markdown table."""
    audio_s = sum(each.seconds for each in spoken)
    lines = [
        "| library | beam | word errors | ms per s of audio | share of a search that keeps Python's lock |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        words = score_texts([(each.text, text) for each, text in zip(spoken, row.texts, strict=True)]).words
        lines.append(
            f"| {row.library} | {row.beam_width} | {words.edits.errors} of {words.edits.reference_length} "
            f"| {row.least_ms / audio_s:.3f} | {100 * row.least_held:.0f} % |"
        )
    return "\n".join(lines)
