"""Which points a sweep has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from shrota_loadtest.errors import SweepError

CONCURRENCY, RATE, BATCH = "concurrency", "request rate", "batch"
AXES = (CONCURRENCY, RATE, BATCH)
MODELS = ("asr", "acoustic", "acoustic_onnx", "acoustic_trt", "acoustic_torch", "acoustic_openvino")
PROTOCOLS = ("grpc", "http")
SHARED_MEMORY = ("none", "system")
MOST_SHOWN = 60
"""Characters of a list that is none."""


@dataclass(frozen=True)
class Way:
    """What is asked, and how.

    Attributes:
        model: its name.
        protocol: ``grpc`` or ``http``.
        shared_memory: ``none`` or ``system``.
    """

    model: str
    protocol: str
    shared_memory: str

    @property
    def label(self) -> str:
        """For tables and legends."""
        memory = ", shared memory" if self.shared_memory != "none" else ""
        return f"{self.model}, {'gRPC' if self.protocol == 'grpc' else 'HTTP'}{memory}"


@dataclass(frozen=True)
class Point:
    """One load of a sweep.

    Attributes:
        way: what is asked, and how.
        axis: one of :data:`AXES`.
        value: requests under way, requests a second, or rows of a request.
    """

    way: Way
    axis: str
    value: float

    @property
    def concurrency(self) -> int | None:
        """Requests under way: batches come one by one; None for a rate."""
        return {CONCURRENCY: int(self.value), BATCH: 1}.get(self.axis)

    @property
    def rate(self) -> float | None:
        """Requests a second; None for a closed loop."""
        return self.value if self.axis == RATE else None

    @property
    def rows(self) -> int:
        """Of a request."""
        return int(self.value) if self.axis == BATCH else 1

    @property
    def label(self) -> str:
        """In one line."""
        return f"{self.way.label}, {self.axis} {self.value:g}"


def ways(models: Sequence[str], protocols: Sequence[str], shared_memory: Sequence[str]) -> list[Way]:
    """All combinations, each once."""
    return list(dict.fromkeys(Way(*each) for each in product(models, protocols, shared_memory)))


def plan(all_axes: Sequence[Way], brief: Sequence[Way], values: Mapping[str, Sequence[float]]) -> list[Point]:
    """The points, axis by axis.

    Args:
        all_axes: ways that are measured along every axis.
        brief: ways that are measured over concurrency alone.
        values: by axis.
    """
    rest = [way for way in brief if way not in all_axes]
    return [
        Point(way, axis, value)
        for axis in AXES
        for way in (*all_axes, *(rest if axis == CONCURRENCY else ()))
        for value in values.get(axis, ())
    ]


def numbers(text: str, *, whole: bool) -> list[float]:
    """``1,2,4`` as numbers above 0, each once, rising.

    Raises:
        SweepError: it is no such list.
    """
    try:
        found = sorted({float(int(part) if whole else float(part)) for part in text.split(",")})
    except (ValueError, OverflowError):  # more digits than a number may have
        found = []
    if not found or not 0 < found[0] <= found[-1] < float("inf"):
        what = "whole numbers" if whole else "numbers"
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
        raise SweepError(f"{shown!r} is no list of {what} above 0: write {'1,2,4' if whole else '2.5,5,10'}")
    return found
