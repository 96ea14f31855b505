"""What a variant gives on speech: differences from float32, error rates, and what the gate says of them."""

from collections.abc import Sequence
from typing import Any

from shrota_client.score import Score, score_utterance
from shrota_export.engines import Engine, Floats, run_rows
from shrota_export.gate import Spoken, Subject, Thresholds
from shrota_export.gate.compare import Difference
from shrota_export.gate.judge import find_failures
from shrota_export.gate.transcripts import Transcripts, greedy_text
from shrota_export.progress import each as with_bar


def run_speech(engine: Engine, speech: Sequence[Spoken], name: str) -> list[list[Floats]]:
    """Log-probabilities [F, V] of each window of each utterance, each window alone."""
    return [
        [run_rows(engine, [window])[0] for window in spoken.windows] for spoken in with_bar(speech, f"{name} on speech")
    ]


def judge(
    reference: Sequence[Sequence[Floats]],
    candidate: Sequence[Sequence[Floats]],
    speech: Sequence[Spoken],
    subject: Subject,
) -> dict[str, Any]:
    """Differences in log-probability, error rates with their intervals, and what the gate says of both.

    Error rates only where tokens mean something. The gate judges by its thresholds for the variant's precision; its
    other cases (full batches, padding) are run when a graph is installed.

    Args:
        reference: log-probabilities of the float32 checkpoint, by utterance and window.
        candidate: those of the variant.
        speech: with what is said.
        subject: the variant; without vocabulary if the weights are random.
    """
    difference = Difference()
    old, new = [], []
    for spoken, expected, found in zip(speech, reference, candidate, strict=True):
        for row, correct in zip(found, expected, strict=True):
            difference.add(spoken.name, row, correct)
        if spoken.text is not None and subject.vocabulary is not None:
            texts = [
                " ".join(greedy_text(row.argmax(axis=1), subject.vocabulary) for row in rows)
                for rows in (expected, found)
            ]
            old.append(score_utterance(spoken.name, spoken.text, texts[0]))
            new.append(score_utterance(spoken.name, spoken.text, texts[1]))
    result: dict[str, Any] = {"difference": difference.as_dict(), "errors": None}
    transcripts = None
    if any(utterance.words.reference_length for utterance in old):
        transcripts = Transcripts(Score(tuple(old)), Score(tuple(new)))
        result["errors"] = {
            "words": transcripts.candidate.words.edits.reference_length,
            "word_error_rate": transcripts.candidate.words.value,
            "word_error_rate_interval": transcripts.candidate.words.interval,
            "character_error_rate": transcripts.candidate.characters.value,
            "character_error_rate_interval": transcripts.candidate.characters.interval,
            "rise": transcripts.words.value,
            "rise_interval": transcripts.words.interval,
        }
    failures = find_failures(
        subject,
        subject,
        cases={"alone": difference},
        invariance={},
        transcripts=transcripts,
        thresholds=Thresholds.of(subject.precision),
    )
    return {**result, "failures": [failure.text for failure in failures]}
