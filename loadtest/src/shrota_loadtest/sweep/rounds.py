"""A sweep over configuration: servers with one configuration after the other, in several rounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shrota_client.errors import ShrotaError
from shrota_loadtest.sweep.copies import SCHEDULER, check_scheduler, copy_repository
from shrota_loadtest.sweep.measure import Order, measure
from shrota_loadtest.sweep.plan import CONCURRENCY, Point, Way
from shrota_loadtest.sweep.serving import serving, version_of
from shrota_loadtest.sweep.settings import Configuration, changed, without_doubles

Say = Callable[[str], None]
KINDS = ("throughput", "latency")


@dataclass(frozen=True)
class Rounds:
    """What is measured of each configuration.

    Attributes:
        way: what is asked, and how.
        models: that are served.
        throughput_concurrency: requests under way where throughput is measured.
        latency_concurrency: and where latency is.
        rounds: times that each configuration has its turn.
    """

    way: Way
    models: Sequence[str]
    throughput_concurrency: int
    latency_concurrency: int
    rounds: int

    def points(self) -> dict[str, Point]:
        """By kind."""
        values = (self.throughput_concurrency, self.latency_concurrency)
        return {kind: Point(self.way, CONCURRENCY, value) for kind, value in zip(KINDS, values, strict=True)}


def checked(repository: Path, wanted: Sequence[Configuration]) -> list[Configuration]:
    """The configurations that differ, all of them possible as far as can be known before a server starts.

    Raises:
        SweepError, ConfigurationError: one is not.
    """
    kept = without_doubles(repository, wanted)
    for each in kept:
        config = changed(repository, each).get(SCHEDULER)
        if config is not None:
            check_scheduler(repository, config, each.name)
    return kept


def copies_of(repository: Path, wanted: Sequence[Configuration], room: Path) -> dict[Configuration, Path]:
    """A copy of the repository for each configuration, in a folder on its file system.

    Raises:
        OutputError: it cannot be written.
    """
    return {
        each: copy_repository(repository, room / str(number), changed(repository, each))
        for number, each in enumerate(wanted)
    }


def measure_rounds(
    order: Order,
    copies: Mapping[Configuration, Path],
    rounds: Rounds,
    *,
    say: Say,
    is_over: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Measures each configuration in each round; every second round goes backwards, so that none is always first.

    Args:
        order: what is the same for all points.
        copies: of :func:`copies_of`.
        rounds: what is measured.
        say: is told what comes next.
        is_over: whether the time is over; a round that has begun is then left.

    Returns:
        Plain data: settings, and the measured points of each configuration by kind; ``failed`` has its reasons.
    """
    found: dict[str, dict[str, Any]] = {
        each.name: {"settings": [vars(setting) for setting in each.settings], **{kind: [] for kind in KINDS}}
        for each in copies
    }
    left_out, server = 0, None
    for turn in range(rounds.rounds):
        for each in copies if turn % 2 == 0 else reversed(list(copies)):
            if is_over():
                left_out += 1
                continue
            say(f"round {turn + 1} of {rounds.rounds}: {each.name}")
            server = _visit(order, copies[each], rounds, found[each.name], say) or server
    return {
        "way": vars(rounds.way),
        "server": server,
        "rounds": rounds.rounds,
        "throughput_concurrency": rounds.throughput_concurrency,
        "latency_concurrency": rounds.latency_concurrency,
        "left_out": left_out,
        "configurations": found,
    }


def _visit(order: Order, copy: Path, rounds: Rounds, found: dict[str, Any], say: Say) -> str | None:
    """One configuration in one round; the server's version, where there was one."""
    server = None
    try:
        with serving(copy, rounds.models) as addresses:
            server = version_of(addresses.http)
            for kind, point in rounds.points().items():
                found[kind].append(measure(order, addresses, point))
                say(f"  {kind}: {outcome(found[kind][-1])}")
    except ShrotaError as error:  # the server did not start, or went: the other configurations are measured
        for kind in KINDS:
            found[kind].append({"failed": str(error)})
        say(f"  failed: {error}")
    return server


def outcome(point: Mapping[str, Any]) -> str:
    """One measured point in a few words."""
    if "failed" in point:
        return f"failed: {point['failed']}"
    unstable = "" if point["stable"] else ", unstable"
    return f"{point['utterances_per_second']:.1f} utterances/s, p95 {point['p95_ms']:.0f} ms{unstable}"


def values(found: Mapping[str, Any], kind: str, name: str) -> dict[str, list[float]]:
    """The numbers of one kind by configuration, over the rounds that gave one."""
    return {
        configuration: [point[name] for point in each[kind] if "failed" not in point]
        for configuration, each in found["configurations"].items()
    }


def unstable_rounds(found: Mapping[str, Any], kind: str) -> dict[str, str]:
    """How many rounds of one kind were unstable, by configuration: "1 of 3"; without those that had none."""
    counts = {}
    for configuration, each in found["configurations"].items():
        measured = [point for point in each[kind] if "failed" not in point]
        unstable = sum(not point["stable"] for point in measured)
        if unstable:
            counts[configuration] = f"{unstable} of {len(measured)}"
    return counts
