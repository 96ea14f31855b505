"""What a development set says about the decoder's weights, as text for people and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from shrota_client.alignment import Edits
from shrota_client.decoding import Decoding
from shrota_client.report import percent, summary
from shrota_client.score import Score
from shrota_client.search import edits_of
from shrota_client.tuning import Pass, Tuning
from shrota_client.tuning_plan import Weights

WITHOUT_LM = "beam without language model"
WAY_WIDTH = len(WITHOUT_LM)


def table(tuning: Tuning) -> str:
    """A line with word and character error rate for each pair, and for decoding without a language model."""
    best = tuning.plan.decoding(tuning.found.best.weights)
    return "\n".join(_lines(tuning.passes(), best))


def partial_table(passes: Sequence[Pass]) -> str:
    """The same of a search that did not come to its end: the pairs so far, in ascending order, none of them the best.

    Args:
        passes: as they were measured, at least one.
    """
    return "\n".join(_lines(sorted(passes, key=_order), None))


def name(decoding: Decoding) -> str:
    """What sets a way to decode apart from the others of a search."""
    if decoding.beam_width == 1:
        return "greedy"
    if not decoding.lm_weight:
        return WITHOUT_LM
    return str(Weights(decoding.lm_weight, decoding.word_score or 0.0))


def progress(measured: Pass) -> str:
    """One line on a way to decode that was measured."""
    rates = f"word error rate {percent(measured.words.rate)}, character error rate {percent(measured.characters.rate)}"
    return f"{name(measured.decoding)}: {rates}"


def _order(each: Pass) -> tuple[bool, float, float]:
    """Greedy decoding first, then the beams by their weights."""
    return each.decoding.beam_width != 1, each.decoding.lm_weight or 0.0, each.decoding.word_score or 0.0


def _lines(passes: Sequence[Pass], best: Decoding | None) -> Iterator[str]:
    yield f"{'lm_weight  word_score':<{WAY_WIDTH}}  word error rate  character error rate"
    for each in passes:
        if each.decoding.lm_weight:
            way = f"{each.decoding.lm_weight:>9g}  {each.decoding.word_score:>10g}"
        else:
            way = name(each.decoding)
        rates = f"{percent(each.words.rate):>15}  {percent(each.characters.rate):>20}"
        yield f"{way:<{WAY_WIDTH}}  {rates}{'  best' if each.decoding == best else ''}"


def conclusion(tuning: Tuning) -> str:
    """The best pair, its error rates with intervals, what to mind, and the lines that use it."""
    best = tuning.found.best.weights
    lines = [f"best: {best}, with beam_width {tuning.plan.beam_width}", summary(tuning.found.score)]
    lines += cautions(tuning)
    lines += ["for one command:", f"  shrota transcribe {options(tuning)} PATH"]
    lines += ["for all requests that say nothing else, in ctc_decoder/config.pbtxt of the model repository:"]
    lines += [f"  {line}" for line in config_lines(tuning)]
    return "\n".join(lines)


def cautions(tuning: Tuning) -> list[str]:
    """What speaks against the best pair, one line each."""
    lines = [
        f"the best pair lies at the end of the range of {weight}: a wider range may hold a better one"
        for weight in tuning.plan.space.ends_at(tuning.found.best.weights)
    ]
    if tuning.plan.hotwords:
        lines.append(f"the best pair was found with hotwords ({len(tuning.plan.hotwords)}): give the same ones with it")
    without = min(_errors(tuning.greedy, tuning.plan.metric), _errors(tuning.without_lm, tuning.plan.metric))
    if _errors(tuning.found.score, tuning.plan.metric) >= without:
        lines.append("no pair makes fewer errors than decoding without the language model: set lm_weight 0")
    return lines


def options(tuning: Tuning) -> str:
    """The options of ``shrota transcribe`` and ``shrota score``."""
    best = tuning.found.best.weights
    return f"--beam-width {tuning.plan.beam_width} --lm-weight {best.lm_weight:g} --word-score {best.word_score:g}"


def config_lines(tuning: Tuning) -> list[str]:
    """The lines of the decoder's ``config.pbtxt``."""
    best = tuning.found.best.weights
    values = {"beam_width": tuning.plan.beam_width, "lm_weight": best.lm_weight, "word_score": best.word_score}
    return [f'parameters {{ key: "{name}" value {{ string_value: "{value:g}" }} }}' for name, value in values.items()]


def as_dict(tuning: Tuning) -> dict[str, Any]:
    """The same in plain types, as JSON carries it."""
    best = tuning.found.best
    return {
        "utterances": len(tuning.greedy.utterances),
        "duration": tuning.duration,
        "metric": tuning.plan.metric,
        "beam_width": tuning.plan.beam_width,
        "hotwords": list(tuning.plan.hotwords or ()),
        "hotword_weight": tuning.plan.hotword_weight,
        "greedy": _rates(*edits_of(tuning.greedy)),
        "without_language_model": _rates(*edits_of(tuning.without_lm)),
        "trials": [
            {
                "lm_weight": trial.weights.lm_weight,
                "word_score": trial.weights.word_score,
                **_rates(trial.words, trial.characters),
            }
            for trial in tuning.found.trials
        ],
        "best": {
            "lm_weight": best.weights.lm_weight,
            "word_score": best.weights.word_score,
            **_rates(best.words, best.characters),
            "word_error_rate_interval": _interval(tuning.found.score.words.interval),
            "character_error_rate_interval": _interval(tuning.found.score.characters.interval),
        },
        "cautions": cautions(tuning),
        "options": options(tuning),
        "config": config_lines(tuning),
    }


def _errors(score: Score, metric: str) -> int:
    words, characters = edits_of(score)
    return (words if metric == "wer" else characters).errors


def _rates(words: Edits, characters: Edits) -> dict[str, float]:
    return {"word_error_rate": words.rate, "character_error_rate": characters.rate}


def _interval(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
