"""A score as text for people."""

from collections.abc import Iterator

from shrota_client.bootstrap import REPLICATES
from shrota_client.score import METHOD, ErrorRate, Score, UtteranceScore

CONTEXT = 4
"""Equal words that are shown on either side of an error."""


def details(utterance: UtteranceScore) -> str:
    """One utterance: transcript, reference, error rates, real-time factor."""
    numbers = [
        f"word error rate {percent(utterance.words.rate)}",
        f"character error rate {percent(utterance.characters.rate)}",
    ]
    if utterance.real_time_factor is not None:
        numbers.append(f"real-time factor {utterance.real_time_factor:.3f}")
    head = utterance.name if utterance.duration is None else f"{utterance.name} ({utterance.duration:.1f} s)"
    lines = [f"transcript  {utterance.hypothesis}", f"reference   {utterance.reference}", ", ".join(numbers)]
    return "\n  ".join([head, *lines])


def summary(score: Score, wall_s: float | None = None) -> str:
    """The total: both error rates with intervals and counts, and the real-time factor of the whole where known.

    Args:
        score: what to report.
        wall_s: seconds that transcribing all utterances took, side by side or not.
    """
    lines = [
        _rate_line("word error rate", score.words, "words"),
        _rate_line("character error rate", score.characters, "characters, spaces included"),
    ]
    count = len(score.utterances)
    total = f"{count} {'utterance' if count == 1 else 'utterances'}"
    duration = sum(utterance.duration or 0.0 for utterance in score.utterances)
    if duration:
        total += f", {duration:.1f} s of audio"
    if duration and wall_s is not None:
        total += f" in {wall_s:.1f} s: real-time factor {wall_s / duration:.3f}"
    if score.words.interval is not None:
        lines.append(f"(intervals: {METHOD}, {REPLICATES} replicates, seed {score.seed})")
    return "\n".join([f"total: {total}", *lines])


def worst(score: Score, count: int) -> Iterator[str]:
    """Lines on the worst utterances, each with its alignment."""
    utterances = score.worst(count)
    if utterances:
        yield "worst utterances ([-reference-]{+transcript+}):"
    for utterance in utterances:
        yield f"  {percent(utterance.words.rate):>8}  {utterance.name}"
        yield f"            {utterance.alignment.marked(CONTEXT)}"


def percent(rate: float) -> str:
    """``12.3 %``."""
    return f"{100 * rate:.1f} %"


def _rate_line(name: str, rate: ErrorRate, unit: str) -> str:
    edits = rate.edits
    bounds = ""
    if rate.interval is not None:
        bounds = f" (95 % interval {100 * rate.interval[0]:.1f} to {100 * rate.interval[1]:.1f} %)"
    counts = f"{edits.substitutions} substituted, {edits.deletions} deleted, {edits.insertions} inserted"
    return f"{name} {percent(rate.value)}{bounds}: {counts}, of {edits.reference_length} {unit}"
