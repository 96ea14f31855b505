"""Values of request parameters: as numbers, and as an error shows them."""

import math

SHOWN = 60
"""Characters of a value in an error."""


def as_number(value: object) -> float:
    """A number, or text that is one; NaN for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        # Python reads 1_0 as 10, which nobody writes on purpose
        return math.nan if "_" in str(value) else float(value)
    except (ValueError, OverflowError):
        return math.nan


def shown(value: object) -> str:
    """A value on one line, not longer than a reader needs."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
