"""The reports of all processes that send requests, put together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from shrota_loadtest.stages import DRAIN, MEASURE


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one request.

    Attributes:
        clip: number of the utterance.
        is_measured: it arrived within the measured time of its step.
        in_window: it ended within that time.
        latency_s: from the moment for which it was planned to its end.
        lag_s: of that, until it was sent: what the load generator is late.
        text: the transcript; None where it failed.
        error: class and message; None where it was answered.
    """

    clip: int
    is_measured: bool
    in_window: bool
    latency_s: float
    lag_s: float
    text: str | None
    error: str | None


@dataclass
class _Node:
    """One process that sends."""

    step: int = 0
    phase: str = ""
    flying: int = 0
    late: int = 0
    is_lost: bool = False
    arrived: dict[int, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    processor_s: dict[tuple[int, str], float] = field(default_factory=dict)


class Collector:
    """Takes reports of :class:`~shrota_loadtest.recorder.Recorder`, each sender's in their order."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._records: dict[int, list[Record]] = {}
        self._lost: dict[int, set[str]] = {}

    def keep_only(self, senders: Collection[str]) -> None:
        """All other senders are lost: nobody waits for them, and the step that they were lost in is not valid."""
        for name, node in self._nodes.items():
            if name not in senders and not node.is_lost:
                node.is_lost = True
                self._lost.setdefault(self._step, set()).add(name)

    def lost(self, step: int) -> int:
        """Senders that were lost in a step."""
        return len(self._lost.get(step, ()))

    def add(self, sender: str, report: Mapping[str, Any]) -> None:
        """One more report."""
        node = self._nodes.setdefault(sender, _Node())
        node.is_lost = False  # it is heard again
        node.texts += [text for _clip, text in report["texts"]]
        node.kinds += report["kinds"]
        node.step, node.phase = int(report["step"]), str(report["phase"])
        node.flying, node.late = int(report["flying"]), int(report["late"])
        node.arrived = {int(step): int(count) for step, count in report["arrived"]}
        # the first report of each phase comes when it begins
        node.processor_s.setdefault((node.step, node.phase), float(report["processor_s"]))
        for step, is_measured, in_window, clip, latency_s, lag_s, text, kind in report["rows"]:
            self._records.setdefault(int(step), []).append(
                Record(
                    int(clip),
                    bool(is_measured),
                    bool(in_window),
                    float(latency_s),
                    float(lag_s),
                    None if text < 0 else node.texts[int(text)],
                    None if kind < 0 else node.kinds[int(kind)],
                )
            )

    @property
    def _alive(self) -> list[_Node]:
        return [node for node in self._nodes.values() if not node.is_lost]

    @property
    def _step(self) -> int:
        """That is going on."""
        return max((node.step for node in self._nodes.values()), default=0)

    @property
    def senders(self) -> int:
        """Processes that have reported, and are not lost."""
        return len(self._alive)

    @property
    def flying(self) -> int:
        """Requests on their way, as last reported."""
        return sum(node.flying for node in self._alive)

    def late(self, step: int) -> int:
        """Measured requests of a step that are on their way for longer than the bound, as last reported."""
        return sum(node.late for node in self._alive if node.step == step)

    def is_quiet(self, step: int) -> bool:
        """Whether every sender has reported that the arrivals of a step are over, and nothing is on its way.

        Not where there is none.
        """
        nodes = self._alive
        return bool(nodes) and all((node.step, node.phase) == (step, DRAIN) for node in nodes) and not self.flying

    def arrived(self, step: int) -> int:
        """Requests that arrived within the measured time of a step."""
        return sum(node.arrived.get(step, 0) for node in self._nodes.values())

    def records(self, step: int) -> list[Record]:
        """Of all requests of a step that have ended."""
        return self._records.get(step, [])

    def processor_s(self, step: int) -> float | None:
        """Processor seconds of all senders in the measured time of a step; None where that is not known."""
        spent = []
        for node in self._alive:
            first, last = node.processor_s.get((step, MEASURE)), node.processor_s.get((step, DRAIN))
            if first is None or last is None:
                return None
            spent.append(last - first)
        return sum(spent) if spent else None
