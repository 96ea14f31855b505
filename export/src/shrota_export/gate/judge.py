"""Which thresholds a candidate does not keep."""

import math
from collections.abc import Iterator, Mapping

from shrota_export.gate.cases import CASES
from shrota_export.gate.compare import Difference
from shrota_export.gate.report import Failure
from shrota_export.gate.subject import Subject
from shrota_export.gate.thresholds import Thresholds
from shrota_export.gate.transcripts import Paired, Transcripts

FREE_WORDS = 1
"""More word errors than the reference has, that prove nothing."""
FREE_CHARACTERS = 10


def find_failures(
    candidate: Subject,
    reference: Subject,
    *,
    cases: Mapping[str, Difference],
    invariance: Mapping[str, Difference],
    transcripts: Transcripts | None,
    thresholds: Thresholds,
) -> list[Failure]:
    """All of them, the most telling first: numbers that are none, then each case, then the transcripts."""
    judged = transcripts is not None and _means_something(transcripts, thresholds)
    failures = list(_broken(cases))
    failures += _foreign_tokens(candidate, reference)
    for case, found in cases.items():
        if not found.broken:
            failures += _differences(case, found, thresholds, tokens=judged)
    for case, found in invariance.items():
        if not found.broken:
            failures += _invariance(case, found, thresholds, tokens=judged)
        elif case not in cases or not cases[case].broken:  # else it is said already
            text = f"{found.broken} of {found.frames} frames of an utterance hold NaN or infinity, alone or {_in(case)}"
            failures.append(Failure(f"{text}, first in {found.place}", found.batch))
    if transcripts is not None and judged:
        words = transcripts.reference.words.edits.reference_length
        characters = transcripts.reference.characters.edits.reference_length
        failures += _errors("word", transcripts.words, thresholds.word_error_rate, words, FREE_WORDS)
        failures += _errors(
            "character", transcripts.characters, thresholds.character_error_rate, characters, FREE_CHARACTERS
        )
    return failures


def _means_something(transcripts: Transcripts, thresholds: Thresholds) -> bool:
    return transcripts.reference.words.value < thresholds.meaningless_word_error_rate


def _broken(cases: Mapping[str, Difference]) -> Iterator[Failure]:
    for case, found in cases.items():
        if found.broken:
            yield Failure(
                f"{found.broken} of {found.frames} frames hold NaN or infinity {_in(case)}, first in {found.place}",
                found.batch,
            )


def _foreign_tokens(candidate: Subject, reference: Subject) -> Iterator[Failure]:
    if candidate.vocabulary is None or reference.vocabulary is None:
        return
    old, new = reference.vocabulary, candidate.vocabulary
    if len(old.tokens) != len(new.tokens):
        yield Failure(f"its vocabulary has {len(new.tokens)} tokens, the reference's {len(old.tokens)}")
        return
    for index, (before, after) in enumerate(zip(old.tokens, new.tokens, strict=True)):
        if before != after:
            yield Failure(f"its vocabulary is another one: token {index} is {after!r}, not {before!r}")
            return


def _differences(case: str, found: Difference, thresholds: Thresholds, *, tokens: bool) -> Iterator[Failure]:
    for name, value, limit in (
        ("on average", found.mean, thresholds.mean_difference),
        ("at most", found.largest, thresholds.largest_difference),
    ):
        if value > limit:
            place = f" ({found.place})" if name == "at most" else ""
            yield Failure(
                f"log-probabilities differ {name} by {value:.3g}{place}, more than {limit:g}, {_in(case)}", found.batch
            )
    allowed = _with_chance(thresholds.changed_frames * found.frames)
    if tokens and found.changed > allowed:
        yield Failure(
            f"the best token changes in {found.changed_share:.2%} of the frames, more than "
            f"{thresholds.changed_frames:.2%} ({int(allowed)} of {found.frames} with what may be chance), {_in(case)}",
            found.batch,
        )


def _invariance(case: str, found: Difference, thresholds: Thresholds, *, tokens: bool) -> Iterator[Failure]:
    for name, value, limit in (
        ("on average", found.mean, thresholds.invariance_mean),
        ("at most", found.largest, thresholds.invariance_largest),
    ):
        if value > limit:
            yield Failure(
                f"an utterance {_in(case)} differs {name} by {value:.3g} from itself alone, more than {limit:g} "
                f"({found.place})",
                found.batch,
            )
    if tokens and found.changed > max(1.0, thresholds.invariance_changed_frames * found.frames):
        yield Failure(
            f"{_in(case)} the best token changes from that alone in {found.changed_share:.2%} of the frames, more than "
            f"{thresholds.invariance_changed_frames:.2%}",
            found.batch,
        )


def _with_chance(expected: float) -> float:
    """How many frames may change where so many are expected to.

    Three standard deviations of a count more, and never more than twice as many: of a case's 1,001 frames, 1.5 % are
    15, give or take 4, and 27 prove that there are more. One frame is always allowed: of a window with one frame it
    would be all.
    """
    return max(1.0, expected + min(expected, 3 * math.sqrt(expected)))


def _errors(what: str, paired: Paired, threshold: float, length: int, free: int) -> Iterator[Failure]:
    if paired.errors > max(free, threshold * length):
        yield Failure(
            f"the {what} error rate rises by {100 * paired.value:.2f} points ({paired.errors} errors of {length} "
            f"{what}s), more than {100 * threshold:.2f}"
        )


def _in(case: str) -> str:
    return CASES.get(case, case)
