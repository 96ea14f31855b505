"""Compares two C++ beam searches: ctc-beam-decoder, which the decoder uses, and flashlight-text.

    pip install --constraint constraints.txt flashlight-text
    python -m benchmarks.decoders

Both get the log-probabilities of the bundled checkpoint on the samples in noise as loud as they are, cut into the same
segments, its language model and the same weights. flashlight-text only says words of its lexicon, which here is all
words of the language model. The libraries take turns; what counts is the least processor time of the thread, which
other programs disturb less than the time on the clock.
"""

import itertools
import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
from flashlight.lib.text.decoder import (
    CriterionType,
    LexiconDecoder,
    LexiconDecoderOptions,
    SmearingMode,
    Trie,
)
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary

from benchmarks.exported import Checkpoint, bundled
from benchmarks.log_probs import LogProbs, Spoken, log_probs_of
from benchmarks.overhead import seconds
from scripts.repository import ROOT
from shrota_client.score import score_texts
from shrota_decoder.beam import BeamSearch
from shrota_decoder.language_model import find_language_model
from shrota_decoder.segments import segment_starts
from shrota_decoder.settings import read_settings
from shrota_decoder.vocabulary import Vocabulary

WIDTHS = (8, 32, 100)
LM_WEIGHT, WORD_SCORE = 0.5, 1.5
TOKEN_SCORE, BEAM_SCORE = -5.0, 10.0
"""As in ``ctc_decoder/config.pbtxt``: tokens and beams below are dropped. flashlight-text has no bound for tokens."""
SEGMENT_FRAMES = 1500
UNLISTED = 30
"""Words of the references that are taken out of the lexicon for the comparison of words that it lacks."""
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


def ours(repository: Path, beam_width: int, unlisted: frozenset[str] = frozenset(), *, boosted: bool = False) -> Search:
    """ctc-beam-decoder, as ``beam.py`` calls it; ``unlisted`` words are unknown, and hotwords if they are boosted."""
    folder = repository / "ctc_decoder" / "1"
    language_model = find_language_model(folder)
    if language_model is None:
        raise ValueError(f"{folder} holds no language model")
    known = tuple(word for word in language_model.words if word not in unlisted)
    settings = read_settings({})
    beams = BeamSearch(Vocabulary.read(folder / "vocab.json"), replace(language_model, words=known), settings)
    parameters = replace(settings.defaults, beam_width=beam_width, lm_weight=LM_WEIGHT, word_score=WORD_SCORE)
    beams.prepare(parameters)
    hotwords = dict.fromkeys(unlisted, parameters.hotword_weight) if boosted else {}
    return lambda log_probs: " ".join(beams.search(log_probs, parameters, hotwords)[0].words)


class Flashlight:
    """flashlight-text's lexicon decoder with KenLM and all words of the language model."""

    def __init__(self, folder: Path, unlisted: frozenset[str] = frozenset()) -> None:
        self.vocabulary = Vocabulary.read(folder / "vocab.json")
        self.words = (folder / "lm.words").read_text(encoding="utf-8").split()
        known = Dictionary()
        for word in (*self.words, "<unk>"):
            known.add_entry(word)
        self.unknown = known.get_index("<unk>")
        self.language_model = KenLM(str(folder / "lm.arpa"), known)
        self.trie = Trie(len(self.vocabulary.tokens), self._delimiter)
        start = self.language_model.start(False)
        for word in self.words:
            if word in unlisted:
                continue
            index = known.get_index(word)
            _, score = self.language_model.score(start, index)
            self.trie.insert([*(self.vocabulary.spell(word) or ()), self._delimiter], index, score)
        self.trie.smear(SmearingMode.MAX)

    @property
    def _delimiter(self) -> int:
        if self.vocabulary.delimiter_id is None:
            raise ValueError("the comparison needs a vocabulary with a delimiter")
        return self.vocabulary.delimiter_id

    def search(self, beam_width: int) -> Search:
        """A search of this width; the language model's log10 made natural, as ctc-beam-decoder does it."""
        options = LexiconDecoderOptions(
            beam_size=beam_width,
            beam_size_token=len(self.vocabulary.tokens),
            beam_threshold=BEAM_SCORE,
            lm_weight=LM_WEIGHT * math.log(10),
            word_score=WORD_SCORE,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconDecoder(
            options, self.trie, self.language_model, self._delimiter, self.vocabulary.blank_id, self.unknown, [], False
        )

        def run(log_probs: LogProbs) -> str:
            best = decoder.decode(log_probs.ctypes.data, *log_probs.shape)[0]
            return " ".join(self.words[word] for word in best.words if word >= 0)

        return run


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


def unlisted_words(repository: Path, spoken: Sequence[Spoken], segments: Sequence[Sequence[LogProbs]]) -> list[str]:
    """How many of the words that the lexicon lacks are found in the samples, in three ways, as lines."""
    greedy = set(" ".join(texts_of(ours(repository, 2), segments)).split())
    said = " ".join(each.text for each in spoken).split()
    rare = [word for word in dict.fromkeys(said) if word in greedy and said.count(word) == 1 and len(word) > 4]
    missing = frozenset(rare[:UNLISTED])
    ways = {
        "ctc-beam-decoder": ours(repository, 32, missing),
        "ctc-beam-decoder, as hotwords": ours(repository, 32, missing, boosted=True),
        "flashlight-text": Flashlight(repository / "ctc_decoder" / "1", missing).search(32),
    }
    return [
        f"of {len(missing)} words that the lexicon lacks, {name} finds "
        f"{len(missing & set(' '.join(texts_of(search, segments)).split()))}"
        for name, search in ways.items()
    ]


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


@click.command()
@click.option("--rounds", type=int, default=15, show_default=True)
def main(*, rounds: int) -> None:
    """Exports the bundled checkpoint and prints the comparison."""
    repository = bundled()
    spoken = log_probs_of(repository, ROOT / "samples" / "manifest.jsonl")
    folder = repository / "ctc_decoder" / "1"
    loading_s = {"ctc-beam-decoder": seconds(lambda: ours(repository, 2)), "flashlight-text": 0.0}
    started = time.perf_counter()
    flashlight = Flashlight(folder)
    loading_s["flashlight-text"] = time.perf_counter() - started
    rows = [
        row
        for width in WIDTHS
        for row in (
            Row("ctc-beam-decoder", width, ours(repository, width)),
            Row("flashlight-text", width, flashlight.search(width)),
        )
    ]
    segments = segments_of(spoken, flashlight.vocabulary)
    measure(rows, segments, rounds)
    versions = {name: version(name) for name in ("ctc-beam-decoder", "flashlight-text", "numpy")}
    print(Checkpoint.of(repository).line())
    print(f"{datetime.now(UTC).date()}; {os.cpu_count()} cores, {platform.machine()}, CPU; {json.dumps(versions)}")
    print(f"loading, s: {json.dumps({name: round(value, 2) for name, value in loading_s.items()})}")
    print("\n".join(unlisted_words(repository, spoken, segments)))
    print(f"\n{table(rows, spoken)}")


if __name__ == "__main__":
    main()
