"""What each subcommand of ``shrota loadtest`` does, once its options are read."""

import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shrota_client.errors import ParameterError
from shrota_client.pages.host import cores
from shrota_client.pages.write import JSON
from shrota_client.writing import writing
from shrota_loadtest import verdicts
from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.host import host
from shrota_loadtest.launch import Server, check, run_locust, serve
from shrota_loadtest.pages.report import summary, write_report
from shrota_loadtest.processes import MemoryWatch, Others, memory_figures
from shrota_loadtest.settings import OPEN, STAGES, Settings
from shrota_loadtest.stages import Stage, stages_from_json, stages_to_json

LOW_SHARE = 0.2
"""Of the highest rate: the load before and after an overload."""
PAUSE_S, SETTLE_S = 8.0, 2.0
"""From the end of an overload until the server must serve normally: nothing arrives, then a low load of which none may
fail, and which is not measured, because the load generator needs a second or two to have all its users again."""
BACKLOG_S, BACKLOG_TIMES = 20.0, 3.0
"""Before a soak, so long so many times the highest rate."""
SHORT_BACKLOG_S = 5.0
"""Before an overload, so long as much as in it."""


@dataclass(frozen=True)
class Target:
    """Where the load goes.

    Attributes:
        server: address of a running server, or empty.
        metrics: its metrics' address, or empty.
        repository: served for the test where there is no ``server``.
        engines: that are loaded then; the first is the default.
        transport: ``grpc`` or ``http``, likewise.
        pid: of a tritonserver on this machine whose memory is watched; None where it is unknown.
    """

    server: str
    metrics: str
    repository: Path | None
    engines: Sequence[str]
    transport: str
    pid: int | None = None


@contextlib.contextmanager
def reach(target: Target, settings: Settings) -> Iterator[tuple[Settings, Server | None, str]]:
    """The settings with the server's addresses, the server if it was started here, and a line on where it is.

    Raises:
        ShrotaError: there is no server, or it cannot be started.
    """
    if target.repository is None:
        if not target.server:
            raise ParameterError("there is no server to load: name one with --server, or start one with --repository")
        scheme = "http" if target.server.startswith("http") else "grpc"
        addresses: dict[str, Any] = {scheme: target.server, "metrics": target.metrics}
        yield replace(settings, **addresses), None, f"Server: {target.server}, of which this page knows no more."
        return
    if target.server:
        raise ParameterError("--server and --repository exclude each other")
    print(f"loading asr and {', '.join(target.engines)} from {target.repository} ...", file=sys.stderr)  # noqa: T201
    with serve(target.repository, target.engines) as server:
        address = {target.transport: server.grpc if target.transport == "grpc" else server.http}
        line = (
            f"Server: the embedded tritonserver with {', '.join(target.engines)}, by {target.transport}; the load "
            f"generator shares this machine's {cores()} cores with it."
        )
        yield replace(settings, **address, metrics=server.metrics), server, line  # type: ignore[arg-type]


def measure(target: Target, settings: Settings, output: Path, processes: int, command: str) -> bool:
    """A search, or given steps: writes the page. Whether every transcript was right, and a search found a load.

    Raises:
        ShrotaError: there is no server, no speech, or no place for the page.
    """
    check_output(output)
    with reach(target, settings) as (reached, server, line):
        check(reached)
        results = _run(reached, server, processes)
    return finish(results, verdicts.measure_checks(results, settings.word_errors), output, command, line)


def soak(
    target: Target,
    settings: Settings,
    output: Path,
    processes: int,
    command: str,
    *,
    highest: float,
    share: float,
    warm_up_s: float,
    seconds: float,
) -> bool:
    """A share of the highest rate for a long time, and the memory of the server's processes. Whether all holds.

    Before it comes more than the server carries, for a few seconds: memory that a backlog needs, shared memory above
    all, stays with a server, and would otherwise be counted whenever chance brings the first one.

    Raises:
        ShrotaError: as :func:`measure`; also where the server's processes are not on this machine.
    """
    backlog_s = min(BACKLOG_S, warm_up_s)
    stages = [Stage(share * highest, warm_up_s - backlog_s, seconds, name="soak")]
    if backlog_s > 0:
        stages.insert(0, Stage(BACKLOG_TIMES * highest, 0.0, backlog_s, name="backlog"))
    results, line = _watched(target, _staged(settings, stages), output, processes, step=len(stages), whole=False)
    checks = verdicts.soak_checks(results, settings.word_errors)
    return finish({**results, "test": "soak"}, checks, output, command, line)


def overload(
    target: Target,
    settings: Settings,
    output: Path,
    processes: int,
    command: str,
    *,
    rate: float,
    times: float,
    seconds: float,
) -> bool:
    """A multiple of the highest rate for a while, with a low rate before and after. Whether all holds.

    First of all comes the same for a few seconds: what full batches and a backlog need is then there before memory is
    compared, as in :func:`soak`.

    Raises:
        ShrotaError: as :func:`measure`.
    """
    low = max(settings.quantum, LOW_SHARE * rate)
    stages = [
        Stage(times * rate, 0.0, min(seconds, SHORT_BACKLOG_S), name="backlog"),
        Stage(low, SETTLE_S, min(seconds, 15.0), name="before"),
        Stage(times * rate, 0.0, seconds, PAUSE_S, "overload"),
        Stage(low, SETTLE_S, min(seconds, 20.0), name="after"),
    ]
    results, line = _watched(target, _staged(settings, stages), output, processes, step=3, whole=True)
    checks = verdicts.overload_checks(results, rate, settings.request_timeout, settings.bound, settings.word_errors)
    return finish({**results, "test": "overload"}, checks, output, command, line)


def _staged(settings: Settings, stages: Sequence[Stage]) -> Settings:
    return replace(settings, kind=OPEN, shape=STAGES, stages=stages_to_json(stages))


def _run(settings: Settings, server: Server | None, processes: int) -> dict[str, Any]:
    """Runs Locust; where the server was started here, also what other programs took of the processors meanwhile."""
    if server is None:
        return run_locust(settings, processes)
    with Others(server.find_pid) as others:
        results = run_locust(settings, processes)
    return {**results, "others": others.share}


def _watched(
    target: Target, settings: Settings, output: Path, processes: int, *, step: int, whole: bool
) -> tuple[dict[str, Any], str]:
    """Runs the stages while the server's memory is read; its figures are of one step, or from the one before it on."""
    check_output(output)
    with reach(target, settings) as (reached, server, line):
        check(reached)
        if server is None and target.pid is None:
            raise ParameterError("name the process id of tritonserver on this machine with --pid, or use --repository")
        find_pid = server.find_pid if server is not None else lambda: target.pid or 0
        with MemoryWatch(find_pid) as watch:
            results = _run(reached, server, processes)
    if len(results["steps"]) < len(stages_from_json(settings.stages)):
        raise LoadTestError("the load test was stopped before its end")
    measured = results["steps"][step - 1]
    until = results["steps"][-1]["ended"] if whole else measured["ended"]
    began = results["steps"][step - 2]["began"] if whole else measured["began"]
    try:
        results["memory"] = {**memory_figures(watch.samples, began, until), "step": step}
    except LoadTestError as error:  # after all those minutes there is a page all the same
        results["memory_unread"] = str(error)
    return results, line


def finish(results: dict[str, Any], checks: Sequence[verdicts.Check], output: Path, command: str, server: str) -> bool:
    """Writes the page and says what it shows. Whether all checks hold."""
    content = {"command": command, "host": host(), "server": server, **results, "checks": verdicts.plain(checks)}
    written = write_report(content, output)
    lines = [*summary(content), *(f"{'holds' if c.holds else 'DOES NOT HOLD'}: {c.what} ({c.found})" for c in checks)]
    print("\n".join([*lines, f"wrote {written[0]}"]))  # noqa: T201
    return all(each.holds for each in checks)


def check_output(output: Path) -> None:
    """Makes the folder, and writes into it: not after minutes of load.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass


def highest_rate(folder: Path) -> float:
    """The highest rate of a search whose page is in a folder.

    Raises:
        LoadTestError: there is none.
    """
    path = folder / JSON
    remedy = "make one with `shrota loadtest search`, or give the rate with --rate"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        best, kind = content["best"], content["kind"]
        rate = None if best is None else float(best)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadTestError(f"there is no search for the highest rate in {path}: {remedy}") from error
    if rate is None or kind != OPEN:
        raise LoadTestError(f"the search in {path} found no rate of requests that the server carries: {remedy}")
    if not (math.isfinite(rate) and rate > 0):
        raise LoadTestError(f"the highest rate in {path} is {rate:g}: {remedy}")
    return rate
