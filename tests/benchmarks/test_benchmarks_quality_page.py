"""What the page of ``benchmarks.decoder_quality`` says of its numbers, so that nobody reads more into them."""

from typing import Any

from benchmarks.quality_page import page

RATES: dict[str, Any] = {
    "word_error_rate": 0.1,
    "word_error_rate_interval": [0.05, 0.15],
    "character_error_rate": 0.02,
    "character_error_rate_interval": [0.01, 0.03],
}
DETECTION: dict[str, Any] = {
    "said": 10,
    "hits": 8,
    "false_alarms": 2,
    "recall": 0.8,
    "recall_interval": [0.6, 1.0],
    "precision": 0.8,
    "precision_interval": [0.6, 1.0],
    "not_said_false_alarms": 13,
}
LISTS = {"said": ["क"], "not_said": ["ख", "ग"]}


def content(name: str, *boosts: tuple[float, list[float] | None], **fields: Any) -> dict[str, Any]:
    """A measured set of 6.6 minutes, and (word error rate, interval) of each boost on 3 minutes."""
    rows = [
        {
            **RATES,
            **DETECTION,
            "hotword_weight": 2.0 * number,
            "word_error_rate": rate,
            "word_error_rate_interval": bounds,
        }
        for number, (rate, bounds) in enumerate(boosts, 1)
    ]
    measured = {
        "name": name,
        "utterances": 5,
        "duration": 396.0,
        "hotwords": LISTS,
        "ways": {"beam": RATES | DETECTION},
    }
    return {
        "checkpoint": {"name": "tiny", "sha256": "0123456789abcdef"},
        "development": {
            "name": "development",
            "utterances": 3,
            "duration": 180.0,
            "beam_width": 10,
            "trials": [],
            "greedy": RATES,
            "without_language_model": RATES,
            "best": {**RATES, "lm_weight": 0.5, "word_score": 1},
            "cautions": [],
            "hotword_weights": rows,
        },
        "hotword_weight": 2.0,
        "sets": [measured | fields],
    }


def test_false_alarms_are_counts_with_the_length_of_their_set() -> None:
    text = page(content("stations", (0.1, [0.05, 0.15])), "a machine")
    assert "8 of 10 | 13 in 6.6 minutes |" in text
    assert "8 of 10 | 13 in 3.0 minutes |" in text
    assert "an hour" not in text


def test_the_gain_on_phrases_of_the_models_own_books_is_called_optimistic() -> None:
    words = "The phrases of test-set are from the books that the bundled language model's text is from"
    assert words in page(content("test-set", (0.1, None)), "a machine")
    assert "optimistic" not in page(content("stations", (0.1, None)), "a machine")


def test_a_boost_among_overlapping_intervals_is_no_significant_choice() -> None:
    near, far = (0.12, [0.08, 0.2]), (0.3, [0.25, 0.4])
    best = (0.1, [0.06, 0.14])
    said = "overlap with that of the best: the choice among them is not significant"
    assert f"The intervals of all others {said}" in page(content("a", near, best), "a machine")
    assert f"The intervals of 1 of 2 others {said}" in page(content("a", best, near, far), "a machine")
    assert "No other boost's interval overlaps" in page(content("a", best, far), "a machine")


def test_names_have_a_table_where_some_are_said() -> None:
    row = "| stations | 1 + 2 | beam, names | 10.0 % (5.0 to 15.0) | 80.0 % (60.0 to 100.0), 8 of 10 |"
    ways = {"beam, names": RATES | DETECTION}
    assert row in page(content("stations", (0.1, None), names=LISTS, name_ways=ways), "a machine")
    none_said = {"said": [], "not_said": ["क"]}
    text = page(content("stations", (0.1, None), names=none_said, name_ways=ways), "a machine")
    assert "Names as hotwords" not in text
