"""One configuration of the embedded Triton server under perf_analyzer."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_repository import configure
from benchmarks.gpu_serving.engines import write_precision
from benchmarks.gpu_serving.order import Configuration, Order
from benchmarks.gpu_serving.watch import Watch, gpu_memory_mib
from benchmarks.progress import say
from scripts.repository import ROOT
from shrota_client.samples import SAMPLE_RATE
from shrota_export.paths import TORCH_ENGINE
from shrota_loadtest.processes import Others
from shrota_loadtest.sweep import measure as sweep
from shrota_loadtest.sweep.measure import Addresses
from shrota_loadtest.sweep.plan import CONCURRENCY, Point, Way
from shrota_loadtest.sweep.run import LEFT_OUT
from shrota_loadtest.workload import Clip, read_clips
from shrota_server import TritonServer

ENGINE, ENSEMBLE = "acoustic_torch", "asr"
EQUAL, MIXED = "equal", "1 to 20 s"
EQUAL_CLIPS, MIXED_CLIPS = 7, 63
"""Odd, so that each of a power of two of workers sends all of them, see :mod:`shrota_loadtest.perf_analyzer.data`."""
SHORTEST_S, LONGEST_S = 1.0, 20.0
READY_S = 180.0
LEAST_S = 25.0
"""With less left no server is started."""
OVERHEAD_S = 5.0
"""That a load takes beside its measurement: perf_analyzer starts, reads its data, and the last answers come."""
WARM_UP_S = 3.5
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Ask:
    """One load.

    Attributes:
        model: that is asked.
        lengths: of the utterances, :data:`EQUAL` or :data:`MIXED`.
        shared_memory: ``none`` or ``system``.
        concurrency: requests under way.
    """

    model: str
    lengths: str
    shared_memory: str
    concurrency: int

    @property
    def label(self) -> str:
        """For whoever waits."""
        memory = ", shared memory" if self.shared_memory != "none" else ""
        return f"{self.model}, {self.lengths}, {self.concurrency} under way{memory}"


@dataclass(frozen=True)
class Scene:
    """A server that runs, and what it can be asked.

    Attributes:
        order: what is asked for.
        addresses: of the server.
        clips: by lengths.
        folder: for perf_analyzer's files.
        pid: of tritonserver.
    """

    order: Order
    addresses: Addresses
    clips: Mapping[str, Sequence[Clip]]
    folder: Path
    pid: int

    def measure(self, ask: Ask, limit_s: float) -> dict[str, Any]:
        """One load, in plain types."""
        order = sweep.Order(
            str(self.order.perf_analyzer), self.clips[ask.lengths], self.order.seconds_of_audio, limit_s, self.folder
        )
        return sweep.measure(
            order, self.addresses, Point(Way(ask.model, "grpc", ask.shared_memory), CONCURRENCY, ask.concurrency)
        )


def asks(concurrencies: Sequence[int]) -> list[Ask]:
    """The loads of a configuration, the most important first.

    Args:
        concurrencies: those with many requests under way, likewise.
    """
    first, *others = concurrencies
    return [
        Ask(ENSEMBLE, EQUAL, "none", 1),
        Ask(ENGINE, EQUAL, "none", 1),
        Ask(ENSEMBLE, EQUAL, "none", first),
        Ask(ENSEMBLE, MIXED, "none", first),
        Ask(ENSEMBLE, EQUAL, "system", first),
        *(Ask(ENSEMBLE, EQUAL, "none", each) for each in others[:2]),
        Ask(ENSEMBLE, MIXED, "system", first),
        *(Ask(ENSEMBLE, EQUAL, "system", each) for each in others[:2]),
        *(Ask(ENSEMBLE, MIXED, "none", each) for each in others[:2]),
        *(Ask(ENSEMBLE, EQUAL, memory, each) for each in others[2:] for memory in ("none", "system")),
        Ask(ENSEMBLE, EQUAL, "system", 1),
    ]


def cut(seconds: Sequence[float]) -> list[Clip]:
    """Pieces of the samples of so many seconds each; one behind the other, round and round."""
    speech = np.concatenate([clip.samples for clip in read_clips(ROOT / "samples" / "manifest.jsonl")])
    clips = []
    start = 0
    for each in seconds:
        size = round(each * SAMPLE_RATE)
        samples = np.take(speech, np.arange(start, start + size), mode="wrap")
        clips.append(Clip(f"{each:.2f} s", samples, None))
        start += size
    return clips


def mixed_lengths(count: int, shortest: float = SHORTEST_S, longest: float = LONGEST_S) -> list[float]:
    """Uniform: the middles of so many equal parts of the range, shuffled; their mean is the range's."""
    middles = shortest + (longest - shortest) * (np.arange(count) + 0.5) / count
    return [float(each) for each in np.random.default_rng(0).permutation(middles)]


def make_copy(repository: Path, folder: Path, configuration: Configuration, decoders: int) -> None:
    """The repository in a configuration; weights are the same file."""

    def copy(source: str, target: str) -> None:
        if source.endswith(".safetensors"):
            Path(target).hardlink_to(source)
        else:
            shutil.copy2(source, target)

    shutil.copytree(repository, folder, copy_function=copy)
    write_precision(repository / TORCH_ENGINE, folder / TORCH_ENGINE, configuration.precision)
    configure(
        folder,
        instances=configuration.instances,
        calls=configuration.calls,
        budget_s=configuration.budget_s,
        decoders=decoders * configuration.gpus,
        batchers=configuration.batchers,
    )


@contextmanager
def only_gpus(count: int) -> Iterator[None]:
    """What is started meanwhile sees so many of the GPUs that this process sees."""
    before = os.environ.get(VISIBLE)
    all_of_them = before.split(",") if before else [str(index) for index in range(64)]
    if before != "":
        os.environ[VISIBLE] = ",".join(all_of_them[:count])
    try:
        yield
    finally:
        os.environ.pop(VISIBLE, None)
        if before is not None:
            os.environ[VISIBLE] = before


def serve_step(
    repository: Path, folder: Path, configuration: Configuration, order: Order, limit_s: float
) -> dict[str, Any]:
    """A configuration under its loads, as many as there is time for.

    Args:
        repository: of the engine, in any precision.
        folder: for a copy and perf_analyzer's files; the copy is removed.
        configuration: what is served.
        order: what is asked.
        limit_s: seconds for all.
    """
    end = time.monotonic() + limit_s
    if order.perf_analyzer is None:
        raise RuntimeError("no perf_analyzer: name it with --perf-analyzer")
    copy = folder / "served"
    shutil.rmtree(copy, ignore_errors=True)
    make_copy(repository, copy, configuration, order.decoders)
    clips = {
        EQUAL: cut([order.seconds_of_audio] * EQUAL_CLIPS),
        MIXED: cut(mixed_lengths(MIXED_CLIPS)),
    }
    log = folder / "triton.log"
    log.unlink(missing_ok=True)
    before = gpu_memory_mib()
    server = TritonServer(
        copy,
        models=[ENSEMBLE, ENGINE],
        log_path=log,
        ready_timeout_s=min(READY_S, max(limit_s, LEAST_S)),
        default_engine=ENGINE,
        open_to_all=["shared-memory"],
    )
    points: list[dict[str, Any]] = []
    started = time.monotonic()
    try:
        with only_gpus(configuration.gpus), server:
            ready_s = time.monotonic() - started
            idle = gpu_memory_mib()
            addresses = Addresses(server.grpc_url, server.http_url, server.metrics_url)
            scene = Scene(order, addresses, clips, folder, server.pid)
            wanted = asks(order.ranked_concurrencies())
            _warm_up(scene, wanted, end)
            for ask in wanted:
                name = {"model": ask.model, "lengths": ask.lengths, "shared_memory": ask.shared_memory}
                if time.monotonic() + order.load_s + OVERHEAD_S > end:
                    points.append({**name, "value": ask.concurrency, "failed": LEFT_OUT})
                    continue
                points.append({**name, **_point(scene, ask)})
                say(f"  {ask.label}: {_outcome(points[-1])}")
    except BaseException as error:
        if not points:
            tail = log.read_text(encoding="utf-8", errors="replace")[-600:] if log.is_file() else ""
            raise RuntimeError(f"{error} ... {' '.join(tail.split())}") from error
        return {**_described(configuration), "points": points, "error": f"{type(error).__name__}: {error}"}
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return {
        **_described(configuration),
        "ready_s": ready_s,
        "memory_mib": {"before": before, "ready": idle},
        "points": points,
    }


def _described(configuration: Configuration) -> dict[str, Any]:
    return {"configuration": configuration.name, **vars(configuration)}


def _outcome(point: dict[str, Any]) -> str:
    if "failed" in point:
        return f"failed: {point['failed']}"
    return f"{point['audio_seconds_per_second']:,.0f} s/s, p50 {point['p50_ms']:.1f} ms"


def _warm_up(scene: Scene, wanted: Sequence[Ask], end: float) -> None:
    """Loads that nobody reads: cuBLAS loads a kernel for each shape that it meets first, PyTorch takes its memory."""
    for lengths in (EQUAL, MIXED):
        ask = next(each for each in wanted if each.lengths == lengths and each.concurrency > 1)
        if time.monotonic() + WARM_UP_S + OVERHEAD_S < end:
            say(f"  warm-up: {_outcome(scene.measure(ask, WARM_UP_S))}")


def _point(scene: Scene, ask: Ask) -> dict[str, Any]:
    with Others(lambda: scene.pid) as others, Watch(scene.pid, gpu=scene.order.device == "cuda") as watch:
        found = scene.measure(ask, scene.order.load_s)
    return {**found, **watch.result(), "others_share": others.share}
