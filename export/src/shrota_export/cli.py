"""``shrota export``: checkpoint to model repository."""

import os
from pathlib import Path

import click

from shrota_export.precision_cli import check_command, precision_command, ranges_command

PATH = click.Path(path_type=Path)


@click.group()
def export() -> None:
    """Exports a checkpoint into a model repository."""


export.add_command(check_command)
export.add_command(ranges_command)
export.add_command(precision_command)


@export.command("onnx")
@click.argument("checkpoint")
@click.option(
    "--repository", type=PATH, default=Path("model_repository"), show_default=True, help="Where Triton serves from."
)
@click.option(
    "--manifest",
    "--speech",
    "speech",
    type=PATH,
    default=Path("samples/manifest.jsonl"),
    show_default=True,
    help='Speech to verify with: JSON lines, each {"audio": FILE, "text": WHAT IS SAID}.',
)
@click.option("--exporter", type=click.Choice(["torchscript", "dynamo"]), default="torchscript", show_default=True)
@click.option("--opset", type=click.IntRange(17, 20), default=17, show_default=True)
@click.option(
    "--target",
    type=click.Choice(["cpu", "gpu"]),
    help="What the graph is made for; it gives the same on both. gpu: convolutions as matrix products. "
    "[that of this checkpoint's last export, else cpu]",
)
@click.option("--force", is_flag=True, help="Export again what is already there.")
def export_onnx_command(
    *, checkpoint: str, repository: Path, speech: Path, exporter: str, opset: int, target: str | None, force: bool
) -> None:
    """Exports CHECKPOINT (a folder, or a name on the Hugging Face hub) to ONNX.

    Any raw-waveform CTC model of the wav2vec 2.0 family: Wav2Vec2, HuBERT, WavLM, Data2VecAudio, UniSpeech. The graph
    is compared with the checkpoint on speech, alone and in batches, log-probabilities and transcripts; only one that
    gives the same goes into the repository.
    """
    from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415
    from shrota_export.manifest import Settings, exported_target, is_exported  # noqa: PLC0415
    from shrota_export.repository import check_repository  # noqa: PLC0415

    check_repository(repository)
    found = find_checkpoint(checkpoint)
    settings = Settings(exporter, opset, target or exported_target(repository, found.sha256))
    if not force and is_exported(repository, found.sha256, settings):
        click.echo(f"{checkpoint} is already exported to {repository} (--force repeats it)", err=True)
        return
    click.echo(f"export {checkpoint} to {repository}", err=True)
    # read when PyTorch is loaded: its threads would spin between runs, while ONNX Runtime needs the processors
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from shrota_export.onnx_export import export_onnx  # noqa: PLC0415 - PyTorch takes seconds

    result = export_onnx(found, repository, speech, settings)
    worst = max(value for case, value in result.differences.items() if case != "invariance")
    click.echo(
        f"exported: {result.nodes['nodes']} nodes; log-probabilities within {worst:.1e} of the checkpoint's, "
        f"within {result.differences['invariance']:.1e} in any batch",
        err=True,
    )
    click.echo(f"the gate passes it: {result.gate.summary()}", err=True)
    if result.language_model:
        click.echo(result.language_model, err=True)


@export.command("lm")
@click.argument("file", type=PATH)
@click.option(
    "--repository", type=PATH, default=Path("model_repository"), show_default=True, help="Where Triton serves from."
)
@click.option(
    "--words",
    "listed",
    type=PATH,
    metavar="LIST",
    help="The words of a binary that does not hold them: one on each line, what follows it there is left aside.",
)
def export_lm_command(*, file: Path, repository: Path, listed: Path | None) -> None:
    """Installs FILE, a KenLM model, for the decoder of what has been exported.

    An ARPA file, gzipped or not, or a binary of KenLM's. Its words are checked against the checkpoint's tokens; those
    of an ARPA file are written in the tokens' form of Unicode. It takes the place of the one that is there; a running
    server uses it when the model ctc_decoder is loaded again.
    """
    from shrota_export.language_model import install_language_model  # noqa: PLC0415

    staged = install_language_model(file, repository, listed)
    click.echo(f"installed {repository / staged.paths[-1]}: {staged.describe()}", err=True)


@export.command("tensorrt")
@click.argument("graph", required=False)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "fp16", "bf16"]),
    default="fp32",
    show_default=True,
    help="What the graph is in; tf32 is a flag of the builder and takes the fp32 graph.",
)
@click.option(
    "--for",
    "flavour",
    type=click.Choice(["tensorrt", "rtx"]),
    default="tensorrt",
    show_default=True,
    help="tensorrt: for the GPU here. rtx: TensorRT-RTX, for GeForce and RTX GPUs; it needs none to build.",
)
@click.option(
    "--compute-capability",
    "compute_capabilities",
    multiple=True,
    metavar="N.N",
    help="With --for rtx, what to build for: 8.6, 8.9, 12.0; may be given several times. [that of the GPU here]",
)
@click.option(
    "--repository", type=PATH, default=Path("model_repository"), show_default=True, help="Where Triton serves from."
)
@click.option(
    "--manifest",
    type=PATH,
    default=Path("samples/manifest.jsonl"),
    show_default=True,
    help='Speech to compare the plan on, where it can run: JSON lines, each {"audio": FILE, "text": WHAT IS SAID}.',
)
@click.option("--timing-cache", type=PATH, help="Where TensorRT keeps what it measured. [a file in the user's cache]")
@click.option("--force", is_flag=True, help="Build again what is already there.")
def export_tensorrt_command(
    *,
    graph: str | None,
    precision: str,
    flavour: str,
    compute_capabilities: tuple[str, ...],
    repository: Path,
    manifest: Path,
    timing_cache: Path | None,
    force: bool,
) -> None:
    """Builds a TensorRT plan of GRAPH and puts it into the repository as acoustic_trt.

    GRAPH is an .onnx file, or a checkpoint whose graph is in the repository; without it, the graph that is there. The
    profiles follow the batcher's settings in acoustic/config.pbtxt. plan.json beside the plan says what it was built
    for; `shrota serve --engine acoustic_trt` compares that with the machine.
    """
    from shrota_export.tensorrt.export_plan import Order, export_plan  # noqa: PLC0415
    from shrota_export.tensorrt.flavours import RTX, TENSORRT  # noqa: PLC0415
    from shrota_export.tensorrt.graphs import Precision  # noqa: PLC0415

    which = RTX if flavour == "rtx" else TENSORRT
    order = Order(graph, Precision(precision), which, compute_capabilities, timing_cache, manifest, force)
    result = export_plan(order, repository)
    content = result.description
    if not result.was_built:
        click.echo(f"the same plan is already in {repository} (--force builds it again)", err=True)
        return
    built_for = ", ".join(content["compute_capabilities"])
    count = len(content["profiles"])
    click.echo(
        f"built: {which.title} {content['tensorrt']['version']}, {precision}, compute capability {built_for}, "
        f"{count} profile{'s' if count > 1 else ''}, {content['plan']['bytes'] / 1e6:.0f} MB",
        err=True,
    )
    comparison = content["comparison"]
    if comparison["was_run"]:
        click.echo("compared with the float32 graph on speech: it passed (plan.json has the numbers)", err=True)
    else:
        click.echo(f"not compared with the float32 graph: {comparison['why']}", err=True)
        if "graph" in comparison:
            click.echo("the graph that it was built from was, and passed (plan.json has the numbers)", err=True)


@export.command("torch")
@click.argument("checkpoint")
@click.option("--precision", type=click.Choice(["fp16", "bf16", "fp8"]), default="fp16", show_default=True)
@click.option(
    "--repository", type=PATH, default=Path("model_repository"), show_default=True, help="Where Triton serves from."
)
@click.option(
    "--manifest",
    type=PATH,
    default=Path("samples/manifest.jsonl"),
    show_default=True,
    help='Speech to compare on: JSON lines, each {"audio": FILE, "text": WHAT IS SAID}.',
)
@click.option("--threshold", "thresholds", multiple=True, metavar="NAME=VALUE", help="Another threshold of the gate.")
def export_torch_command(
    *, checkpoint: str, precision: str, repository: Path, manifest: Path, thresholds: tuple[str, ...]
) -> None:
    """Puts CHECKPOINT into the repository as acoustic_torch, the engine in PyTorch for GPUs.

    The checkpoint must have been exported by `shrota export onnx` before, which writes what the other models need. On
    the GPU here the engine is compared with the checkpoint in float32; only one that the gate passes is installed.
    wav2vec 2.0 models that normalise first, as IndicWav2Vec, have this engine.
    """
    from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415
    from shrota_export.packed.export_torch import Order, export_torch  # noqa: PLC0415 - PyTorch takes seconds
    from shrota_export.precision.kinds import Precision  # noqa: PLC0415

    found = find_checkpoint(checkpoint)
    report = export_torch(found, repository, Order(Precision(precision), manifest, thresholds))
    click.echo("\n".join(report.lines()))
    click.echo(f"installed: {repository / 'acoustic_torch'} ({precision})", err=True)


@export.command("openvino")
@click.argument("checkpoint")
@click.option(
    "--precision",
    type=click.Choice(["int8", "bf16", "fp32"]),
    default="int8",
    show_default=True,
    help="int8: weights and products in 8 bits, the rest in bfloat16 where the processor has it.",
)
@click.option(
    "--repository", type=PATH, default=Path("model_repository"), show_default=True, help="Where Triton serves from."
)
@click.option(
    "--manifest",
    type=PATH,
    default=Path("samples/manifest.jsonl"),
    show_default=True,
    help='Speech to compare on: JSON lines, each {"audio": FILE, "text": WHAT IS SAID}.',
)
@click.option("--threshold", "thresholds", multiple=True, metavar="NAME=VALUE", help="Another threshold of the gate.")
def export_openvino_command(
    *, checkpoint: str, precision: str, repository: Path, manifest: Path, thresholds: tuple[str, ...]
) -> None:
    """Puts CHECKPOINT into the repository as acoustic_openvino, the engine of OpenVINO for processors.

    The checkpoint must have been exported by `shrota export onnx` before, which writes what the other models need. The
    engine is compared with the checkpoint in float32 on this processor; only one that the gate passes is installed. It
    needs the package openvino.
    """
    from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415
    from shrota_export.openvino.export_openvino import Order, export_openvino  # noqa: PLC0415 - PyTorch takes seconds
    from shrota_export.precision.kinds import Precision  # noqa: PLC0415

    found = find_checkpoint(checkpoint)
    report = export_openvino(found, repository, Order(Precision(precision), manifest, thresholds))
    click.echo("\n".join(report.lines()))
    click.echo(f"installed: {repository / 'acoustic_openvino'} ({precision})", err=True)


@export.command("random")
@click.option("--like", type=click.Choice(["indicwav2vec-hindi"]), required=True, help="The published architecture.")
@click.option("--output", type=PATH, required=True, help="Folder to make.")
@click.option("--layers", type=click.IntRange(1), help="Transformer layers, if not the published number.")
@click.option("--hidden-size", type=click.IntRange(16), help="Width, if not the published one.")
@click.option("--intermediate-size", type=click.IntRange(1), help="Width of the feed-forward layers [4 x width].")
@click.option("--heads", type=click.IntRange(1), help="Attention heads.")
@click.option("--conv-dim", type=click.IntRange(1), help="Channels of the feature extractor.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace a folder that is there.")
def export_random_command(
    *,
    like: str,
    output: Path,
    layers: int | None,
    hidden_size: int | None,
    intermediate_size: int | None,
    heads: int | None,
    conv_dim: int | None,
    seed: int,
    force: bool,
) -> None:
    """Makes a checkpoint of a published architecture with random weights, to measure speed and look at the graph.

    It says nothing sensible. With fewer or narrower layers it is a quick twin for tests.
    """
    from shrota_export.random_checkpoint import Shape, is_made, write_random_checkpoint  # noqa: PLC0415

    shape = Shape(layers, hidden_size, intermediate_size, heads, conv_dim)
    if not force and is_made(output, like, shape, seed):
        click.echo(f"{output} is already there (--force makes it again)", err=True)
        return
    write_random_checkpoint(output, like, shape, seed, force=force)
