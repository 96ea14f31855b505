"""The page of ``benchmarks.decoder_quality``."""

from collections.abc import Iterator
from typing import Any

from benchmarks.exported import Checkpoint

COMMAND = "python -m benchmarks.decoder_quality"
VOICES = {"test-set", "voices-telephone"}
"""The sets whose phrases are from the books that the bundled language model's text is from (the model's card)."""


DETECTION = ["recall", "precision", "false alarms, words not said"]


def page(content: dict[str, Any], machine: str) -> str:
    """The Markdown page.

    Args:
        content: What was measured, as the JSON beside the page has it.
        machine: Where and when, in one line.
    """
    checkpoint = Checkpoint(**content["checkpoint"])
    lines = [
        "# What the decoder's ways are worth",
        "",
        f"`{COMMAND}`; {checkpoint.line()}; {machine}.",
        "",
        "Error rates as `shrota score` counts them, with 95 % bootstrap intervals over utterances. Everything that",
        "could be chosen was chosen on the development set, which appears nowhere else.",
        "",
        *_weights(content["development"]),
        *_error_rates(content),
        *_hotwords(content),
        *_names(content),
    ]
    return "\n".join(lines)


def _weights(development: dict[str, Any]) -> Iterator[str]:
    best = development["best"]
    yield "## The weights"
    yield ""
    yield (
        f"`shrota tune-decoder` on {development['name']} ({development['utterances']} files, "
        f"{development['duration'] / 60:.1f} minutes), {len(development['trials'])} pairs, `beam_width` "
        f"{development['beam_width']}:"
    )
    yield ""
    yield from _table(
        ["development set", "word error rate", "character error rate"],
        [
            ["greedy", *_plain(development["greedy"])],
            ["beam without language model", *_plain(development["without_language_model"])],
            [f"`lm_weight` {best['lm_weight']:g}, `word_score` {best['word_score']:g}, the best", *_rates(best)],
        ],
    )
    for caution in development["cautions"]:
        yield f"Mind: {caution}."
        yield ""


def _error_rates(content: dict[str, Any]) -> Iterator[str]:
    yield "## Error rates on held-out speech"
    yield ""
    if voices := [each["name"] for each in content["sets"] if each["name"] in VOICES]:
        yield (
            f"The phrases of {' and '.join(voices)} are from the books that the bundled language model's text is from, "
            "though not the same phrases: what the model gains there is optimistic, and other texts gain less, as the "
            "news of the stations does."
        )
        yield ""
    yield (
        '"Hotwords" is one list for the whole set: its words of at least three letters that are missing from the '
        "language model's text, words of all kinds and not names alone, and as many that are not said in it. It "
        "knows what will be said: a list that somebody writes beforehand gains less."
    )
    yield ""
    rows = []
    for each in content["sets"]:
        for way, values in each["ways"].items():
            first = way == next(iter(each["ways"]))
            rows.append([each["name"] if first else "", str(each["utterances"]) if first else "", way, *_rates(values)])
    yield from _table(["set", "files", "decoding", "word error rate", "character error rate"], rows)


def _hotwords(content: dict[str, Any]) -> Iterator[str]:
    yield "## Hotwords: said, and not said"
    yield ""
    yield (
        f"The same lists, `hotword_weight` {content['hotword_weight']:g} (below). Recall: of the times that a word of "
        "the list is said, how often it stands in the utterance's transcript. Precision: of the times that one of them "
        "stands in a transcript, how often it was said there. False alarms: how often a word of the list that nobody "
        "says in the whole set stands in a transcript, of the set's length."
    )
    yield ""
    rows = []
    for each in content["sets"]:
        words = each["hotwords"]
        for number, (way, values) in enumerate(each["ways"].items()):
            names = [each["name"], f"{len(words['said'])} + {len(words['not_said'])}"] if number == 0 else ["", ""]
            rows.append([*names, way, *_detection(values, each["duration"])])
    yield from _table(["set", "hotwords, said + not said", "decoding", *DETECTION], rows)
    development = content["development"]
    yield (
        f"The boost was chosen by the word error rate on {development['name']}, with the language model and the words "
        f"of that set in the same way. {_significance(development['hotword_weights'])}"
    )
    yield ""
    yield from _table(
        ["`hotword_weight`", "word error rate", *DETECTION],
        [
            [f"{row['hotword_weight']:g}", _rates(row)[0], *_detection(row, development["duration"])]
            for row in development["hotword_weights"]
        ],
    )


def _significance(rows: list[dict[str, Any]]) -> str:
    """Whether the boost that was chosen is better than the others by more than chance."""
    best = min(rows, key=lambda row: row["word_error_rate"])
    overlapping = [row for row in rows if row is not best and _overlap(row, best)]
    if not overlapping:
        return "No other boost's interval overlaps with that of the best:"
    count = "all others" if len(overlapping) == len(rows) - 1 else f"{len(overlapping)} of {len(rows) - 1} others"
    return f"The intervals of {count} overlap with that of the best: the choice among them is not significant:"


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two intervals of the word error rate have a value in common; unknown ones may."""
    first, second = one["word_error_rate_interval"], other["word_error_rate_interval"]
    return first is None or second is None or (first[0] <= second[1] and second[0] <= first[1])


def _names(content: dict[str, Any]) -> Iterator[str]:
    sets = [each for each in content["sets"] if each.get("names", {}).get("said")]
    if not sets:
        return
    yield "## Names as hotwords: said, and not said"
    yield ""
    yield (
        "One list for all sets, made by hand (`benchmarks/names.py`): persons and places that the sets say, which were "
        "read for it, and about as many that the same news could have said. What a set does not say counts as not "
        f"said. `hotword_weight` {content['hotword_weight']:g}, as above; the language model's text holds some of the "
        "names."
    )
    yield ""
    rows = []
    for each in sets:
        for number, (way, values) in enumerate(each["name_ways"].items()):
            sizes = f"{len(each['names']['said'])} + {len(each['names']['not_said'])}"
            names = [each["name"], sizes] if number == 0 else ["", ""]
            rows.append([*names, way, _rates(values)[0], *_detection(values, each["duration"])])
    yield from _table(["set", "names, said + not said", "decoding", "word error rate", *DETECTION], rows)


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _plain(values: dict[str, Any]) -> list[str]:
    return [f"{100 * values[name]:.1f} %" for name in ("word_error_rate", "character_error_rate")]


def _rates(values: dict[str, Any]) -> list[str]:
    return [_share(values, name) for name in ("word_error_rate", "character_error_rate")]


def _detection(values: dict[str, Any], duration_s: float) -> list[str]:
    heard = values["hits"] + values["false_alarms"]
    recall = f"{_share(values, 'recall')}, {values['hits']} of {values['said']}"
    precision = f"{_share(values, 'precision')}, {values['hits']} of {heard}"
    return [recall, precision, f"{values['not_said_false_alarms']} in {duration_s / 60:.1f} minutes"]


def _share(values: dict[str, Any], name: str) -> str:
    value, interval = values[name], values[f"{name}_interval"]
    if value is None:
        return "-"
    bounds = "" if interval is None else f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    return f"{100 * value:.1f} %{bounds}"
