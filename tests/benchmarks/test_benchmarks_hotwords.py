"""Which words count as rare, which names are said, and how hits, misses and false alarms of hotwords are counted."""

import json
from pathlib import Path

import pytest

from benchmarks.decoder_quality import Words, hotword_fields
from benchmarks.hotwords import Lexicon, detect, rare_words, words_not_said
from benchmarks.names import NAMES, NEWS, NOVELS, OTHERS, split_names
from scripts.repository import ROOT
from shrota_client.score import Score, score_utterance
from shrota_client.text import normalize

ARPA = r"""\data\
ngram 1=8
ngram 2=3

\1-grams:
-1.0	<unk>
0	<s>	-0.3
-1.0	</s>
-1.0	काम	-0.3
-2.0	नाम	-0.3
-5.0	हजारीबाग
-5.0	केदारनाथ
-5.0	चाय

\2-grams:
-1.0	<s> काम
-1.0	काम नाम
-1.0	नाम </s>

\3-grams:
-1.0	काम नाम </s>

\end\
"""


@pytest.fixture
def lexicon(tmp_path: Path) -> Lexicon:
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return Lexicon.read(path)


def score(*pairs: tuple[str, str]) -> Score:
    """Of (reference, transcript) pairs, 36 s each."""
    return Score(tuple(score_utterance(str(number), *pair, duration=36.0) for number, pair in enumerate(pairs)))


def test_words_of_the_models_text_stand_in_pairs(lexicon: Lexicon) -> None:
    assert lexicon.words == {"काम", "नाम", "हजारीबाग", "केदारनाथ", "चाय"}
    assert lexicon.words & lexicon.seen == {"काम", "नाम"}


def test_rare_words_are_those_that_the_text_lacks_in_the_model_or_not(lexicon: Lexicon) -> None:
    assert rare_words(["नाम हजारीबाग", "गुमला का काम हजारीबाग"], lexicon) == ["गुमला", "हजारीबाग"]


def test_words_that_are_not_said_come_from_the_model(lexicon: Lexicon) -> None:
    assert words_not_said(["हजारीबाग काम"], lexicon, 2) == ["केदारनाथ", "चाय"]
    assert words_not_said(["हजारीबाग काम"], lexicon, 9) == ["केदारनाथ", "चाय"]
    assert words_not_said(["हजारीबाग केदारनाथ चाय"], lexicon, 1) == []


def test_names_are_said_or_not_by_the_references() -> None:
    said, not_said = split_names(["हजारीबाग से चतरा", "चतरा का काम"])
    assert said == ["चतरा", "हजारीबाग"]
    assert sorted([*said, *not_said]) == NAMES


def test_a_name_is_listed_once_and_can_be_spelled() -> None:
    assert len(NAMES) == len(NEWS) + len(NOVELS) + len(OTHERS)
    vocabulary = json.loads((ROOT / "models" / "hindi-small" / "vocab.json").read_text(encoding="utf-8"))
    assert [name for name in NAMES if normalize(name) != name or not set(name) <= set(vocabulary)] == []


def test_hits_misses_and_false_alarms_of_each_utterance() -> None:
    found = detect(
        score(
            ("गुमला से हजारीबाग", "गुमला से हजारी बाग"),  # one hit, one miss
            ("गुमला गुमला", "गुमला"),  # said twice, heard once
            ("काम", "गुमला काम गुमला"),  # two false alarms
            ("हजारीबाग", "गुमला"),  # a miss and a false alarm
            ("काम", "नाम"),  # nothing of interest
        ),
        ["गुमला", "हजारीबाग"],
    )
    assert found.hits == (1, 1, 0, 0, 0)
    assert found.misses == (1, 1, 0, 1, 0)
    assert found.false_alarms == (0, 0, 2, 1, 0)
    assert found.recall.value == pytest.approx(2 / 5)
    assert found.precision.value == pytest.approx(2 / 5)
    interval = found.recall.interval
    assert interval is not None
    assert 0 <= interval[0] < 2 / 5 < interval[1] <= 1


def test_nothing_heard_has_no_precision() -> None:
    found = detect(score(("गुमला", "गुम"), ("काम", "काम")), ["गुमला"])
    assert found.recall.value == 0
    assert (found.precision.value, found.precision.interval) == (None, None)


def test_false_alarms_of_words_that_nobody_says_are_counted() -> None:
    fields = hotword_fields(score(("गुमला", "गुमला चाय"), ("काम", "चाय")), Words(["गुमला"], ["चाय", "केदारनाथ"]))
    assert (fields["said"], fields["hits"], fields["recall"], fields["precision"]) == (1, 1, 1.0, 1.0)
    assert fields["not_said_false_alarms"] == 2
