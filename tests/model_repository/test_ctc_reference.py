"""Beam search against pyctcdecode, the reference implementation, on a thousand inputs, no two of them alike.

Half of them are random, half are what the bundled checkpoint hears in the samples, synthetic speech, in noise as loud
as they are: windows of half a second to a second. The test calls these real. Half of each kind are searched with the
bundled language model.

The reference searches what ``beam.py`` says that it searches: special tokens count as the blank, with a language
model a delimiter behind the last letter does, and marks are attached to the texts that were found; but it gets every
frame, the surely blank ones too. Its own language model is read by Python instead of KenLM.
"""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyctcdecode.language_model
import pytest
from numpy.typing import NDArray
from pyctcdecode import BeamSearchDecoderCTC
from pyctcdecode.alphabet import Alphabet

from shrota_decoder.beam import BeamSearch, Reading
from shrota_decoder.language_model import find_language_model
from shrota_decoder.parameters import Parameters
from shrota_decoder.settings import Settings, read_settings
from shrota_export.checkpoint import find_checkpoint
from shrota_export.loading import load_feature_extractor, load_model
from shrota_export.speech import read_speech
from shrota_export.verification import reference_log_probs
from shrota_testing.marks import with_marks_attached
from shrota_testing.ngram import NGramModel, State
from shrota_testing.repository import ROOT, TOKENS
from shrota_testing.utterances import VOCABULARY

CHECKPOINT = ROOT / "models" / "hindi-small"
DEFAULT = read_settings({})
PATIENT = replace(DEFAULT, token_min_log_prob=-8.0, beam_min_log_prob=-16.0)
"""Gives real speech, of which the recogniser is rather sure, more readings."""
LM_WEIGHT, WORD_SCORE, HOTWORD_WEIGHT = 0.5, 1.5, 8.0
INPUTS = 250
"""of each kind: real and random, with and without a language model"""
KINDS = [(kind, has_lm) for kind in ("real", "random") for has_lm in (False, True)]
TOLERANCE = 1e-3
"""In natural logs, of scores of some ten to hundred: the columns are float32, their sums float64. Two readings whose
scores are that close may change places."""
LOWEST = -50.0
BLANK, DELIMITER = 0, 1

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech() -> Array:
    """What the bundled checkpoint hears in the samples in noise as loud as they are, [frames, 68]."""
    checkpoint = find_checkpoint(str(CHECKPOINT))
    extractor = load_feature_extractor(checkpoint)
    random = np.random.default_rng(3)
    utterances = [
        replace(clean, samples=clean.samples + random.normal(0, clean.samples.std(), clean.samples.size).astype("f4"))
        for clean in read_speech(ROOT / "samples" / "manifest.jsonl", extractor.sampling_rate)
    ]
    return np.concatenate(reference_log_probs(load_model(checkpoint), extractor, utterances))


@pytest.fixture(scope="module")
def model() -> NGramModel:
    """The bundled language model."""
    return NGramModel(CHECKPOINT / "lm.arpa.gz")


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Settings, BeamSearch]]:
    """Ours with each of two settings, and the same language model."""
    folder = tmp_path_factory.mktemp("lm")
    with gzip.open(CHECKPOINT / "lm.arpa.gz") as packed, (folder / "lm.arpa").open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    installed = find_language_model(folder)
    return [(settings, BeamSearch(VOCABULARY, installed, settings)) for settings in (DEFAULT, PATIENT)]


@pytest.fixture(scope="module")
def references(model: NGramModel) -> Iterator[dict[bool, BeamSearchDecoderCTC]]:
    """The reference without and with the language model."""
    labels = ["", " ", *TOKENS[5:]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyctcdecode.language_model, "kenlm", SimpleNamespace(State=State), raising=False)
        weighed = pyctcdecode.language_model.LanguageModel(
            model,
            [word for word in model.words if not word.startswith("<")],
            alpha=LM_WEIGHT,
            beta=WORD_SCORE,
            unk_score_offset=DEFAULT.unknown_word_log10_prob,
        )
        yield {
            has_lm: BeamSearchDecoderCTC(Alphabet(labels, False), weighed if has_lm else None)
            for has_lm in (False, True)
        }


def random_input(random: np.random.Generator, words: list[str]) -> Array:
    """Log-probabilities, [frames, 68], that say some words and leave choices, as a recogniser does in noise."""
    tokens = TOKENS.index("|"), *(TOKENS.index(letter) for letter in "|".join(random.choice(words, 2)))
    path = [each for token in tokens for each in [token] * random.integers(1, 3) + [BLANK] * random.integers(1, 3)]
    logits = random.normal(0, 1.5, (len(path), len(TOKENS)))
    logits[np.arange(len(path)), path] += random.uniform(3, 10, len(path))
    logits[np.arange(len(path)), random.integers(0, len(TOKENS), len(path))] += random.uniform(0, 7, len(path))
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), np.float32)


def window(random: np.random.Generator, speech: Array) -> Array:
    """Half a second to a second of speech, around a frame of which the recogniser is not sure."""
    unsure = np.flatnonzero(speech.max(axis=1) < np.log(0.8))
    while True:
        start = max(0, random.choice(unsure) - random.integers(5, 20))
        cut = speech[start : start + random.integers(25, 50)]
        if (cut.argmax(axis=1) >= 5).any():
            return cut


@pytest.fixture(scope="module")
def inputs(speech: Array, model: NGramModel) -> dict[tuple[str, bool], list[Array]]:
    """The inputs of each kind; what has come before is drawn again, so all are distinct."""
    drawn: dict[tuple[str, bool], dict[bytes, Array]] = {each: {} for each in KINDS}
    words = words_of(model)
    for number, (kind, has_lm) in enumerate(KINDS):
        random = np.random.default_rng([7, number])
        while len(drawn[kind, has_lm]) < INPUTS:
            log_probs = window(random, speech) if kind == "real" else random_input(random, words)
            if not any(log_probs.tobytes() in others for others in drawn.values()):
                drawn[kind, has_lm][log_probs.tobytes()] = log_probs
    return {each: list(values.values()) for each, values in drawn.items()}


def words_of(model: NGramModel) -> list[str]:
    """The language model's words that the tokens can spell."""
    return [word for word in model.words if set(word) <= set(TOKENS[5:])]


def columns_of(log_probs: Array, has_lm: bool) -> Array:
    """Blank, delimiter and letters, [frames, 65]: what the module docstring of ``beam.py`` promises, written anew."""
    blank = np.logaddexp.reduce(log_probs[:, :4].astype(np.float64), axis=1)
    delimiter, letters = log_probs[:, 4].astype(np.float64), log_probs[:, 5:]
    if has_lm:
        says_nothing = np.flatnonzero(log_probs.argmax(axis=1) >= 5)[-1] + 1
        blank[says_nothing:] = np.logaddexp(blank[says_nothing:], delimiter[says_nothing:])
        delimiter[says_nothing:] = LOWEST
    return np.column_stack([blank, delimiter, letters]).astype(np.float32)


def expected_readings(
    reference: BeamSearchDecoderCTC, columns: Array, settings: Settings, options: dict[str, Any]
) -> dict[str, float]:
    """Each reading of the reference and the natural log of its weight.

    The best of several beams with one text; the sum of texts that are one when marks are attached.
    """
    readings: dict[str, float] = {}
    for text, _, _, _, score in reference.decode_beams(
        columns,
        beam_prune_logp=settings.beam_min_log_prob,
        token_min_logp=settings.token_min_log_prob,
        **options,
    ):
        readings[text] = max(readings.get(text, -np.inf), float(score))
    attached: dict[str, list[float]] = {}
    for text, score in readings.items():
        attached.setdefault(with_marks_attached(text), []).append(score)
    return {text: float(np.logaddexp.reduce(scores)) for text, scores in attached.items()}


def test_there_are_a_thousand_distinct_inputs(inputs: dict[tuple[str, bool], list[Array]]) -> None:
    assert len({log_probs.tobytes() for each in inputs.values() for log_probs in each}) == 1000


@pytest.mark.parametrize("has_lm", [False, True], ids=["acoustic", "language model"])
@pytest.mark.parametrize("kind", ["real", "random"])
def test_the_readings_and_scores_are_those_of_the_reference(
    *,
    inputs: dict[tuple[str, bool], list[Array]],
    model: NGramModel,
    searches: list[tuple[Settings, BeamSearch]],
    references: dict[bool, BeamSearchDecoderCTC],
    kind: str,
    has_lm: bool,
) -> None:
    random, words = np.random.default_rng([8, KINDS.index((kind, has_lm))]), words_of(model)
    several = changed = 0
    for number, log_probs in enumerate(inputs[kind, has_lm]):
        settings, search = searches[number // 2 % 2 if kind == "real" else 0]
        width = int(random.choice([2, 8, 20]))
        parameters = Parameters(width, LM_WEIGHT if has_lm else 0.0, WORD_SCORE, n_best=width)
        found = search.search(log_probs, parameters, {})
        hotwords: dict[str, float] = {}
        if number % 2:
            # words that may have been said, and others
            near = [word for reading in found for word in reading.words]
            chosen = [*random.choice(near, min(2, len(near))), *random.choice(words, 3)]
            hotwords = dict.fromkeys(map(str, chosen), HOTWORD_WEIGHT)
            plain, found = found, search.search(log_probs, parameters, hotwords)
            changed += found[0].words != plain[0].words
        options = {"beam_width": width, "hotwords": list(hotwords), "hotword_weight": HOTWORD_WEIGHT}
        expected = expected_readings(references[has_lm], columns_of(log_probs, has_lm), settings, options)
        assert_same(found, expected, f"{kind} input {number}")
        several += len(expected) > 1
    assert several > INPUTS / 3  # the beams are honest: they hold more than one reading
    assert changed > INPUTS / 10  # and the hotwords, which every second input has, count


def assert_same(found: list[Reading], expected: dict[str, float], which: str) -> None:
    """The same readings in the same order, but for what is within the tolerance."""
    scores = {" ".join(reading.words): reading.score for reading in found}
    assert scores.keys() == expected.keys(), which
    assert list(scores.values()) == pytest.approx([expected[text] for text in scores], abs=TOLERANCE), which
    assert expected[" ".join(found[0].words)] >= max(expected.values()) - TOLERANCE, which
