"""Compares two C++ beam searches: ctc-beam-decoder, which the decoder uses, and flashlight-text.

    pip install --constraint constraints.txt flashlight-text
    python -m benchmarks.decoders

Both get the log-probabilities of the bundled checkpoint on the samples in noise as loud as they are, cut into the same
segments, its language model and the same weights. flashlight-text only says words of its lexicon, which here is all
words of the language model. The libraries take turns; what counts is the least processor time of the thread, which
other programs disturb less than the time on the clock.
"""

import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
from flashlight.lib.text.decoder import (
    CriterionType,
    LexiconDecoder,
    LexiconDecoderOptions,
    SmearingMode,
    Trie,
)
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary

from benchmarks.arpa import decoder_without
from benchmarks.comparison import Row, Search, measure, segments_of, table, texts_of, words_to_take_out
from benchmarks.exported import Checkpoint, bundled
from benchmarks.log_probs import LogProbs, Spoken, log_probs_of
from benchmarks.overhead import seconds
from scripts.command import run
from scripts.repository import ROOT
from shrota_decoder.beam import BeamSearch
from shrota_decoder.language_model import find_language_model
from shrota_decoder.settings import read_settings
from shrota_decoder.vocabulary import Vocabulary

WIDTHS = (8, 32, 100)
LM_WEIGHT, WORD_SCORE = 0.5, 1.5
TOKEN_SCORE, BEAM_SCORE = -5.0, 10.0
"""As in ``ctc_decoder/config.pbtxt``: tokens and beams below are dropped. flashlight-text has no bound for tokens."""
UNLISTED = 30
"""Words of the references at most that the language model loses, with all its n-grams of them, for the comparison of
words that it lacks."""


def ours(folder: Path, beam_width: int, hotwords: Collection[str] = ()) -> Search:
    """ctc-beam-decoder, as ``beam.py`` calls it."""
    language_model = find_language_model(folder)
    if language_model is None:
        raise ValueError(f"{folder} holds no language model")
    settings = read_settings({})
    beams = BeamSearch(Vocabulary.read(folder / "vocab.json"), language_model, settings)
    parameters = replace(settings.defaults, beam_width=beam_width, lm_weight=LM_WEIGHT, word_score=WORD_SCORE)
    beams.prepare(parameters)
    boosts = dict.fromkeys(hotwords, parameters.hotword_weight)
    return lambda log_probs: " ".join(beams.search(log_probs, parameters, boosts)[0].words)


class Flashlight:
    """flashlight-text's lexicon decoder with KenLM and all words of the language model."""

    def __init__(self, folder: Path) -> None:
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


def unlisted_words(folder: Path, spoken: Sequence[Spoken], segments: Sequence[Sequence[LogProbs]]) -> list[str]:
    """How many of the words that the language model lacks are found in the samples, in three ways, as lines."""
    heard = set(" ".join(texts_of(ours(folder, 2), segments)).split())
    missing = words_to_take_out(spoken, heard, UNLISTED)
    with tempfile.TemporaryDirectory() as scratch:
        lacking = decoder_without(folder, missing, Path(scratch))
        ways = {
            "ctc-beam-decoder": ours(lacking, 32),
            "ctc-beam-decoder, as hotwords": ours(lacking, 32, missing),
            "flashlight-text": Flashlight(lacking).search(32),
        }
        return [
            f"of {len(missing)} words that the language model lacks, {name} finds "
            f"{len({*missing} & set(' '.join(texts_of(search, segments)).split()))}"
            for name, search in ways.items()
        ]


@click.command()
@click.option("--rounds", type=int, default=15, show_default=True)
def main(*, rounds: int) -> None:
    """Exports the bundled checkpoint and prints the comparison."""
    repository = bundled()
    spoken = log_probs_of(repository, ROOT / "samples" / "manifest.jsonl")
    folder = repository / "ctc_decoder" / "1"
    loading_s = {"ctc-beam-decoder": seconds(lambda: ours(folder, 2)), "flashlight-text": 0.0}
    started = time.perf_counter()
    flashlight = Flashlight(folder)
    loading_s["flashlight-text"] = time.perf_counter() - started
    rows = [
        row
        for width in WIDTHS
        for row in (
            Row("ctc-beam-decoder", width, ours(folder, width)),
            Row("flashlight-text", width, flashlight.search(width)),
        )
    ]
    segments = segments_of(spoken, flashlight.vocabulary)
    measure(rows, segments, rounds)
    versions = {name: version(name) for name in ("ctc-beam-decoder", "flashlight-text", "numpy")}
    print(Checkpoint.of(repository).line())
    print(f"{datetime.now(UTC).date()}; {os.cpu_count()} cores, {platform.machine()}, CPU; {json.dumps(versions)}")
    print(f"loading, s: {json.dumps({name: round(value, 2) for name, value in loading_s.items()})}")
    print("\n".join(unlisted_words(folder, spoken, segments)))
    print(f"\n{table(rows, spoken)}")


if __name__ == "__main__":
    run(main)
