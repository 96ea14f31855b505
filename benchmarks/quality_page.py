"""The page of ``benchmarks.decoder_quality``."""

from collections.abc import Iterator
from typing import Any

from benchmarks.exported import Checkpoint

COMMAND = "python -m benchmarks.decoder_quality"


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
    yield (
        '"Hotwords" is one list for the whole set: its rare words, those of at least three letters that the language '
        "model's text does not hold (names, loan words and other rare words), and as many that are not said in it. It "
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
        f"The same lists, `hotword_weight` {content['hotword_weight']:g} (below). Recall: of the times that a rare "
        "word is said, how often it stands in the utterance's transcript. Precision: of the times that one of them "
        "stands in a transcript, how often it was said there. False alarms: how often a word of the list that nobody "
        "says in the whole set stands in a transcript."
    )
    yield ""
    rows = []
    for each in content["sets"]:
        words = each["hotwords"]
        for number, (way, values) in enumerate(each["ways"].items()):
            names = [each["name"], f"{len(words['said'])} + {len(words['not_said'])}"] if number == 0 else ["", ""]
            rows.append([*names, way, *_detection(values)])
    head = ["recall", "precision", "false alarms, words not said"]
    yield from _table(["set", "hotwords, said + not said", "decoding", *head], rows)
    development = content["development"]
    yield (
        f"The boost was chosen by the word error rate on {development['name']}, with the language model and the rare "
        "words of that set in the same way:"
    )
    yield ""
    yield from _table(
        ["`hotword_weight`", "word error rate", *head],
        [[f"{row['hotword_weight']:g}", _rates(row)[0], *_detection(row)] for row in development["hotword_weights"]],
    )


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


def _detection(values: dict[str, Any]) -> list[str]:
    heard = values["hits"] + values["false_alarms"]
    recall = f"{_share(values, 'recall')}, {values['hits']} of {values['said']}"
    precision = f"{_share(values, 'precision')}, {values['hits']} of {heard}"
    count, per_hour = values["not_said_false_alarms"], values["not_said_false_alarms_per_hour"]
    return [recall, precision, f"{count}" if not count else f"{count}, {per_hour:.1f} an hour"]


def _share(values: dict[str, Any], name: str) -> str:
    value, interval = values[name], values[f"{name}_interval"]
    if value is None:
        return "-"
    bounds = "" if interval is None else f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    return f"{100 * value:.1f} %{bounds}"
