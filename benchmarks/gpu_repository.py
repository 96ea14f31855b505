"""A model repository for load on a GPU: the published architecture with random weights, in half precision.

    python -m benchmarks.gpu_repository --output build/gpu-repository
    shrota loadtest search --repository build/gpu-repository --word-errors 0.2
    shrota serve --repository build/gpu-repository --engine acoustic_torch

Random weights transcribe nothing that means anything, and so nothing is compared on speech here (`python -m
benchmarks.gpu` puts the same graphs through the gate): for load tests only. With ``--checkpoint`` another checkpoint is
taken, likewise uncompared: what shall be served is exported with `shrota export`.
"""

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

import click
from safetensors.torch import save_file

from benchmarks.gpu_model import Model
from benchmarks.gpu_run import LIKE
from benchmarks.progress import say
from scripts.command import run
from scripts.repository import EXPORTED, ROOT
from shrota_client.configuration import read_configuration, write_configuration
from shrota_export.checkpoint import Checkpoint, find_checkpoint
from shrota_export.configuration import configurations_to_change
from shrota_export.errors import RepositoryError
from shrota_export.frontend import Frontend, receptive_field_and_stride
from shrota_export.loading import load_feature_extractor, load_model
from shrota_export.manifest import write_json
from shrota_export.packed.export_torch import architecture_of
from shrota_export.packed.weights import packed_weights
from shrota_export.paths import FRONTEND, MANIFEST, MODEL, TORCH_DESCRIPTION, TORCH_ENGINE, TORCH_WEIGHTS, VOCABULARY
from shrota_export.precision.kinds import Precision
from shrota_export.random_checkpoint import Shape, write_random_checkpoint

ENGINES = ("acoustic_onnx", "acoustic_torch")
MAX_PADDING = 0.2
"""Of a batch: fuller batches are worth it. ``acoustic_torch`` computes nothing for padding but in its extractor."""
QUEUE = 1024
"""Requests that may wait for a model: hundreds come at once where a thousand a second are answered."""
SAMPLES = ROOT / "samples" / "manifest.jsonl"


def make_repository(
    checkpoint: Checkpoint, folder: Path, precision: Precision, scratch: Path, engines: Collection[str] = ENGINES
) -> None:
    """Configurations and Python models of ``model_repository/``, and a checkpoint's files beside them, uncompared.

    Args:
        checkpoint: what is served.
        folder: is made.
        precision: of both engines.
        scratch: on the same file system, for graphs.
        engines: which.
    """
    shutil.copytree(ROOT / "model_repository", folder, ignore=shutil.ignore_patterns(*EXPORTED))
    model = Model("served", checkpoint, scratch, SAMPLES)
    if "acoustic_onnx" in engines:
        graph = model.graph(precision)
        for file in (graph, graph.with_name(f"{graph.name}.data")):
            if file.is_file():
                name = MODEL.name if file == graph else file.name
                file.rename((folder / MODEL).with_name(name))
    loaded = load_model(checkpoint)
    config = loaded.config
    normalize = bool(load_feature_extractor(checkpoint).do_normalize)
    receptive_field, stride = receptive_field_and_stride(config.conv_kernel, config.conv_stride)
    write_json(folder / FRONTEND, Frontend(checkpoint.sample_rate, stride, receptive_field, normalize).as_json())
    write_json(folder / VOCABULARY, model.vocabulary.as_json(stride / checkpoint.sample_rate))
    described = {"checkpoint": {"name": checkpoint.name, "sha256": checkpoint.sha256}, "gate": None}
    write_json(folder / MANIFEST, described)
    if "acoustic_torch" in engines:
        save_file(packed_weights(loaded), folder / TORCH_WEIGHTS)
        write_json(folder / TORCH_ENGINE, architecture_of(config, precision, normalize=normalize))
        write_json(folder / TORCH_DESCRIPTION, described)
    for relative, text in configurations_to_change(folder, len(model.vocabulary.tokens)).items():
        (folder / relative).write_text(text, encoding="utf-8")


def configure(folder: Path, *, instances: int, calls: int, budget_s: float, decoders: int, batchers: int = 1) -> None:
    """What ``model_repository/`` has for processors, for a GPU.

    Args:
        folder: the repository.
        instances: of each engine, on each GPU. Of two of ONNX Runtime, one runs while the batch of the other is copied
            from process to process; ``acoustic_torch`` copies the next one itself while it runs one.
        calls: of an engine at a time, by each batcher.
        budget_s: seconds of a batch, padding included.
        decoders: processes of the decoder.
        batchers: processes of ``acoustic``.
    """
    counts = {"acoustic_onnx": instances, "acoustic_torch": instances, "ctc_decoder": decoders, "acoustic": batchers}
    for model, count in counts.items():
        path = folder / model / "config.pbtxt"
        config = read_configuration(path)
        config.instance_group[0].count = count
        config.dynamic_batching.default_queue_policy.max_queue_size = QUEUE
        path.write_text(write_configuration(config), encoding="utf-8")
    path = folder / "acoustic" / "config.pbtxt"
    config = read_configuration(path)
    config.parameters["batch_budget_seconds"].string_value = f"{budget_s:g}"
    config.parameters["max_padding"].string_value = f"{MAX_PADDING:g}"
    config.parameters["engine_calls"].string_value = str(calls)
    path.write_text(write_configuration(config), encoding="utf-8")


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/gpu-repository"), show_default=True)
@click.option("--checkpoint", help="A folder or a hub name. [random weights of the published architecture]")
@click.option("--precision", type=click.Choice(["fp16", "bf16", "fp32", "fp8"]), default="fp16", show_default=True)
@click.option("--engine", "engines", multiple=True, type=click.Choice(ENGINES), default=ENGINES, show_default=True)
@click.option("--instances", type=click.IntRange(1), default=1, show_default=True, help="Of each engine.")
@click.option("--calls", type=click.IntRange(1), default=4, show_default=True, help="Of an engine at a time.")
@click.option("--budget", type=click.FloatRange(20), default=320, show_default=True, help="Seconds of a batch.")
@click.option("--decoders", type=click.IntRange(1), default=6, show_default=True, help="Processes of the decoder.")
@click.option("--batchers", type=click.IntRange(1), default=1, show_default=True, help="Processes of acoustic.")
def main(
    *,
    output: Path,
    checkpoint: str | None,
    precision: str,
    engines: tuple[str, ...],
    instances: int,
    calls: int,
    budget: float,
    decoders: int,
    batchers: int,
) -> None:
    """Makes the repository."""
    if precision == "fp8" and "acoustic_onnx" in engines:
        raise click.UsageError("fp8 is of acoustic_torch alone: name it with --engine acoustic_torch")
    if output.exists():
        raise RepositoryError(f"{output} is there already: remove it, or name another folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gpu-repository-", dir=output.parent) as name:
        scratch = Path(name)
        if checkpoint is None:
            write_random_checkpoint(scratch / "random", LIKE, Shape(), seed=0)
        found = find_checkpoint(checkpoint or str(scratch / "random"))
        make_repository(found, output, Precision(precision), scratch, engines)
    configure(output, instances=instances, calls=calls, budget_s=budget, decoders=decoders, batchers=batchers)
    say(f"made {output}: not compared on speech, for load tests only")


if __name__ == "__main__":
    run(main)
