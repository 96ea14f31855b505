"""Error rates: counts, alignments, the empty reference, intervals."""

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrota_client import ParameterError
from shrota_client.alignment import Edits, Pair, align_words, count_characters
from shrota_client.bootstrap import interval
from shrota_client.report import details, summary, worst
from shrota_client.score import Score, score_texts, score_utterance


def test_counts_and_alignment() -> None:
    alignment = align_words("मेरा नाम राम है यहाँ", "मेरा काम है यहाँ जी")
    assert alignment.edits == Edits(hits=3, substitutions=1, deletions=1, insertions=1)
    assert alignment.edits.rate == 3 / 5
    assert alignment.pairs[0] == Pair("मेरा", "मेरा")
    assert alignment.marked() == "मेरा [-नाम राम-]{+काम+} है यहाँ {+जी+}"


def test_context_shortens_what_is_right() -> None:
    right = "एक दो तीन चार पाँच छह"
    alignment = align_words(f"{right} सात {right} आठ {right}", f"{right} साठ {right} {right}")
    assert alignment.marked(context=2) == "… पाँच छह [-सात-]{+साठ+} एक दो … पाँच छह [-आठ-] एक दो …"
    assert alignment.marked() == f"{right} [-सात-]{{+साठ+}} {right} [-आठ-] {right}"


def test_characters_include_the_space_between_words() -> None:
    assert count_characters("राम है", "रामहै") == Edits(hits=5, deletions=1)
    assert count_characters("चाँद", "चांद") == Edits(hits=3, substitutions=1)


@pytest.mark.parametrize(
    ("hypothesis", "words", "characters"),
    [("", 0.0, 0.0), ("एक", 1.0, 2.0), ("एक दो", 2.0, 5.0)],
)
def test_an_empty_reference_counts_as_one_long(hypothesis: str, words: float, characters: float) -> None:
    utterance = score_utterance("a", "।", hypothesis)
    assert utterance.words.rate == words
    assert utterance.characters.rate == characters
    assert utterance.words.reference_length == 0


def test_over_a_set_an_empty_reference_adds_insertions_and_no_length() -> None:
    score = score_texts([("", "एक"), ("दो तीन चार", "दो तीन चार")])
    assert score.words.value == 1 / 3
    assert score.words.edits == Edits(hits=3, insertions=1)


def test_an_empty_hypothesis_is_all_deletions() -> None:
    assert score_utterance("a", "एक दो", "").words == Edits(deletions=2)


def test_both_texts_are_normalised() -> None:
    assert score_utterance("a", "क\u093cलम, है।", "\u0958लम है").words == Edits(hits=2)


TEXTS = st.lists(st.sampled_from(["एक", "दो", "तीन", "चार"]), max_size=8).map(" ".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_rates_are_jiwers(pairs: list[tuple[str, str]]) -> None:
    score = score_texts(pairs)
    references, hypotheses = [list(side) for side in zip(*pairs, strict=True)]
    assert score.words.value == pytest.approx(jiwer.wer(references, hypotheses))
    assert score.characters.value == pytest.approx(jiwer.cer(references, hypotheses))
    for utterance, (reference, hypothesis) in zip(score.utterances, pairs, strict=True):
        olds = [pair.reference for pair in utterance.alignment.pairs if pair.reference is not None]
        news = [pair.hypothesis for pair in utterance.alignment.pairs if pair.hypothesis is not None]
        assert (" ".join(olds), " ".join(news)) == (reference, hypothesis)


def test_the_worst_come_first() -> None:
    score = score_texts([("एक दो", "एक दो"), ("एक दो", "एक तीन"), ("एक दो", "तीन चार"), ("एक दो तीन", "चार पाँच छह")])
    assert [utterance.name for utterance in score.worst(9)] == ["4", "3", "2"]
    assert [utterance.name for utterance in score.worst(1)] == ["4"]


def test_one_utterance_has_no_interval() -> None:
    assert interval([1], [10]) is None
    assert interval([], []) is None


def test_equal_utterances_have_an_interval_of_no_width() -> None:
    assert interval([1] * 20, [10] * 20) == (0.1, 0.1)


def test_the_interval_is_that_of_the_normal_approximation_for_many_utterances() -> None:
    """The ratio of two sums has a known standard error when all lengths are equal."""
    random = np.random.default_rng(1)
    errors = random.binomial(10, 0.2, 400)
    low, high = interval(errors.tolist(), [10] * 400) or (0.0, 0.0)
    standard_error = errors.std() / 10 / np.sqrt(400)
    assert low == pytest.approx(errors.mean() / 10 - 1.96 * standard_error, abs=5e-4)
    assert high == pytest.approx(errors.mean() / 10 + 1.96 * standard_error, abs=5e-4)


def test_the_seed_fixes_the_interval() -> None:
    errors, lengths = [0, 3, 1, 5, 0, 2], [5, 9, 7, 10, 3, 8]
    assert interval(errors, lengths, seed=3) == interval(errors, lengths, seed=3)
    assert interval(errors, lengths, seed=3, replicates=100) != interval(errors, lengths, seed=4, replicates=100)


def test_counts_and_lengths_belong_together() -> None:
    with pytest.raises(ParameterError, match="2 error counts for 1 reference lengths"):
        interval([1, 2], [3])


def test_the_report_says_every_number() -> None:
    utterances = (
        score_utterance("a.wav", "मेरा नाम राम है", "मेरा काम है", duration=4.0, elapsed_s=0.5),
        score_utterance("b.wav", "एक दो", "एक दो", duration=6.0, elapsed_s=0.25),
    )
    score = Score(utterances)
    assert details(utterances[0]) == (
        "a.wav (4.0 s)\n  transcript  मेरा काम है\n  reference   मेरा नाम राम है\n"
        "  word error rate 50.0 %, character error rate 33.3 %, real-time factor 0.125"
    )
    lines = summary(score, wall_s=1.0).splitlines()
    assert lines[0] == "total: 2 utterances, 10.0 s of audio in 1.0 s: real-time factor 0.100"
    assert lines[1] == (
        "word error rate 33.3 % (95 % interval 0.0 to 50.0 %): 1 substituted, 1 deleted, 0 inserted, of 6 words"
    )
    assert lines[3] == "(intervals: percentile bootstrap over utterances (Bisani & Ney 2004), 10000 replicates, seed 0)"
    assert list(worst(score, 5))[1:] == ["    50.0 %  a.wav", "            मेरा [-नाम राम-]{+काम+} है"]


def test_nothing_wrong_nothing_listed() -> None:
    assert list(worst(score_texts([("एक", "एक")]), 5)) == []
