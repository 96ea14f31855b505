"""The variants that a server can serve, through the embedded Triton, each by turns with itself bare."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shrota_client.configuration import write_configuration
from shrota_export.configuration import OUTPUT, read_configuration
from shrota_export.engines import Engine
from shrota_export.errors import ReportError
from shrota_export.gate.stages import triton_engine
from shrota_export.paths import MODEL
from shrota_export.precision.graphs import weights_files
from shrota_export.progress import step
from shrota_export.report.child import memory
from shrota_export.report.material import Material
from shrota_export.report.reasons import reason_of
from shrota_export.report.timing import Spread, run_of, time_turns
from shrota_export.report.variants import Variant
from shrota_export.repository import check_repository

ENGINE = MODEL.parts[0]
READY_S = 180.0
LATENCY = {"most_s": 20.0, "least": 3}
THROUGHPUT = {"most_s": 8.0, "least": 1}
"""Of :func:`~shrota_export.report.timing.time_turns`: one run of a large model is long enough to say something."""
ALL = "any of these through Triton"


def make_repository(source: Path, graph: Path, folder: Path, vocabulary_size: int) -> Path:
    """A model repository with one engine, configured as in another, on the processor and without its warm-up requests.

    Args:
        source: the other repository.
        graph: linked, not copied, with its weights; on the file system of ``folder``.
        folder: is made.
        vocabulary_size: of the graph.

    Raises:
        RepositoryError: the other is no model repository.
    """
    check_repository(source)
    config = read_configuration(source / ENGINE / "config.pbtxt")
    for output in config.output:
        if output.name == OUTPUT:
            output.dims[-1:] = [vocabulary_size]
    for group in config.instance_group:
        group.kind, group.count = group.KIND_CPU, 1
    del config.model_warmup[:]
    model = folder / MODEL
    model.parent.mkdir(parents=True)
    (folder / ENGINE / "config.pbtxt").write_text(write_configuration(config), encoding="utf-8")
    model.hardlink_to(graph)
    for file in weights_files(graph):
        model.with_name(file.name).hardlink_to(file)
    return folder


@contextmanager
def serving(repository: Path) -> Iterator[tuple[Engine, int]]:
    """The engine of a repository through Triton, and the server's process; the server is stopped behind it.

    Raises:
        ReportError: there is no server to start.
        ShrotaError: it does not start.
    """
    try:
        from shrota_server import TritonServer  # noqa: PLC0415 - another part, which need not be installed
    except ImportError as error:
        raise ReportError("no Triton server here: the package shrota-server is not installed") from error
    with TritonServer(repository, models=[ENGINE], ready_timeout_s=READY_S) as server:
        yield triton_engine(server.grpc_url, ENGINE), server.pid


@dataclass(frozen=True)
class Rounds:
    """What is run.

    Attributes:
        latency: rounds at most, at batch 1.
        throughput: rounds at most, of each batch.
        batches: rows.
        batch_seconds: of each row.
    """

    latency: int
    throughput: int
    batches: Sequence[int]
    batch_seconds: float


def measure_served(
    material: Material, variants: Mapping[str, Variant], rounds: Rounds
) -> tuple[dict[str, Any], dict[str, str]]:
    """Those that a server can serve, one server after the other, so that no two need memory at once.

    Returns:
        Plain numbers by variant, and the reasons of those that could not be measured.
    """
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    size = int(material.config["vocab_size"])
    for number, (name, variant) in enumerate(variants.items()):
        if not variant.is_served:
            continue
        try:
            folder = material.folder / "served" / str(number)
            repository = make_repository(material.repository, variant.source, folder, size)
            with step(f"run {name} through Triton and bare by turns"):
                found[name] = _measure(material, variant, repository, rounds)
        except Exception as error:  # noqa: BLE001 - told in the table
            missing[f"{name} through Triton"] = reason_of(error)
    reasons = set(missing.values())
    if not found and len(reasons) == 1:
        missing = {ALL: reasons.pop()}
    return found, missing


def _measure(material: Material, variant: Variant, repository: Path, rounds: Rounds) -> dict[str, Any]:
    started = time.perf_counter()
    with serving(repository) as (engine, process):
        ready = time.perf_counter() - started
        batch = material.audio(material.seconds)
        difference = float(np.abs(engine(*batch)[0] - variant.engine(*batch)[0]).max())
        runs = {"triton": engine, "bare": variant.engine}
        latency = _by_turns(runs, batch, rounds.latency, **LATENCY)
        peak = memory_of(process)
        by_batch = {
            rows: _by_turns(runs, material.audio(rounds.batch_seconds, rows), rounds.throughput, **THROUGHPUT)
            for rows in rounds.batches
        }
    return {
        "ready_s": ready,
        "peak_bytes": peak,
        "difference_from_bare": difference,
        "latency": Spread.of(latency["triton"]).as_dict(),
        "bare_latency": Spread.of(latency["bare"]).as_dict(),
        "added": added(latency),
        "audio_seconds_per_second": {
            str(rows): rows * rounds.batch_seconds / float(np.median(times["triton"]))
            for rows, times in by_batch.items()
        },
        "added_by_batch": {str(rows): added(times)["median"] for rows, times in by_batch.items()},
    }


def _by_turns(engines: Mapping[str, Engine], batch: Any, rounds: int, **limits: Any) -> dict[str, list[float]]:
    runs = {name: run_of(engine, batch) for name, engine in engines.items()}
    return time_turns(runs, rounds, **limits)


def added(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """What Triton adds to the time of the bare engine, as a share: of neighbouring runs, median and quartiles."""
    ratios = np.array(times["triton"]) / np.array(times["bare"]) - 1
    low, middle, high = (float(value) for value in np.quantile(ratios, [0.25, 0.5, 0.75]))
    return {"median": middle, "low": low, "high": high}


def memory_of(process: int) -> int:
    """Most bytes that a process and its children have held, each with its libraries."""
    lists = Path(f"/proc/{process}/task").glob("*/children")  # a list for each thread that has begun some
    children = [int(child) for each in lists for child in each.read_text(encoding="utf-8").split()]
    return sum(memory("VmHWM", each) for each in (process, *children))
