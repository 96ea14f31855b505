"""``shrota loadtest``: Locust against a server, and the page of what it carries."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

POSITIVE = click.FloatRange(min=0, min_open=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
OPTIONS = (
    click.option("--server", default="", envvar="SHROTA_SERVER", help="HOST:PORT (gRPC), grpcs://, http:// or https://."),
    click.option("--metrics", default="", metavar="HOST:PORT", help="Triton's metrics of that server."),
    click.option("--repository", type=FOLDER, help="Serve this model repository for the test, instead of --server."),
    click.option("--engine", "engines", multiple=True, help="With --repository: engine to load; the first is used. "
                 "[acoustic_onnx] With --server: engine of every request."),
    click.option("--transport", type=click.Choice(["grpc", "http"]), default="grpc", show_default=True,
                 help="With --repository."),
    click.option("--speech", default="samples/manifest.jsonl", show_default=True, help="Manifest of the speech."),
    click.option("--lengths", default="news", show_default=True, metavar="NAME|MEDIAN,SIGMA[,LEAST,MOST]",
                 help="How long utterances are: news, audiobook, meeting, numbers, or whole (as in the manifest)."),
    click.option("--clips", default=48, show_default=True, help="Utterances that are cut from the speech."),
    click.option("--seed", default=0, show_default=True, help="Of utterances and arrivals."),
    click.option("--bound", default=1.0, show_default=True, metavar="SECONDS", help="That 95 % of the latencies keep."),
    click.option("--word-errors", default=0.0, show_default=True, metavar="SHARE",
                 help="Word error rate against the transcripts alone that is allowed, as in half precision on a GPU."),
    click.option("--rate-per-user", default=0.1, show_default=True, help="Arrivals a second of one of Locust's users."),
    click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="That send."),
)  # fmt: skip
TIMEOUT = (
    click.option("--timeout", "request_timeout", default=60.0, show_default=True, metavar="SECONDS",
                 help="After which a request is given up."),
)  # fmt: skip
SHORT_TIMEOUT = (
    click.option("--timeout", "request_timeout", default=10.0, show_default=True, metavar="SECONDS",
                 help="After which a request is given up; more than 10 leave the server work."),
)  # fmt: skip
KIND = (
    click.option("--kind", type=click.Choice(["open", "closed", "streams"]), default="open", show_default=True,
                 help="Arrivals at random; users that wait for their answers; live speakers."),
    click.option("--think-time", default=0.0, show_default=True, help="Seconds, of closed users."),
    click.option("--settle", default=3.0, show_default=True, help="Seconds of a step that are not counted."),
    click.option("--measure", "measure_s", type=POSITIVE, default=20.0, show_default=True, help="That are."),
)  # fmt: skip
RATE = (
    click.option("--rate", type=POSITIVE, help="Highest rate that the server carries, in requests a second."),
    click.option("--of", "of", type=FOLDER, default="build/loadtest", show_default=True,
                 help="Folder with the page of a search, which found that rate."),
    click.option("--pid", type=int, help="With --server: tritonserver's process, whose memory is watched."),
)  # fmt: skip


def _options(*groups: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed([each for group in groups for each in group]):
            command = option(command)
        return command

    return add


def _output(default: str) -> Callable[[Command], Command]:
    return click.option("--output", type=FOLDER, default=default, show_default=True, help="Folder of the page.")


@click.group()
def loadtest() -> None:
    """How much speech a server carries, by Locust.

    Each command ends in a page (index.html, report.md, report.json, CSV, pictures); its exit code is 1 where what must
    hold does not.
    """


@loadtest.command()
@_options(OPTIONS, TIMEOUT, KIND)
@click.option("--start", default=0.0, help="First load. [half of what the server does one by one]")
@click.option("--precision", type=POSITIVE, default=0.1, show_default=True, help="Share by which it may miss.")
@click.option("--minutes", default=0.0, show_default=True, help="Begins no step after so many minutes; 0: no limit.")
@_output("build/loadtest")
def search(*, start: float, precision: float, minutes: float, output: Path, **options: Any) -> None:
    """Searches for the highest load at which 95 % of the latencies keep the bound and no request fails."""
    from shrota_loadtest.settings import SEARCH  # noqa: PLC0415 - `shrota --help` stays quick
    from shrota_loadtest.stages import Stage, stages_to_json  # noqa: PLC0415

    stages = stages_to_json([Stage(max(start, 1.0), options.pop("settle"), options.pop("measure_s"))])
    _measure(output, options, shape=SEARCH, stages=stages, start=start, precision=precision, minutes=minutes)


@loadtest.command()
@_options(OPTIONS, TIMEOUT, KIND)
@click.option("--loads", metavar="A,B,C", help="Requests a second, users or streams.")
@click.option("--ramp", metavar="FROM:TO:COUNT", help="The same as so many loads in equal steps.")
@_output("build/loadtest")
def steps(*, loads: str | None, ramp: str | None, output: Path, **options: Any) -> None:
    """Measures the loads that are given, one after the other."""
    from shrota_loadtest.settings import STAGES  # noqa: PLC0415
    from shrota_loadtest.stages import Stage, loads_of, stages_to_json  # noqa: PLC0415

    settle, measure_s = options.pop("settle"), options.pop("measure_s")
    stages = [Stage(load, settle, measure_s) for load in loads_of(loads, ramp)]
    _measure(output, options, shape=STAGES, stages=stages_to_json(stages))


@loadtest.command()
@_options(OPTIONS, TIMEOUT, RATE)
@click.option("--minutes", type=POSITIVE, default=20.0, show_default=True, help="That are measured.")
@click.option("--share", type=POSITIVE, default=0.7, show_default=True, help="Of the highest rate.")
@click.option(
    "--warm-up", default=180.0, show_default=True, help="Seconds before memory counts; the first of them too much."
)
@_output("build/soak")
def soak(
    *, minutes: float, share: float, warm_up: float, rate: float | None, of: Path, output: Path, **options: Any
) -> None:
    """One rate for a long time: no error, the same transcripts, and memory that grows by at most 2 %."""
    from shrota_loadtest import running  # noqa: PLC0415

    highest = rate or running.highest_rate(of)
    target, settings, processes = _begin(options)
    _exit(
        running.soak(
            target,
            settings,
            output,
            processes,
            _command(),
            highest=highest,
            share=share,
            warm_up_s=warm_up,
            seconds=60 * minutes,
        )
    )


@loadtest.command()
@_options(OPTIONS, SHORT_TIMEOUT, RATE)
@click.option("--times", type=POSITIVE, default=3.0, show_default=True, help="The highest rate.")
@click.option("--seconds", type=POSITIVE, default=60.0, show_default=True, help="Of the overload.")
@_output("build/overload")
def overload(*, times: float, seconds: float, rate: float | None, of: Path, output: Path, **options: Any) -> None:
    """Too much: the server keeps answering, refuses the rest in time, and serves normally 10 s later."""
    from shrota_loadtest import running  # noqa: PLC0415

    highest = rate or running.highest_rate(of)
    target, settings, processes = _begin(options)
    _exit(running.overload(target, settings, output, processes, _command(), rate=highest, times=times, seconds=seconds))


def _measure(output: Path, options: dict[str, Any], **shape: Any) -> None:
    from shrota_loadtest import running  # noqa: PLC0415

    target, settings, processes = _begin(options, **shape)
    _exit(running.measure(target, settings, output, processes, _command()))


def _begin(options: dict[str, Any], **shape: Any) -> tuple[Any, Any, int]:
    """Target, settings and processes; what is left of the options are settings by their names."""
    from shrota_loadtest.launch import stop_on_signals  # noqa: PLC0415
    from shrota_loadtest.running import Target  # noqa: PLC0415
    from shrota_loadtest.settings import Settings  # noqa: PLC0415

    stop_on_signals()
    processes = options.pop("processes")
    engines = options.pop("engines")
    target = Target(
        "" if options["repository"] and _is_default("server") else options["server"],
        options["metrics"],
        options["repository"],
        engines or ("acoustic_onnx",),
        options["transport"],
        options.get("pid"),
    )
    engine = engines[0] if engines and target.repository is None else ""
    return target, Settings.of({**options, **shape, "engine": engine, "metrics": ""}), processes


def _is_default(name: str) -> bool:
    """Whether an option was not written on the command line: the environment may name a server all the same."""
    return click.get_current_context().get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE


def _command() -> str:
    """As it was written, but for the folder that it was run in."""
    return " ".join(["shrota", *(word.replace(f"{Path.cwd()}/", "") for word in sys.argv[1:])])


def _exit(holds: bool) -> None:
    if not holds:
        sys.exit(1)
