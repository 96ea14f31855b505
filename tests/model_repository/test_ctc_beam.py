"""Beam search: against all paths, with special tokens, a language model and hotwords; and what surrounds it."""

import functools
import itertools
import json
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import shrota_decoder.beam
from benchmarks.comparison import share_held
from shrota_decoder import greedy
from shrota_decoder.beam import BeamSearch, Reading, thin
from shrota_decoder.decoder import Decoder, join
from shrota_decoder.errors import RequestRefusedError, SettingsError
from shrota_decoder.language_model import LanguageModel, find_language_model
from shrota_decoder.parameters import Parameters
from shrota_decoder.result import Result
from shrota_decoder.segments import segment_starts
from shrota_decoder.settings import Settings, read_settings
from shrota_decoder.vocabulary import Vocabulary
from shrota_testing.language_models import write_arpa
from shrota_testing.log_probs import log_probs_of
from shrota_testing.marks import MARKS, with_marks_attached
from shrota_testing.repository import TOKENS
from shrota_testing.utterances import VOCABULARY

SMALL = Vocabulary(("<pad>", "<unk>", "|", "क", "\u093c"), 0, 2, frozenset({0, 1}), 0.02)
UNDELIMITED = Vocabulary(("<pad>", "क", "|", "ख"), 0, None, frozenset({0}), 0.02)
PLAIN = Parameters(beam_width=100)
THOROUGH = replace(read_settings({}), token_min_log_prob=-1000.0, beam_min_log_prob=-1000.0)


def random_log_probs(frames: int, tokens: int, seed: int, spread: float = 2.0) -> NDArray[np.float32]:
    """Log-probabilities, [frames, tokens]."""
    logits = np.random.default_rng(seed).normal(0, spread, (frames, tokens))
    log_probs: NDArray[np.float32] = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    return log_probs


def all_readings(log_probs: NDArray[np.float32], vocabulary: Vocabulary) -> dict[str, float]:
    """Every text and the natural log of its probability: the sum over its paths; written without our code."""
    scores: dict[str, list[float]] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=log_probs.shape[0]):
        joined = [token for token, _ in itertools.groupby(0 if t in vocabulary.special_ids else t for t in path)]
        spaced = "".join(
            " " if token == vocabulary.delimiter_id else vocabulary.tokens[token] for token in joined if token
        )
        score = float(log_probs[np.arange(len(path)), path].sum(dtype=np.float64))
        scores.setdefault(with_marks_attached(spaced), []).append(score)
    return {text: float(np.logaddexp.reduce(values)) for text, values in scores.items()}


def decoder_with(folder: Path, words: Mapping[str, float] | None = None, settings: Settings | None = None) -> Decoder:
    """A decoder with the vocabulary of IndicWav2Vec-Hindi and a unigram model."""
    if words is not None:
        write_arpa(folder / "lm.arpa", words)
    return Decoder(VOCABULARY, find_language_model(folder), settings or read_settings({}))


@functools.cache
def decoder_in_segments(*, with_lm: bool) -> Decoder:
    """A decoder whose segments are a second, 50 frames."""
    settings_of_it = replace(read_settings({}), segment_seconds=1.0)
    with tempfile.TemporaryDirectory() as folder:
        decoder = decoder_with(Path(folder), {"कम": -1.0, "कि": -2.0} if with_lm else None, settings_of_it)
        decoder.prepare(replace(PLAIN, lm_weight=0.1))
    return decoder


def text_of(decoder: Decoder, log_probs: NDArray[np.float32], **values: Any) -> str:
    """The text that a beam of 100 gives, with other request parameters."""
    parameters = decoder.read_parameters({"beam_width": 100, **values})
    decoder.prepare(parameters)
    return decoder.decode(log_probs, 100.0, parameters).text


@pytest.mark.parametrize("vocabulary", [SMALL, UNDELIMITED])
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_weighs_every_reading_as_the_sum_of_all_its_paths(
    vocabulary: Vocabulary, frames: int, seed: int
) -> None:
    log_probs = random_log_probs(frames, len(vocabulary.tokens), seed)
    expected = all_readings(log_probs, vocabulary)
    found = BeamSearch(vocabulary, None, THOROUGH).search(log_probs, Parameters(beam_width=10_000, n_best=10_000), {})
    assert found[0].words == tuple(max(expected, key=lambda text: expected[text]).split())
    scores = {" ".join(reading.words): reading.score for reading in found}
    assert set(expected) <= set(scores)
    assert [scores[text] for text in expected] == pytest.approx(list(expected.values()), abs=1e-4)
    # what is impossible may be listed behind: a delimiter where the vocabulary has none
    assert all(scores[text] < -30 for text in set(scores) - set(expected))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("_", ""),
        ("____", ""),
        ("|||", ""),
        ("क", "क"),
        ("ककक", "क"),
        ("क_क", "कक"),
        ("||क||म||", "क म"),
        ("|_|क|_|म|_|", "क म"),
        ("क़", "क़"),
        ("क_़_", "क़"),
        ("क्ष|कि", "क्ष कि"),
        ("_____का__ंँ_____", "कांँ"),
        ("क|\u093cम", "क\u093cम"),
        ("म|क_|_ि|क", "म कि क"),
        ("|ि_|क", "ि क"),
    ],
)
@pytest.mark.parametrize("with_lm", [False, True])
def test_repeats_blanks_delimiters_and_marks(tmp_path: Path, path: str, text: str, with_lm: bool) -> None:
    """With a language model too, whose only word is not said here."""
    decoder = decoder_with(tmp_path, {"राम": -1.0} if with_lm else None)
    parameters = PLAIN if not with_lm else replace(PLAIN, lm_weight=0.1)
    decoder.prepare(parameters)
    log_probs = log_probs_of(path)
    result = decoder.decode(log_probs, 100.0, parameters)
    assert result.text == text
    assert result == greedy.decode(log_probs, 100.0, VOCABULARY)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("__||कम" + MARKS), min_size=1, max_size=60), st.integers(0, 10_000), st.booleans())
def test_no_word_begins_with_a_mark_that_has_something_to_join(path: list[str], seed: int, with_lm: bool) -> None:
    """In text, words and alternatives, across segments too, where the recogniser is unsure of everything."""
    decoder = decoder_in_segments(with_lm=with_lm)
    log_probs = log_probs_of("".join(path)) + random_log_probs(len(path), len(TOKENS), seed, spread=3.0)
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    parameters = replace(PLAIN, beam_width=8, n_best=8, lm_weight=0.1)
    result = decoder.decode(log_probs, 100.0, parameters)
    texts = [result.text, *(each.text for each in result.alternatives)]
    assert texts[0] == texts[1]
    assert [with_marks_attached(text) for text in texts] == texts
    assert [word.word for word in result.words] == result.text.split()
    assert len(set(texts[1:])) == len(result.alternatives)


def test_marks_are_joined_across_segments() -> None:
    """Each half of a word in a segment of its own: 50 frames are one."""
    path = "_" * 30 + "क" + "_" * 18 + "|" + "ि_|म" + "_" * 30
    assert segment_starts(log_probs_of(path), 50, VOCABULARY) == [0, 50]
    result = decoder_in_segments(with_lm=False).decode(log_probs_of(path), 100.0, replace(PLAIN, n_best=2))
    assert result.text == result.alternatives[0].text == "कि म"
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == pytest.approx([0.6, 1.02, 1.06, 1.08])


def test_readings_that_become_one_have_the_sum_of_their_weights(tmp_path: Path) -> None:
    """What the language model says of a word and of a mark by itself is weighed as it was found."""
    log_probs = log_probs_of("_क1ि_", _1="_|")
    for search, parameters in (
        (BeamSearch(VOCABULARY, None, THOROUGH), PLAIN),
        (decoder_with(tmp_path, {"कि": -1.0}, THOROUGH).beams, replace(PLAIN, lm_weight=0.01, word_score=0.0)),
    ):
        search.prepare(parameters)
        best = search.search(log_probs, parameters, {})[0]
        assert best.words == ("कि",)
        # log10 as in write_arpa: the word, or two unknown ones, and the end
        known, unknown, end = -1.0, -5.0 + THOROUGH.unknown_word_log10_prob, -1.0
        factor = parameters.lm_weight * np.log(10) if search.language_model else 0.0
        whole, parted = np.log(0.52) + factor * (known + end), np.log(0.47) + factor * (2 * unknown + end)
        assert best.score == pytest.approx(np.logaddexp(whole, parted), abs=0.06)


def test_no_frame_is_an_empty_text() -> None:
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    assert decoder.decode(np.zeros((0, 68), np.float32), 0.01, PLAIN) == Result(0.0, 0.01, ())


def test_impossible_frames_are_no_reason_to_fail() -> None:
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    log_probs = log_probs_of("क_म")
    log_probs[log_probs < -5] = -np.inf
    assert decoder.decode(log_probs, 1.0, PLAIN).text == "कम"
    log_probs[1] = -np.inf
    assert np.isfinite(decoder.decode(log_probs, 1.0, PLAIN).confidence)


@pytest.mark.parametrize("seed", range(10))
def test_special_tokens_are_never_said(seed: int) -> None:
    log_probs = random_log_probs(40, 68, seed)
    log_probs[:, 1:4] += 3
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    result = decoder.decode(log_probs, 100.0, replace(PLAIN, n_best=50))
    letters = {*TOKENS[5:], " "}
    for text in (result.text, *(each.text for each in result.alternatives)):
        assert set(text) <= letters


def test_a_special_token_parts_repeats_as_in_greedy_decoding() -> None:
    log_probs = log_probs_of("क_क")
    log_probs[1] = np.roll(log_probs[1], 3)  # <unk> in the blank's place
    assert Decoder(VOCABULARY, None, read_settings({})).decode(log_probs, 1.0, PLAIN).text == "कक"


@pytest.mark.parametrize("seed", range(20))
def test_frames_that_are_left_out_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    log_probs = random_log_probs(80, 68, seed, spread=3.0)
    log_probs[random.random(80) < 0.8, 0] += 20
    search = BeamSearch(VOCABULARY, None, read_settings({}))
    parameters = replace(PLAIN, n_best=10)
    fast = search.search(log_probs, parameters, {"काम": 5.0})
    lengths = []

    def keep_all(columns: NDArray[np.float32], token_min_log_prob: float) -> tuple[NDArray[np.float32], float]:
        lengths.append(thin(columns, token_min_log_prob)[0].shape[0])
        return columns, 0.0

    monkeypatch.setattr(shrota_decoder.beam, "thin", keep_all)
    slow = search.search(log_probs, parameters, {"काम": 5.0})
    assert lengths[0] < 60
    assert [reading.words for reading in fast] == [reading.words for reading in slow]
    assert [reading.score for reading in fast] == pytest.approx([reading.score for reading in slow], abs=1e-3)


@pytest.mark.parametrize("with_lm", [False, True])
def test_a_search_does_not_keep_pythons_lock(tmp_path: Path, with_lm: bool) -> None:
    """So searches of several requests run side by side in threads, and a process answers meanwhile."""
    search = decoder_with(tmp_path, {"काम": -1.0, "नाम": -3.0} if with_lm else None).beams
    parameters = Parameters(beam_width=200, lm_weight=0.5)
    prepared = search.prepare(parameters)
    log_probs = random_log_probs(500, len(TOKENS), 0)
    # tried again on a machine that is busy; what keeps the lock keeps it for all of the search, each time
    assert any(share_held(lambda: search.search(log_probs, parameters, {}, prepared)) < 0.5 for _ in range(10))


def test_the_language_model_decides_what_the_audio_leaves_open(tmp_path: Path) -> None:
    decoder = decoder_with(tmp_path, {"काम": -1.0, "नाम": -3.0})
    log_probs = log_probs_of("_1_ा_म__", _1="नक")
    assert text_of(decoder, log_probs, lm_weight=0) == "नाम"
    assert text_of(decoder, log_probs) == "काम"


def test_the_score_of_words_weighs_many_against_few(tmp_path: Path) -> None:
    decoder = decoder_with(tmp_path, {"का": -2.0, "म": -2.0, "काम": -2.0})
    log_probs = log_probs_of("_क_ा_1_म__", _1="|_")
    assert text_of(decoder, log_probs, word_score=-5) == "काम"
    assert text_of(decoder, log_probs, word_score=10) == "का म"


@pytest.mark.parametrize("path", ["____", "_|__|_", "|||"])
def test_silence_stays_silence_with_a_language_model(tmp_path: Path, path: str) -> None:
    """The library charges an empty text for an unknown word, which any word of the model's would undercut."""
    decoder = decoder_with(tmp_path, {"क": -0.1})
    log_probs = log_probs_of(path)
    log_probs[:, TOKENS.index("क")] = np.log(0.02)
    assert text_of(decoder, log_probs, lm_weight=2, word_score=5) == ""


@pytest.mark.parametrize("seed", range(4))
def test_the_score_of_silence_is_that_of_all_paths_without_a_letter(tmp_path: Path, seed: int) -> None:
    log_probs = random_log_probs(5, len(SMALL.tokens), seed)
    log_probs[:, :3] += 8
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    search = BeamSearch(SMALL, find_language_model(write_arpa(tmp_path / "lm.arpa", {"क": -0.1}).parent), THOROUGH)
    expected = all_readings(log_probs, SMALL)[""]
    assert expected < -5e-4
    for lm_weight in (0.0, 2.0):
        found = search.search(log_probs, Parameters(beam_width=100, lm_weight=lm_weight, n_best=100), {})
        assert found[0].words == ()
        assert found[0].score == pytest.approx(expected, abs=1e-4)
        assert (len(found) == 1) == (lm_weight > 0)


def test_alternatives_of_silence_and_speech_are_weighed_by_the_silence_too(tmp_path: Path) -> None:
    """A second of each: the score of the whole is the sum of both."""
    decoder = decoder_with(tmp_path, {"काम": -1.0}, replace(read_settings({}), segment_seconds=1.0))
    parameters = decoder.read_parameters({"beam_width": 10, "n_best": 3})
    speech, silence = log_probs_of("_" * 22 + "_क_ा_म_" + "_" * 20 + "|"), random_log_probs(50, len(TOKENS), 0)
    silence[:, 0] += 12
    silence -= np.logaddexp.reduce(silence, axis=1, keepdims=True)
    scores = {
        whole: decoder.decode(np.concatenate(parts), 100.0, parameters).alternatives[0].score
        for whole, parts in (("speech", [speech]), ("silence", [silence]), ("both", [speech, silence]))
    }
    assert scores["silence"] == pytest.approx(np.logaddexp.reduce(silence[:, :5], axis=1).sum(), abs=1e-4)
    assert scores["both"] == pytest.approx(scores["speech"] + scores["silence"], abs=1e-3)


def test_a_delimiter_at_the_end_does_not_ask_for_another_word(tmp_path: Path) -> None:
    decoder = decoder_with(tmp_path, {"काम": -1.0, "ह": -1.0})
    log_probs = log_probs_of("_क_ा_म_|__")
    log_probs[-1, TOKENS.index("ह")] = np.log(0.02)
    assert text_of(decoder, log_probs) == "काम"


def test_a_hotword_wins_a_near_tie_and_leaves_an_unrelated_utterance_alone() -> None:
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    near = log_probs_of("_1_ा_म__", _1="नक")
    unrelated = log_probs_of("_ह_र_ी_|_घ_ा_स_")
    assert text_of(decoder, near) == "नाम"
    assert text_of(decoder, near, hotwords="काम") == "काम"
    assert text_of(decoder, near, hotwords="काम", hotword_weight=0) == "नाम"
    assert text_of(decoder, unrelated, hotwords="काम") == text_of(decoder, unrelated) == "हरी घास"


def test_each_hotword_may_have_its_own_boost() -> None:
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    log_probs = log_probs_of("_1_ा_म__", _1="नक")
    assert text_of(decoder, log_probs, hotwords="नाम:1,काम:5") == "काम"
    assert text_of(decoder, log_probs, hotwords="नाम:5,काम:1") == "नाम"
    assert text_of(decoder, log_probs, hotwords='[{"word": "काम", "boost": 5}, "राम"]', hotword_weight=20) == "काम"
    search = BeamSearch(VOCABULARY, None, read_settings({}))
    readings = search.search(log_probs, replace(PLAIN, n_best=2), {"नाम": 5.0, "काम": 1.0})
    unboosted = search.search(log_probs, replace(PLAIN, n_best=2), {})
    assert [reading.words for reading in readings] == [("नाम",), ("काम",)]
    gained = [left.score - right.score for left, right in zip(readings, unboosted, strict=True)]
    assert gained == pytest.approx([5.0, 1.0])


def test_a_hotword_with_a_nukta_is_found_in_either_spelling() -> None:
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    log_probs = log_probs_of("_क_1_ल_म_", _1="_\u093c")
    assert text_of(decoder, log_probs) == "कलम"
    for hotword in ("\u0958लम", "क\u093cलम"):
        assert text_of(decoder, log_probs, hotwords=hotword) == "क\u093cलम"


def test_alternatives_are_the_best_readings_with_the_logs_of_their_probabilities() -> None:
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    log_probs = log_probs_of("_1_ा_म__", _1="नक")
    content = json.loads(decoder.decode(log_probs, 1.0, replace(PLAIN, n_best=2)).to_json())
    assert content["text"] == "नाम"
    assert [each["text"] for each in content["alternatives"]] == ["नाम", "काम"]
    expected = [np.log(0.52), np.log(0.47)]
    assert [each["score"] for each in content["alternatives"]] == pytest.approx(expected, abs=0.02)
    assert json.loads(decoder.decode(log_probs, 1.0, PLAIN).to_json())["alternatives"] == []


def test_words_can_be_left_out() -> None:
    result = Decoder(VOCABULARY, None, read_settings({})).decode(log_probs_of("_क_|_म_"), 1.0, PLAIN)
    assert len(json.loads(result.to_json())["words"]) == 2
    without = json.loads(result.to_json(words=False))
    assert (without["text"], without["words"]) == ("क म", [])


@pytest.mark.parametrize("seed", range(20))
def test_times_are_monotonic_and_within_the_audio(seed: int) -> None:
    decoder = Decoder(VOCABULARY, None, replace(read_settings({}), segment_seconds=1.0))
    log_probs = random_log_probs(120, 68, seed, spread=4.0)
    log_probs[::3, 0] += 8
    duration = 2.3
    result = decoder.decode(log_probs, duration, replace(PLAIN, beam_width=10))
    edges = [0.0, *(edge for word in result.words for edge in (word.start, word.end))]
    assert len(edges) > 3
    assert edges == sorted(edges)
    assert edges[-1] <= duration
    assert all(0 < word.confidence <= 1 for word in result.words)


def test_long_audio_is_cut_between_words_and_loses_none() -> None:
    path = "|".join(["_क_ा_म_", "_न_ा_म_", "__र_ा_म___", "_घ_ा_स_"] * 5)
    log_probs = log_probs_of(path)
    starts = segment_starts(log_probs, 50, VOCABULARY)
    assert len(starts) > 3
    assert all(path[start - 1] == "|" for start in starts[1:])
    assert max(np.diff([*starts, len(path)])) <= 50
    decoder = Decoder(VOCABULARY, None, replace(read_settings({}), segment_seconds=1.0))
    assert decoder.decode(log_probs, 100.0, PLAIN) == greedy.decode(log_probs, 100.0, VOCABULARY)
    unsure = log_probs_of(path.replace("र", "1"), _1="रन")
    result = decoder.decode(unsure, 100.0, replace(PLAIN, n_best=3))
    assert result.text == greedy.decode(log_probs, 100.0, VOCABULARY).text
    assert [each.text.replace("नाम", "राम") for each in result.alternatives] == [result.text.replace("नाम", "राम")] * 3
    assert [each.text.split().count("राम") for each in result.alternatives] == [5, 4, 4]


@pytest.mark.parametrize("wide_first", [True, False])
def test_the_widest_pause_of_the_second_half_is_chosen(wide_first: bool) -> None:
    pauses = ("___|____", "_|_") if wide_first else ("_|_", "___|____")
    path = f"क____|____म{'कम' * 10}{pauses[0]}का{pauses[1]}{'मक' * 20}"
    cut = path.index("___|____", 20) + 4
    assert segment_starts(log_probs_of(path), 50, VOCABULARY)[1] == cut


def test_audio_without_a_pause_is_cut_all_the_same() -> None:
    path = "कम" * 60
    assert segment_starts(log_probs_of(path), 50, VOCABULARY) == [0, 50, 100]
    undelimited = np.log(np.array([[0.01, 0.97, 0.01, 0.01], [0.97, 0.01, 0.01, 0.01]] * 40, np.float32))
    decoder = Decoder(UNDELIMITED, None, replace(read_settings({}), segment_seconds=1.0))
    assert decoder.decode(undelimited, 10.0, PLAIN).text == "क" * 40


def test_readings_of_segments_are_joined_best_first() -> None:
    first = [Reading(("a",), -1.0), Reading(("b",), -2.0)]
    second = [Reading(("c", "d"), -1.0), Reading((), -1.5)]
    joined = join([first, second], 3, spaced=True)
    assert joined == [Reading(("a", "c", "d"), -2.0), Reading(("a",), -2.5), Reading(("b", "c", "d"), -3.0)]
    assert join([first, second], 1, spaced=False) == [Reading(("acd",), -2.0)]
    # what two ways of cutting say alike is one reading
    again = [Reading(("a", "c"), -1.2), Reading(("a",), -1.0)], [Reading(("c",), -1.0), Reading((), -2.0)]
    assert join(list(again), 3, spaced=True) == [
        Reading(("a", "c"), -2.0),
        Reading(("a", "c", "c"), -2.2),
        Reading(("a",), -3.0),
    ]


def test_without_the_library_greedy_decoding_works_and_a_beam_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrota_decoder.beam, "ctc_beam_decoder", None)
    decoder = decoder_with(tmp_path, {"काम": -1.0})
    decoder.preload()
    assert decoder.decode(log_probs_of("काम"), 1.0, decoder.read_parameters({})).text == "काम"
    with pytest.raises(RequestRefusedError, match="`pip install ctc-beam-decoder` into the server's Python"):
        decoder.prepare(PLAIN)


@pytest.mark.parametrize("values", [{"lm_weight": 0.5}, {"word_score": 1}])
def test_a_weight_for_a_language_model_that_is_not_there_is_refused(values: dict[str, float]) -> None:
    decoder = Decoder(VOCABULARY, None, read_settings({}))
    with pytest.raises(RequestRefusedError, match="install one with `shrota export lm FILE`, or leave them out"):
        decoder.prepare(decoder.read_parameters({"beam_width": 2, **values}))
    decoder.prepare(decoder.read_parameters({"beam_width": 2, "lm_weight": 0}))
    decoder.prepare(decoder.read_parameters({"beam_width": 2, "word_score": 0}))
    decoder.prepare(decoder.read_parameters({"beam_width": 2}))


def test_the_language_model_is_loaded_once_for_each_pair_of_weights_and_a_few_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_with(tmp_path, {"काम": -1.0}, replace(read_settings({}), lm_copies=2))
    loaded: list[float] = []
    original = BeamSearch._load

    def load(search: BeamSearch, weights: tuple[float, float] | None) -> Any:
        loaded.append(weights[0] if weights else 0.0)
        return original(search, weights)

    monkeypatch.setattr(BeamSearch, "_load", load)
    for lm_weight in (0.5, 0.501, 0.25, 0.5, 0.75, 0, 0.5, 0.25):
        decoder.prepare(decoder.read_parameters({"beam_width": 2, "lm_weight": lm_weight}))
    assert loaded == [0.5, 0.25, 0.75, 0.0, 0.25]


class Tracked:
    """A decoder of the library's that can be counted while it is in memory."""

    alive: ClassVar["weakref.WeakSet[Tracked]"] = weakref.WeakSet()

    def __init__(self, decoder: Any, lm_weight: float) -> None:
        self.decode_beams = decoder.decode_beams
        self.lm_weight = lm_weight
        self.alive.add(self)


def test_a_request_keeps_its_copy_for_all_its_segments_and_rows_though_others_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory are then the copies that are kept and those in use, no more."""
    settings_of_it = replace(read_settings({}), segment_seconds=1.0, lm_copies=1)
    decoder = decoder_with(tmp_path, {"काम": -1.0}, settings_of_it)
    loaded: list[float] = []
    original = BeamSearch._load

    def load(search: BeamSearch, weights: tuple[float, float] | None) -> Any:
        assert weights is not None
        loaded.append(weights[0])
        return Tracked(original(search, weights), weights[0])

    monkeypatch.setattr(BeamSearch, "_load", load)
    ours, others = (decoder.read_parameters({"beam_width": 2, "lm_weight": weight}) for weight in (0.5, 0.25))
    in_memory = []

    def others_come_between() -> bool:
        decoder.prepare(others)
        in_memory.append(sorted(each.lm_weight for each in Tracked.alive))
        return False

    log_probs = log_probs_of("_क_ा_म_|" * 20)
    expected = greedy.decode(log_probs, 100.0, VOCABULARY)
    prepared = decoder.prepare(ours)
    for _ in range(2):
        assert decoder.decode(log_probs, 100.0, ours, others_come_between, prepared) == expected
    assert loaded == [0.5, 0.25]
    del prepared
    assert [each.lm_weight for each in Tracked.alive] == [0.25]
    assert decoder.decode(log_probs, 100.0, ours, others_come_between) == expected  # it looks it up once by itself
    assert loaded == [0.5, 0.25, 0.5, 0.25]
    assert in_memory == [[0.25, 0.5]] * len(in_memory)
    assert len(in_memory) > 9


def test_a_language_model_that_was_replaced_is_not_mixed_with_the_words_of_the_old_one(tmp_path: Path) -> None:
    decoder = decoder_with(tmp_path, {"काम": -1.0})
    decoder.prepare(decoder.read_parameters({"beam_width": 2, "lm_weight": 0.5}))
    write_arpa(tmp_path / "new.arpa", {"नाम": -1.0, "काम": -2.0}).replace(tmp_path / "lm.arpa")
    decoder.prepare(decoder.read_parameters({"beam_width": 2, "lm_weight": 0.5}))
    with pytest.raises(SettingsError, match=r"lm\.arpa was replaced: restart the server"):
        decoder.prepare(decoder.read_parameters({"beam_width": 2, "lm_weight": 0.75}))


def test_words_are_read_from_the_file_beside_it_or_the_arpa_itself(tmp_path: Path) -> None:
    assert find_language_model(tmp_path) is None
    path = write_arpa(tmp_path / "lm.arpa", {"काम": -1.0, "नाम": -2.0})
    assert find_language_model(tmp_path) == LanguageModel(path, ("काम", "नाम"))
    (tmp_path / "lm.words").write_text("काम\n", encoding="utf-8")
    assert find_language_model(tmp_path) == LanguageModel(path, ("काम",))


def test_a_language_model_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "lm.binary").write_bytes(b"mmap lm")
    with pytest.raises(
        SettingsError, match=r"lm\.words is missing: install the model with `shrota export lm lm.binary`"
    ):
        find_language_model(tmp_path)
    (tmp_path / "lm.words").write_text("काम\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"the beam search cannot be set up: could not load language model"):
        Decoder(VOCABULARY, find_language_model(tmp_path), read_settings({})).preload()
    (tmp_path / "lm.arpa").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"several language models \(lm\.arpa, lm\.binary\): remove all but one"):
        find_language_model(tmp_path)
    (tmp_path / "lm.binary").unlink()
    (tmp_path / "lm.words").unlink()
    with pytest.raises(SettingsError, match="has no words: install a KenLM model"):
        find_language_model(tmp_path)
