"""Compares a candidate with its reference on speech and says whether it may take its place."""

import hashlib
from collections.abc import Sequence

from shrota_client.score import Score, score_utterance
from shrota_export.engines import Floats, make_batch, run_rows
from shrota_export.errors import GateError, SpeechError
from shrota_export.gate.cases import Run, make_runs
from shrota_export.gate.compare import Difference
from shrota_export.gate.departure import first_departure
from shrota_export.gate.judge import find_failures
from shrota_export.gate.report import Failure, Report
from shrota_export.gate.speech import Spoken
from shrota_export.gate.subject import Subject
from shrota_export.gate.thresholds import Thresholds
from shrota_export.gate.transcripts import Transcripts, greedy_text
from shrota_export.progress import each


def check(
    candidate: Subject,
    reference: Subject,
    speech: Sequence[Spoken],
    thresholds: Thresholds | None = None,
    *,
    explain: bool = True,
) -> Report:
    """Runs all speech alone through both, and some of it through the candidate in every situation that occurs.

    Args:
        candidate: the engine that shall be installed.
        reference: the one that is trusted.
        speech: at least one utterance with a frame.
        thresholds: those of the candidate's precision unless given.
        explain: whether to look for the first tensor that departs, if the candidate fails.

    Raises:
        GateError: one of the two cannot run the speech, or gives another number of frames.
        SpeechError: there is no speech.
    """
    thresholds = thresholds or Thresholds.of(candidate.precision)
    comparison = _Comparison(candidate, reference)
    comparison.run_alone(speech)
    windows = [window for spoken in speech for window in spoken.windows]
    runs = list(make_runs(windows, reference.receptive_field, reference.sample_rate))
    for run in each(runs, f"{candidate.name}, in batches and beside padding"):
        comparison.run_case(run)
    transcripts = comparison.transcripts(speech)
    failures = find_failures(
        candidate,
        reference,
        cases=comparison.cases,
        invariance=comparison.invariance,
        transcripts=transcripts,
        thresholds=thresholds,
    )
    departure = None
    if explain and failures:
        departure = _explain(candidate, reference, failures[0], thresholds)
    return Report(
        candidate.name,
        reference.name,
        candidate.precision,
        candidate.note,
        thresholds,
        comparison.cases,
        comparison.invariance,
        transcripts,
        tuple(failures),
        departure,
    )


class _Comparison:
    """Both engines, and what was found: differences from the reference, and of the candidate from itself alone."""

    def __init__(self, candidate: Subject, reference: Subject) -> None:
        self._candidate = candidate
        self._reference = reference
        self._known: dict[bytes, tuple[Floats, Floats]] = {}
        self._paths: list[tuple[list[Floats], list[Floats]]] = []
        self.cases: dict[str, Difference] = {"alone": Difference()}
        self.invariance: dict[str, Difference] = {}

    def run_alone(self, speech: Sequence[Spoken]) -> None:
        """Each window of all speech by itself."""
        for spoken in each(speech, f"{self._candidate.name} and {self._reference.name} on speech"):
            old, new = [], []
            for number, window in enumerate(spoken.windows, start=1):
                name = spoken.name if len(spoken.windows) == 1 else f"{spoken.name}, window {number}"
                expected, found = self._alone(name, window)
                self.cases["alone"].add(f"{name}, alone", found, expected, make_batch([window]))
                old.append(expected)
                new.append(found)
            self._paths.append((old, new))
        if not self.cases["alone"].frames:
            raise SpeechError("the speech to compare with is too short: it gives no frame")

    def run_case(self, run: Run) -> None:
        """One batch of the candidate, beside what both give for its rows alone."""
        name = f"{run.case}, {len(run.rows)} rows" if len(run.rows) > 1 else run.case
        rows = _run(self._candidate, run.rows, name, run)
        batch = make_batch(run.rows, run.behind, run.width)
        for index, (samples, row) in enumerate(zip(run.rows, rows, strict=True)):
            expected, alone = self._alone(name, samples)
            where = f"{name}, row {index}" if len(run.rows) > 1 else name
            _check_shape(self._candidate.name, where, row, expected)
            self.cases.setdefault(run.case, Difference()).add(where, row, expected, batch)
            self.invariance.setdefault(run.case, Difference()).add(where, row, alone, batch)

    def transcripts(self, speech: Sequence[Spoken]) -> Transcripts | None:
        """Scores of both, where tokens and texts are known."""
        old_tokens = self._reference.vocabulary
        new_tokens = self._candidate.vocabulary or old_tokens
        if old_tokens is None or new_tokens is None:
            return None
        old, new = [], []
        for spoken, (expected, found) in zip(speech, self._paths, strict=True):
            if spoken.text is None:
                continue
            said = [" ".join(greedy_text(row.argmax(axis=1), tokens) for row in rows) for rows, tokens in (
                (expected, old_tokens), (found, new_tokens)
            )]  # fmt: skip
            old.append(score_utterance(spoken.name, spoken.text, said[0]))
            new.append(score_utterance(spoken.name, spoken.text, said[1]))
        if not any(utterance.words.reference_length for utterance in old):
            return None
        return Transcripts(Score(tuple(old)), Score(tuple(new)))

    def _alone(self, name: str, samples: Floats) -> tuple[Floats, Floats]:
        """What the reference and the candidate give for one row alone: [F, V] each.

        A row that is shorter than the engine's narrowest input is padded to that.
        """
        key = hashlib.sha256(samples.tobytes()).digest()
        if key in self._known:
            return self._known[key]
        width = self._reference.receptive_field
        run = Run("alone", (samples,), width=width)
        (expected,) = _run(self._reference, [samples], name, run)
        (found,) = _run(self._candidate, [samples], name, run)
        _check_shape(self._candidate.name, f"{name}, alone", found, expected)
        self._known[key] = expected, found
        return expected, found


def _run(subject: Subject, rows: Sequence[Floats], place: str, run: Run) -> list[Floats]:
    try:
        return run_rows(subject.engine, rows, run.behind, run.width)
    except Exception as error:  # whatever an engine raises
        raise GateError(f"{subject.name} fails: {place}: {' '.join(str(error).split())[:300]}") from error


def _check_shape(name: str, place: str, row: Floats, expected: Floats) -> None:
    if row.shape != expected.shape:
        raise GateError(f"{name} gives {_shape(row)} instead of {_shape(expected)}: {place}; nothing was installed")


def _shape(row: Floats) -> str:
    return f"{row.shape[0]} frames of {row.shape[1]} tokens"


def _explain(candidate: Subject, reference: Subject, failure: Failure, thresholds: Thresholds) -> str | None:
    """The first tensor that departs, in words; None where there are no graphs or no run to look at."""
    if candidate.model is None or reference.model is None or failure.batch is None:
        return None
    found = first_departure(reference.model, candidate.model, failure.batch, thresholds.departure)
    if found is None:
        return (
            f"no tensor of the graph departs by more than {thresholds.departure:g} of its largest magnitude: "
            "the difference grows from layer to layer"
        )
    return found.describe()
