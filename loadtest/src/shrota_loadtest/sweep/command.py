"""What ``shrota sweep`` does."""

import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from shrota_client.pages.drawing import new_figure
from shrota_client.pages.write import claim
from shrota_loadtest.errors import SweepError
from shrota_loadtest.host import host
from shrota_loadtest.lengths import LENGTHS, WHOLE, parse_lengths
from shrota_loadtest.metrics import read_metrics
from shrota_loadtest.perf_analyzer.data import ENGINES
from shrota_loadtest.perf_analyzer.program import find_program
from shrota_loadtest.sweep import page
from shrota_loadtest.sweep.copies import room_beside
from shrota_loadtest.sweep.measure import Addresses, Order
from shrota_loadtest.sweep.plan import BATCH, CONCURRENCY, RATE, Point, numbers, plan, ways
from shrota_loadtest.sweep.rounds import KINDS, Rounds, checked, copies_of, measure_rounds
from shrota_loadtest.sweep.run import LEFT_OUT, Deadline, measure_points
from shrota_loadtest.sweep.serving import serving, version_of
from shrota_loadtest.sweep.settings import Configuration, configurations, parse_axis, read_models
from shrota_loadtest.workload import Clip, cut_clips, read_clips

USUAL = "1,2,4,8"
PLACES = ("repository", "manifest")
"""Options whose folders the page does not show: they are of this machine."""
TURN_POINTS = 3
"""Points that take as long as one configuration in one round: it has two, and its server is started."""
HIDDEN = ("program", "output", "grpc", "http", "metrics")


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for, checked.

    Attributes:
        points: of the sweep over load.
        configurations: of the sweep over configuration; empty for none.
        rounds: how these are measured.
    """

    points: Sequence[Point]
    configurations: Sequence[Configuration]
    rounds: Rounds

    @property
    def share_of_points(self) -> float:
        """Of the time, 0 to 1: so that points that take longer than they should leave some for the configurations."""
        turns = self.rounds.rounds * len(self.configurations)
        return len(self.points) / max(1, len(self.points) + TURN_POINTS * turns)


def run(context: click.Context, **options: Any) -> None:
    """Measures and writes the page.

    Raises:
        ShrotaError: something that was asked for cannot be done; before anything starts, if that can be known.
    """
    repository: Path | None = options["repository"]
    if repository is not None and any(_given(context, name) for name in ("grpc", "http", "metrics")):
        raise click.UsageError("--repository starts a server of its own: no --grpc, --http or --metrics beside it")
    new_figure()  # says at once if matplotlib is missing
    program = find_program(options["program"])
    wanted = wants(**options)
    clips = speech_of(options["manifest"], options["lengths"], options["clips"])
    claim(options["output"])
    with _ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="shrota-sweep-") as scratch:
        order = Order(program.path, clips, options["batch_seconds"], options["seconds"], Path(scratch))
        addresses = Addresses(options["grpc"], options["http"], options["metrics"])
        content = _measure(order, wanted, repository, addresses, options["minutes"])
    content |= {
        "command": shown_command(context),
        "perf_analyzer": program.version,
        "speech": describe_speech(clips, options["manifest"], options["lengths"]),
    }
    written = page.write(content, options["output"])
    click.echo(f"written: {written[0]} and {len(written) - 1} other files beside it", err=True)
    _check_measured(content)


def _check_measured(content: Mapping[str, Any]) -> None:
    """Refuses a page on which the points, or the configurations, are all without a measurement.

    Raises:
        SweepError: with the first reason.
    """
    turns = (content["configuration"] or {"configurations": {}})["configurations"].values()
    asked = {
        "point": (content["points"], content["points"]),
        "configuration": (turns, [point for each in turns for kind in KINDS for point in each[kind]]),
    }
    for what, (wanted, points) in asked.items():
        reasons = [point["failed"] for point in points if "failed" in point]
        if wanted and len(reasons) == len(points):
            raise SweepError(f"no {what} could be measured: {(reasons or [LEFT_OUT])[0]}")


def wants(*, repository: Path | None, **options: Any) -> Wanted:
    """Checks what is asked for.

    Raises:
        SweepError, ConfigurationError: it cannot be.
    """
    given = {CONCURRENCY: options["concurrency"], RATE: options["request_rate"], BATCH: options["batch"]}
    if not any(given.values()) and not options["settings"]:
        given[CONCURRENCY] = USUAL
    if options["also"] and not given[CONCURRENCY]:
        raise SweepError("--also is measured over concurrency alone: give --concurrency beside it")
    values = {axis: numbers(text, whole=axis != RATE) for axis, text in given.items() if text}
    full = ways(options["models"], options["protocols"], options["shared_memory"])
    brief = ways(options["also"], options["protocols"][:1], options["shared_memory"][:1])
    models = ["asr", *options["engines"]]
    if repository is not None:
        read_models(repository, models)
        for model in (*options["models"], *options["also"]):
            if model in ENGINES and model not in models:
                raise SweepError(f"{model} would not be served: name it with --engine {model} too")
    axes = [parse_axis(text) for text in options["settings"]]
    if axes and repository is None:
        raise SweepError("--set starts servers on copies of a repository: name it with --repository")
    kept = checked(repository, configurations(axes, grid=options["grid"])) if axes and repository else []
    if axes and len(kept) == 1:
        raise SweepError("--set changes nothing: the repository has these values already")
    rounds = Rounds(
        full[0], models, options["throughput_concurrency"], options["latency_concurrency"], options["rounds"]
    )
    return Wanted(plan(full, brief, values), kept, rounds)


def speech_of(manifest: Path, lengths: str, count: int) -> list[Clip]:
    """The utterances to send.

    Raises:
        WorkloadError: there is no such distribution, or no speech to cut.
        ManifestError, AudioError: the speech cannot be read.
    """
    distribution = parse_lengths(lengths)
    speech = read_clips(manifest)
    return speech[:count] if distribution is None else cut_clips(speech, distribution, count)


def describe_speech(clips: Sequence[Clip], manifest: Path, lengths: str) -> dict[str, Any]:
    """For the page."""
    seconds = [clip.seconds for clip in clips]
    source = LENGTHS[lengths].source if lengths in LENGTHS else lengths
    return {
        "manifest": manifest.name if manifest.is_absolute() else str(manifest),
        "lengths": "as they are" if lengths == WHOLE else f"cut to the lengths of: {source}",
        "clips": len(clips),
        "least_s": min(seconds),
        "most_s": max(seconds),
        "mean_s": sum(seconds) / len(seconds),
    }


def _measure(
    order: Order, wanted: Wanted, repository: Path | None, addresses: Addresses, minutes: float | None
) -> dict[str, Any]:
    deadline = Deadline(minutes)
    first = deadline if minutes is None else Deadline(minutes * wanted.share_of_points)
    points: list[dict[str, Any]] = []
    server = None
    if wanted.points:
        with _served(repository, wanted.rounds.models, addresses) as found:
            read_metrics(found.metrics)
            server = version_of(found.http)
            points = measure_points(order, found, wanted.points, _say, first.is_over)
    configuration = None
    if wanted.configurations and repository is not None:
        with room_beside(repository) as room:
            copies = copies_of(repository, wanted.configurations, room)
            configuration = measure_rounds(order, copies, wanted.rounds, say=_say, is_over=deadline.is_over)
    return {
        "format": page.FORMAT,
        "host": host(),
        "server": server or (configuration or {}).get("server"),
        "points": points,
        "configuration": configuration,
    }


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the sweep as Ctrl-C does: perf_analyzer, servers and copies of the repository go with it."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _served(repository: Path | None, models: Sequence[str], addresses: Addresses) -> Iterator[Addresses]:
    if repository is None:
        yield addresses
    else:
        with serving(repository, models) as found:
            yield found


def _given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def shown_command(context: click.Context) -> str:
    """The command as the page shows it: what was given, without folders of this machine outside the current one."""
    words = ["shrota sweep"]
    for option in context.command.params:
        if not isinstance(option, click.Option) or not _given(context, option.name or "") or option.name in HIDDEN:
            continue
        value = context.params[option.name or ""]
        for each in value if option.multiple else [value]:
            text = _shown_place(Path(each)) if option.name in PLACES else each
            words.append(option.opts[0] if option.is_flag else f"{option.opts[0]} {text}")
    return " ".join(words)


def _shown_place(place: Path) -> Path:
    if place.is_relative_to(Path.cwd()):
        return place.relative_to(Path.cwd())
    return Path(place.name) if place.is_absolute() else place


def _say(text: str) -> None:
    click.echo(text, err=True)
