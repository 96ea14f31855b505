"""What the gate found, to read and to keep."""

from dataclasses import asdict, dataclass, field
from typing import Any

from shrota_client.score import ErrorRate
from shrota_export.engines import Floats, Ints
from shrota_export.errors import GateError
from shrota_export.gate.compare import Difference
from shrota_export.gate.thresholds import Thresholds
from shrota_export.gate.transcripts import Paired, Transcripts
from shrota_export.precision.kinds import Precision


@dataclass(frozen=True)
class Failure:
    """One threshold that was not kept: in words, and the run in which it shows."""

    text: str
    batch: tuple[Floats, Ints] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Report:
    """The comparison of a candidate with its reference.

    Attributes:
        candidate: its name.
        reference: its name.
        precision: of the candidate.
        note: how the candidate was run, where that matters.
        thresholds: what was judged by.
        cases: differences from what the reference gives alone: ``alone`` (all speech), ``full batch``, ``padding``,
            ``shortest``, ``longest``.
        invariance: differences from what the candidate itself gives alone, in the latter four.
        transcripts: error rates of both; None where tokens or texts are not known.
        failures: what was not kept; none for a candidate that may be installed.
        departure: the first tensor that departs, where that was looked for.
    """

    candidate: str
    reference: str
    precision: Precision
    note: str
    thresholds: Thresholds
    cases: dict[str, Difference]
    invariance: dict[str, Difference]
    transcripts: Transcripts | None
    failures: tuple[Failure, ...] = ()
    departure: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the candidate may be installed."""
        return not self.failures

    @property
    def meaningless(self) -> str | None:
        """Why tokens were not judged; None if they were."""
        if self.transcripts is None:
            return "no texts or tokens to compare transcripts with"
        rate = self.transcripts.reference.words.value
        if rate >= self.thresholds.meaningless_word_error_rate:
            return f"the reference itself has {rate:.0%} of the words wrong, as with random weights"
        return None

    def raise_for_failures(self) -> None:
        """Raises :class:`~shrota_export.errors.GateError`, one line, if the candidate failed."""
        if self.passed:
            return
        first = self.failures[0].text
        more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
        departure = f"; {self.departure}" if self.departure else ""
        raise GateError(
            f"{self.candidate} ({self.precision}) is refused: {first}{more}{departure}; nothing was installed"
        )

    def summary(self) -> str:
        """What was found, in one line."""
        alone = self.cases["alone"]
        elsewhere = max((found.largest for found in self.invariance.values()), default=0.0)
        found = (
            f"from {self.reference} at most {alone.largest:.1e}, from itself alone at most {elsewhere:.1e} in "
            f"log-probability on {alone.frames} frames"
        )
        if self.transcripts is None or self.meaningless:
            return f"{found}; judged by log-probabilities and batch invariance only: {self.meaningless}"
        words = self.transcripts.words
        return (
            f"{found}; word error rate {self.transcripts.reference.words.value:.2%}, {100 * words.value:+.2f} points "
            f"({words.errors:+d} errors)"
        )

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [f"{self.candidate} ({self.precision}) against {self.reference}"]
        if self.note:
            lines.append(f"  {self.note}")
        lines.append(
            f"  {'':14}{'mean':>10}{'largest':>10}{'best token changes':>22}   log-probability from the reference"
        )
        lines += [_row(case, found) for case, found in self.cases.items()]
        lines.append(f"  {'':42}{'':14}   from the candidate alone")
        lines += [_row(case, found) for case, found in self.invariance.items()]
        if self.transcripts is not None and not self.meaningless:
            reference, candidate = self.transcripts.reference, self.transcripts.candidate
            lines.append(_rates("word error rate", reference.words, candidate.words, self.transcripts.words))
            lines.append(
                _rates("character error rate", reference.characters, candidate.characters, self.transcripts.characters)
            )
        else:
            lines.append(f"  judged by log-probabilities and batch invariance only: {self.meaningless}")
        lines += [f"  FAILED: {failure.text}" for failure in self.failures]
        if self.departure:
            lines.append(f"  {self.departure}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """In plain types, as ``manifest.json`` keeps it."""
        content: dict[str, Any] = {
            "passed": self.passed,
            "precision": str(self.precision),
            "reference": self.reference,
            "note": self.note or None,
            "from_reference": {case: found.as_dict() for case, found in self.cases.items()},
            "from_itself_alone": {case: found.as_dict() for case, found in self.invariance.items()},
            "transcripts": None,
            "tokens_not_judged_because": self.meaningless,
            "failures": [failure.text for failure in self.failures],
            "departure": self.departure,
            "thresholds": self.thresholds.as_dict(),
        }
        if self.transcripts is not None:
            found = self.transcripts
            content["transcripts"] = {
                "words": found.reference.words.edits.reference_length,
                "word_error_rate": _rate_fields(found.reference.words, found.candidate.words, found.words),
                "character_error_rate": _rate_fields(
                    found.reference.characters, found.candidate.characters, found.characters
                ),
            }
        return content


def _row(case: str, found: Difference) -> str:
    changed = f"{found.changed} of {found.frames} ({found.changed_share:.3%})"
    broken = f", {found.broken} frames with NaN or infinity" if found.broken else ""
    return f"  {case:14}{found.mean:10.2g}{found.largest:10.2g}{changed:>30}{broken}"


def _rates(name: str, old: ErrorRate, new: ErrorRate, paired: Paired) -> str:
    return (
        f"  {name} {old.value:.2%}{_interval(old.interval)} to {new.value:.2%}{_interval(new.interval)}: "
        f"{100 * paired.value:+.2f} points{_interval(paired.interval, signed=True)}"
    )


def _interval(bounds: tuple[float, float] | None, *, signed: bool = False) -> str:
    if bounds is None:
        return ""
    low, high = (f"{100 * bound:{'+' if signed else ''}.2f}" for bound in bounds)
    return f" (95 % {low} to {high})"


def _rate_fields(old: ErrorRate, new: ErrorRate, paired: Paired) -> dict[str, Any]:
    return {
        "reference": {"value": old.value, "interval": old.interval},
        "candidate": {"value": new.value, "interval": new.interval},
        "difference": asdict(paired),
    }
