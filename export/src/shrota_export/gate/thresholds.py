"""How far a candidate may be from its reference."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

from shrota_export.errors import GateSettingError
from shrota_export.precision.kinds import Precision


@dataclass(frozen=True)
class Thresholds:
    """The gate's settings; a candidate fails with a value above any of them. NaN and infinity always fail.

    The defaults of each precision were set from measurements (``python -m benchmarks.precision``, its results are in
    docs/benchmarks/precision.md): a few times what the bundled checkpoint gave on 5,666 words, so that rounding passes,
    and what is wrong does not. The errors that the gate is there for
    (overflow, a lost mask, a wrong weight, shifted tokens) are larger by orders of magnitude.

    Attributes:
        mean_difference: mean of the absolute difference from the reference over frames and tokens, in log-probability
            (nats). Rounding makes it: 11, 8 or 7 bits of each factor.
        largest_difference: its maximum. It belongs to tokens that are next to impossible (log-probabilities of -20 and
            below), so it is wide in low precision; what it catches is a single frame that is wrong.
        changed_frames: share of the frames whose best token changes. 0.5 % is the bar of half precision; a frame at the
            edge between a token and blank may tip without a change of the text. Of few frames, three standard
            deviations more are allowed, because they may be chance, but never more than twice as many.
        word_error_rate: how much the word error rate may rise, as a share of the words. Of few words a single one is
            more than this; one more error than the reference is always allowed, because it proves nothing.
        character_error_rate: the same of characters; ten more errors are always allowed, about two words.
        invariance_mean: mean difference between an utterance alone and the same one elsewhere (in a batch, beside
            padding), in log-probability. Sums are added up in another order there, which is 1e-7 of a tensor; in low
            precision that tips a number to its neighbour now and then, and each that tips is off by a whole rounding.
            So in low precision this is as wide as ``mean_difference``.
        invariance_largest: its maximum. In float32 it is the engines' contract, 1e-4. On `samples/` the bundled
            checkpoint gave 1.1e-5 and the families in the tests at most 9e-6 (ONNX Runtime on a processor, fused and
            unfused), since the sums of the normalisation are aligned: before that, up to 1.5e-4 occurred.
        invariance_changed_frames: share of the frames whose best token changes by that. Quantised with scales of a
            whole tensor, which depend on neighbours and padding, it was 4 %.
        departure: largest difference of a tensor from the reference's, relative to that one's largest magnitude, that
            is still rounding. It only decides which tensor the message names.
        meaningless_word_error_rate: where the reference itself has at least this word error rate, its tokens mean
            nothing (random weights, another language), and only log-probabilities and invariance are judged.
    """

    mean_difference: float = 1e-4
    largest_difference: float = 1e-3
    changed_frames: float = 0.001
    word_error_rate: float = 0.0
    character_error_rate: float = 0.0
    invariance_mean: float = 1e-5
    invariance_largest: float = 1e-4
    invariance_changed_frames: float = 0.0
    departure: float = 1e-3
    meaningless_word_error_rate: float = 0.8

    @classmethod
    def of(cls, precision: Precision) -> "Thresholds":
        """The defaults for a precision."""
        return DEFAULTS[precision]

    def changed(self, settings: Iterable[str]) -> "Thresholds":
        """With settings of the form ``name=value``.

        Raises:
            GateSettingError: there is no such threshold, or the value is no number.
        """
        values = {}
        names = [field.name for field in fields(self)]
        for setting in settings:
            name, _, value = setting.partition("=")
            if name not in names:
                raise GateSettingError(f"there is no threshold {name!r}: give one of {', '.join(names)}")
            try:
                values[name] = float(value)
            except ValueError:
                raise GateSettingError(f"the threshold {setting!r} has no number: write {name}=0.01") from None
            if math.isnan(values[name]):  # nothing is above it
                raise GateSettingError(f"the threshold {setting!r} has no number: write {name}=0.01")
        return replace(self, **values)

    def as_dict(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


_HALF = Thresholds(
    mean_difference=0.05,
    largest_difference=5.0,
    changed_frames=0.005,
    word_error_rate=0.002,
    character_error_rate=0.002,
    invariance_mean=0.05,
    invariance_largest=5.0,
    invariance_changed_frames=0.005,
    departure=0.05,
)
DEFAULTS = {
    Precision.FP32: Thresholds(),
    Precision.FP16: _HALF,
    Precision.BF16: replace(
        _HALF,
        mean_difference=0.3,
        largest_difference=15.0,
        invariance_mean=0.3,
        invariance_largest=15.0,
        departure=0.25,
    ),
    Precision.INT8: replace(
        _HALF,
        mean_difference=0.6,
        largest_difference=20.0,
        changed_frames=0.015,
        word_error_rate=0.005,
        character_error_rate=0.005,
        invariance_mean=0.3,
        invariance_largest=15.0,
        invariance_changed_frames=0.01,
        departure=0.5,
    ),
    Precision.FP8: replace(
        _HALF,
        mean_difference=0.6,
        largest_difference=20.0,
        changed_frames=0.015,
        invariance_mean=0.3,
        invariance_largest=15.0,
        invariance_changed_frames=0.01,
        departure=0.5,
    ),
}
