"""The engine on an NVIDIA GPU: in process, kernel by kernel, and through the embedded server; ``make bench-gpu``.

    python -m benchmarks.gpu_serving --seconds 480

With random weights in the published architecture: PyTorch in bfloat16 as transformers has it, to which all ratios are;
``acoustic_torch`` in each precision beside it, by turns; the kernels of a run, and a roofline; ``asr`` on Triton under
perf_analyzer in several configurations; ONNX Runtime at the end, if there is time to make its graph. The bars are those
of :mod:`.bars`.

It needs no network. The page is written after each step, with what was left out and what failed: ``OUTPUT.md``, and its
pictures, HTML and JSON in the folder ``OUTPUT``. What to install is in ``benchmarks/gpu-requirements.txt``; matplotlib
may be missing: ``--page OUTPUT/report.json`` writes the page again where it is. ``--add`` keeps the steps that an
earlier run on this machine wrote. ``--device cpu --layers 1 --hidden-size 64 --heads 4 --conv-dim 32`` tries all of it
on a processor in two minutes, with
``--rows 4 --batches 1,2,4 --seconds-of-audio 2 --measure-seconds 1 --load-seconds 2 --concurrency 2,4,8 --decoders 1``.
"""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.command_line import command_line
from benchmarks.gpu_engines import OnnxEngine, batch_of, time_by_turns
from benchmarks.gpu_model import Model
from benchmarks.gpu_repository import SAMPLES, make_repository
from benchmarks.gpu_run import LEAST_S, LIKE, Run, describe_shape
from benchmarks.gpu_serving import page
from benchmarks.gpu_serving.costs import card_peaks
from benchmarks.gpu_serving.engines import (
    REFERENCE,
    FromHost,
    Loaded,
    OnDevice,
    Reference,
    engine_folder,
    from_host,
    on_device,
    open_torch,
)
from benchmarks.gpu_serving.kernels import profiled, summary
from benchmarks.gpu_serving.order import Configuration, Order, parse_configuration
from benchmarks.gpu_serving.served import LEAST_S as SERVED_S
from benchmarks.gpu_serving.served import serve_step
from benchmarks.gpu_serving.watch import gpu_memory_mib
from benchmarks.progress import say
from scripts.command import run
from scripts.repository import ROOT
from shrota_client.errors import ShrotaError
from shrota_client.gpu import find_gpu
from shrota_client.pages.host import cores
from shrota_client.pages.load import Load
from shrota_client.pages.write import JSON, claim
from shrota_export.checkpoint import Checkpoint, find_checkpoint
from shrota_export.errors import ExportError, GateSettingError
from shrota_export.manifest import now
from shrota_export.precision.kinds import Precision
from shrota_export.random_checkpoint import Shape, is_made, make_config, write_random_checkpoint

CONFIGURATIONS = {
    "cuda": "fp8:1/4/320,fp16:1/4/320",
    "cpu": "fp32:1/2/40,fp8:1/3/40",
}
ONNX_S = 150.0
"""That making ONNX Runtime's graph of the published shape takes, and measuring it."""
BATCH_SHARE = 0.2
"""Of the time of a batch that is looked at closely, for each point of the throughput over batch."""


class ServingRun(Run):
    """The steps, with the page of this measurement."""

    def __init__(self, order: Order, limit_s: float, command: str, *, only: tuple[str, ...], add: bool) -> None:
        super().__init__(order.output, order.device, limit_s, command, describe_shape(order.shape), only=only)
        self.results |= {
            "config": make_config(LIKE, order.shape),
            "rows": order.rows,
            "seconds_of_audio": order.seconds_of_audio,
            "cores": cores(),
            "gpus": torch.cuda.device_count() if order.device == "cuda" else 0,
            "memory_before_mib": gpu_memory_mib(),
        }
        self.page = order.output.with_name(f"{order.output.name}.md")
        self._folder = order.output
        before = order.output / JSON
        if add and before.is_file():
            self._keep(json.loads(before.read_text(encoding="utf-8")))

    def _keep(self, before: Mapping[str, Any]) -> None:
        """The steps of an earlier run on this machine.

        Raises:
            ExportError: it was another one.
        """
        for name in ("machine", "shape", "rows", "seconds_of_audio", "gpus"):
            if _lasting(before[name]) != _lasting(self.results[name]):
                raise ExportError(f"--add: the page there has another {name.replace('_', ' ')}; name another --output")
        self.results["steps"] = dict(before["steps"])
        self.results["command"] = f"{before['command']}` and `{self.results['command']}"

    def step(self, name: str, work: Callable[[], dict[str, Any]], least_s: float = LEAST_S) -> dict[str, Any]:
        """As of any run, with what other programs took; where there is a server, each load has it."""
        before, since = Load.now(), time.monotonic()

        def watched() -> dict[str, Any]:
            found = work()
            return {**found, "others_share": before.others(Load.now(), time.monotonic() - since)}

        return super().step(name, work if name.startswith("triton") else watched, least_s)

    def write(self) -> None:
        """The page. What cannot be shown does not end the measurement: the results are kept."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            page.write(self.results, self._folder)
        except Exception as error:  # noqa: BLE001 - of one step's results; the other steps still count
            say(f"  no page: {error!r}")
            (self._folder / JSON).write_text(json.dumps(self.results, indent=1, default=str) + "\n", encoding="utf-8")


class Bench:
    """What the steps share.

    Args:
        order: what is asked for.
        folder: for files.
        work: of the checkpoint, which is kept there if it is not ``folder``.
    """

    def __init__(self, order: Order, folder: Path, work: Path) -> None:
        self.order = order
        self.folder = folder
        self.repository = folder / "repository"
        self._work = work
        self._checkpoint: Checkpoint | None = None
        self._loaded: Loaded | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """Random weights, made when they are first asked for."""
        if self._checkpoint is None:
            path = self._work / "checkpoint"
            if not is_made(path, LIKE, self.order.shape, 0):
                write_random_checkpoint(path, LIKE, self.order.shape, 0, force=path.exists())
            self._checkpoint = find_checkpoint(str(path))
        return self._checkpoint

    def prepare(self) -> dict[str, Any]:
        """Checkpoint and repository."""
        if not self.repository.exists():
            precision = Precision(self.order.precisions[0])
            make_repository(self.checkpoint, self.repository, precision, self.folder, ("acoustic_torch",))
        return {"sha256": self.checkpoint.sha256}

    def load(self) -> dict[str, Any]:
        """The engines of this process; those that are there already, if they are."""
        self.prepare()
        order = self.order
        if self._loaded is None:
            self._loaded = Loaded(order.device, batch_of(order.rows, order.seconds_of_audio))
            self._loaded.load(REFERENCE, lambda: Reference(self.checkpoint, order.device))
            for precision in order.precisions:
                say(f"  acoustic_torch {precision}")
                self._loaded.load(on_device(precision), partial(self._open, precision))
                if on_device(precision) in self._loaded.engines:
                    opened = self._loaded.engines[on_device(precision)]
                    self._loaded.beside(from_host(precision), FromHost(opened.engine, order.device))
        reference = self._loaded.engines.get(REFERENCE)
        return {
            "memory": self._loaded.memory,
            "failed": self._loaded.failed,
            "attention_of_reference": reference.attention if reference else None,
            "memory_mib": gpu_memory_mib(),
        }

    def _open(self, precision: str) -> OnDevice:
        engine = open_torch(engine_folder(self.repository, precision, self.folder), self.order.device)
        return OnDevice(engine, self.order.device)

    @property
    def loaded(self) -> Loaded:
        """The engines.

        Raises:
            ExportError: none of them can be loaded.
        """
        self.load()
        if self._loaded is None or not self._loaded.engines:
            raise ExportError("no engine could be loaded")
        return self._loaded

    def close(self) -> None:
        """Frees the engines: the server needs the GPU."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def batch(self, rows: int) -> dict[str, Any]:
        """All engines by turns on one batch."""
        return self._turns(self.loaded.engines, rows)

    def _turns(self, engines: Mapping[str, Any], rows: int) -> dict[str, Any]:
        seconds = self.order.seconds_of_audio
        timed = time_by_turns(dict(engines), batch_of(rows, seconds), self.order.measure_s)
        return {
            "rows": rows,
            "seconds_of_audio": seconds,
            "engines": {name: found.as_dict() for name, found in timed.items()},
        }

    def batches(self) -> dict[str, Any]:
        """Throughput over rows; an engine that fails on a batch has none of it, and of larger ones."""
        engines = {name: each for name, each in self.loaded.engines.items() if "host" not in name}
        points, failed = [], {}
        for rows in self.order.batches:
            batch = batch_of(rows, self.order.seconds_of_audio)
            for name in list(engines):
                try:
                    once, wait = engines[name].prepare(*batch)
                    once()
                    wait()
                except Exception as error:  # noqa: BLE001 - of one engine
                    failed[f"{name}, {rows} rows"] = " ".join(str(error).split())[:300]
                    del engines[name]
            for name, found in time_by_turns(engines, batch, BATCH_SHARE * self.order.measure_s).items():
                rate = rows * self.order.seconds_of_audio / found.median_s
                points.append(
                    {
                        "engine": name,
                        "rows": rows,
                        "median_ms": 1000 * found.median_s,
                        "audio_seconds_per_second": rate,
                    }
                )
        return {"points": points, "failed_rows": failed}

    def kernels(self) -> dict[str, Any]:
        """One run of each engine under the profiler, and once more by turns without it."""
        order = self.order
        engines = {name: each for name, each in self.loaded.engines.items() if "host" not in name}
        batch = batch_of(order.rows, order.seconds_of_audio)
        timed = time_by_turns(engines, batch, BATCH_SHARE * order.measure_s)
        found = {}
        for name, engine in engines.items():
            once, wait = engine.prepare(*batch)
            with engine.without_graphs() if isinstance(engine, OnDevice) else nullcontext():
                kernels = profiled(once, wait, order.device)
            precision = "bf16" if name == REFERENCE else name.split()[-1]
            found[name] = {"precision": precision, **summary(kernels, 1000 * timed[name].median_s)}
        return {"rows": order.rows, "seconds_of_audio": order.seconds_of_audio, "engines": found}

    def peaks(self) -> dict[str, Any]:
        """What the card gives."""
        return {"peaks": card_peaks(self.order.device)}

    def serve(self, configuration: Configuration, limit_s: float) -> dict[str, Any]:
        """One configuration on Triton."""
        self.close()
        self.prepare()
        return serve_step(self.repository, self.folder, configuration, self.order, limit_s)

    def onnx(self) -> dict[str, Any]:
        """ONNX Runtime in half precision beside PyTorch and acoustic_torch, by turns."""
        self.close()
        self.prepare()
        mode = "fp16"
        graph = Model("onnx", self.checkpoint, self.folder, SAMPLES).graph(Precision(mode))
        loaded = Loaded(self.order.device, batch_of(self.order.rows, self.order.seconds_of_audio))
        try:
            loaded.load(REFERENCE, lambda: Reference(self.checkpoint, self.order.device))
            loaded.load(on_device(mode), partial(self._open, mode))
            loaded.load(f"ONNX Runtime {mode}", lambda: OnnxEngine(graph, mode, self.order.device))
            return {**self._turns(loaded.engines, self.order.rows), "failed": loaded.failed}
        finally:
            loaded.close()


def measure(order: Order, work: ServingRun, bench: Bench) -> None:
    """All steps, the most important first."""
    work.step("prepare", bench.prepare)
    work.step("load engines", bench.load)
    for rows in dict.fromkeys((order.rows, 1)):
        work.step(f"batch {rows}", partial(bench.batch, rows))
    work.step("peaks", bench.peaks)
    work.step("batches", bench.batches)
    work.step("kernels", bench.kernels)  # last of those in this process: a profiler may leave something behind
    bench.close()
    configurations = list(order.configurations)
    if order.device == "cuda" and torch.cuda.device_count() > 1:
        # first the one beside which the two are judged
        configurations = [*configurations[:1], configurations[0].on_two(order.batchers), *configurations[1:]]
    for place, configuration in enumerate(configurations):
        shared = len(configurations) - place

        def serve(configuration: Configuration = configuration, shared: int = shared) -> dict[str, Any]:
            return bench.serve(configuration, work.left_s / shared)

        work.step(f"triton {configuration.name}", serve, least_s=SERVED_S)
    least_s = ONNX_S if work.results["shape"]["is_published"] else LEAST_S
    work.step("onnxruntime", bench.onnx, least_s=least_s)


def _lasting(described: Any) -> Any:
    """Without what is another number at every look: a GPU's free memory."""
    gpu = described.get("gpu") if isinstance(described, dict) else None
    return {**described, "gpu": {**gpu, "free_bytes": None}} if gpu else described


def default_output(device: str) -> Path:
    """By the name of the GPU; a trial on a processor goes to the build folder."""
    gpu = find_gpu() if device == "cuda" else None
    if gpu is None:
        return Path("build/gpu-serving")
    words = re.findall(r"[a-z0-9]+", gpu.name.lower())
    return ROOT / "docs" / "benchmarks" / "-".join(word for word in words if word not in {"nvidia", "hbm3", "hbm3e"})


def write_again(file: Path) -> None:
    """The page of results that are there.

    Raises:
        ExportError: the file has none.
    """
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        print(page.write(results, file.parent))
    except (OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, ShrotaError):
            raise
        raise ExportError(f"{file} is no result of this command ({error!r})") from error


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1:
        raise GateSettingError(f"{text!r} is no list of counts: write 1,32")
    return tuple(counts)


@click.command()
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=30), default=480, show_default=True, help="For everything.")
@click.option("--output", type=click.Path(path_type=Path), help="[docs/benchmarks/GPU; build/gpu-serving without one]")
@click.option("--page", "again", type=click.Path(path_type=Path, exists=True), help="Only write a report.json's page.")
@click.option("--add", is_flag=True, help="Keep the steps that an earlier run wrote there.")
@click.option(
    "--only", multiple=True, metavar="TEXT", help="Steps with this in their name: batch, kernels, triton, ..."
)
@click.option("--configurations", metavar="LIST", help="PRECISION:INSTANCES/CALLS/SECONDS,... [fp8 and fp16, 1/4/320]")
@click.option("--concurrency", default="64,128,256,512", show_default=True, help="Requests under way on Triton.")
@click.option("--batches", default="1,2,4,8,16,32,64", show_default=True, help="Throughput over these.")
@click.option("--rows", type=click.IntRange(1), default=32, show_default=True, help="Of the batch looked at closely.")
@click.option("--seconds-of-audio", type=click.FloatRange(min=0.5, max=20), default=10, show_default=True)
@click.option(
    "--measure-seconds", type=click.FloatRange(0.1), default=6, show_default=True, help="Of engines by turns."
)
@click.option("--load-seconds", type=click.FloatRange(1), default=5, show_default=True, help="Of a load on Triton.")
@click.option("--decoders", type=click.IntRange(1), default=6, show_default=True, help="Processes of the decoder.")
@click.option("--batchers", type=click.IntRange(1), default=3, show_default=True, help="acoustic's, for two GPUs.")
@click.option("--perf-analyzer", help="The program. [that on the PATH]")
@click.option("--work", type=click.Path(path_type=Path), help="Folder that keeps the checkpoint for the next run.")
@click.option("--layers", type=click.IntRange(1), help="A smaller model, to try the script.")
@click.option("--hidden-size", type=click.IntRange(16))
@click.option("--heads", type=click.IntRange(1))
@click.option("--conv-dim", type=click.IntRange(1))
def main(
    *,
    device: str,
    seconds: float,
    output: Path | None,
    again: Path | None,
    add: bool,
    only: tuple[str, ...],
    configurations: str | None,
    concurrency: str,
    batches: str,
    work: Path | None,
    **options: Any,
) -> None:
    """Measures, and writes OUTPUT.md and the folder OUTPUT after each step."""
    if again is not None:
        write_again(again)
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise ExportError("there is no GPU here that PyTorch can use; --device cpu tries the script without one")
    wanted = tuple(parse_configuration(each) for each in (configurations or CONFIGURATIONS[device]).split(","))
    program = options["perf_analyzer"] or shutil.which("perf_analyzer")
    order = Order(
        device=device,
        rows=options["rows"],
        batches=_counts(batches),
        seconds_of_audio=options["seconds_of_audio"],
        configurations=wanted,
        concurrencies=_counts(concurrency),
        decoders=options["decoders"],
        measure_s=options["measure_seconds"],
        load_s=options["load_seconds"],
        perf_analyzer=program,
        shape=Shape(options["layers"], options["hidden_size"], None, options["heads"], options["conv_dim"]),
        output=output or default_output(device),
        batchers=options["batchers"],
    )
    order = replace(order, output=order.output.absolute())
    claim(order.output)
    command = command_line("benchmarks.gpu_serving", click.get_current_context())
    begun = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shrota-gpu-serving-")))
        if work is not None:
            work.mkdir(parents=True, exist_ok=True)
        measured = ServingRun(order, seconds, command, only=only, add=add)
        measure(order, measured, Bench(order, folder, work or folder))
        measured.results["ended"] = now()
        measured.write()
    say(f"{measured.page}, after {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    run(main)
