"""How far an error rate can be trusted: bootstrap intervals over utterances."""

from collections.abc import Sequence

import numpy as np

from shrota_client.errors import ParameterError

REPLICATES = 10_000
LEVEL = 0.95
_DRAWS_AT_ONCE = 2_000_000


def interval(
    errors: Sequence[int], lengths: Sequence[int], seed: int = 0, replicates: int = REPLICATES, level: float = LEVEL
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of ``sum(errors) / sum(lengths)``.

    Utterances are drawn with replacement, as many as there are, and the rate of each such replicate is taken; the
    interval leaves out equal shares at both ends. Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR
    performance evaluation", ICASSP 2004, vol. 1, pp. 409-412. Whole utterances are drawn because the
    errors within one depend on each other.

    Args:
        errors: errors of each utterance.
        lengths: reference length of each utterance.
        seed: of the draws; equal seeds give equal intervals.
        replicates: number of draws of the whole set.
        level: share of the replicates within the interval.

    Returns:
        Lower and upper end; None for fewer than two utterances, which say nothing about others.

    Raises:
        ParameterError: the two sequences differ in length.
    """
    count = len(errors)
    if count != len(lengths):
        raise ParameterError(
            f"{count} error counts for {len(lengths)} reference lengths: give one of each an utterance"
        )
    if count < 2:  # noqa: PLR2004 - one utterance has no spread
        return None
    random = np.random.default_rng(seed)
    error_counts, reference_lengths = np.asarray(errors, np.int64), np.asarray(lengths, np.int64)
    rates = []
    block = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, replicates, block):
        drawn = random.integers(0, count, (min(block, replicates - start), count))
        rates.append(error_counts[drawn].sum(axis=1) / np.maximum(1, reference_lengths[drawn].sum(axis=1)))
    low, high = np.quantile(np.concatenate(rates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
