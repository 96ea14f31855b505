"""How cost grows: exponents, fitted to times."""

from collections.abc import Sequence

import numpy as np


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The b of time = a * size ** b, by least squares of the logarithms.

    Args:
        sizes: at least two different ones, above zero.
        times: as many, above zero.
    """
    slope, _ = np.polyfit(np.log(sizes), np.log(times), 1)
    return float(slope)


def quadratic(sizes: Sequence[float], times: Sequence[float]) -> tuple[float, float, float]:
    """The a, b, c of time = a + b * size + c * size ** 2, none below zero, by least squares of the relative errors.

    Args:
        sizes: at least three different ones.
        times: as many, above zero.
    """
    x, y = np.asarray(sizes, float), np.asarray(times, float)
    columns = np.stack([np.ones_like(x), x, x**2], axis=1) / y[:, None]
    best, error = np.zeros(3), np.inf
    for kept in ([0, 1, 2], [1, 2], [0, 2], [0, 1], [0], [1], [2]):  # every set of terms that may be above zero
        found, *_ = np.linalg.lstsq(columns[:, kept], np.ones_like(y), rcond=None)
        if (found < 0).any():
            continue
        rest = float(((columns[:, kept] @ found - 1) ** 2).sum())
        if rest < error - 1e-15:
            error, best = rest, np.zeros(3)
            best[kept] = found
    return float(best[0]), float(best[1]), float(best[2])


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of (cost, gain) no other beats: none costs less or as much and gains more or as much, one of both better.

    Returns:
        Their indices, by rising cost.
    """
    efficient = [
        index
        for index, (cost, gain) in enumerate(points)
        if not any(
            other_cost <= cost and other_gain >= gain and (other_cost, other_gain) != (cost, gain)
            for other_cost, other_gain in points
        )
    ]
    return sorted(efficient, key=lambda index: points[index])


def amdahl(share: float, speedup: float) -> float:
    """How many times faster the whole becomes if ``share`` of its time becomes ``speedup`` times faster.

    Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities", AFIPS 1967.
    An infinite ``speedup`` gives the bound.
    """
    rest = 1 - share + share / speedup
    return 1 / rest if rest else float("inf")
