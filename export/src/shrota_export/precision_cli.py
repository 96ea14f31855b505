"""``shrota export check``, ``ranges`` and ``precision``: what a graph's precision is worth, and how to change it."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from shrota_export.gate import Spoken, Subject

PATH = click.Path(path_type=Path)
GRAPH = Path("model_repository/acoustic_onnx/1/model.onnx")
MANIFEST_OPTION = click.option(
    "--manifest",
    type=PATH,
    default=Path("samples/manifest.jsonl"),
    show_default=True,
    help='Speech: JSON lines, each {"audio": FILE, "text": WHAT IS SAID}.',
)
THRESHOLD_OPTION = click.option(
    "--threshold",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another value of one of the gate's thresholds (shrota_export.gate.Thresholds); may be repeated.",
)
MARGIN_OPTION = click.option(
    "--margin",
    type=click.FloatRange(min=1),
    default=8,
    show_default=True,
    help="How many times a measured magnitude must fit into float16.",
)


@click.command("check")
@click.argument("candidate", type=PATH)
@click.option("--against", type=PATH, required=True, metavar="REFERENCE", help="The graph that is trusted.")
@MANIFEST_OPTION
@THRESHOLD_OPTION
@click.option("--vocabulary", type=PATH, help="CANDIDATE's vocab.json, if it lies in no model repository.")
@click.option("--stages", is_flag=True, help="Walk the chain from the checkpoint on, and say what each stage changes.")
@click.option("--checkpoint", help="With --stages: the checkpoint, if not the one that REFERENCE's manifest names.")
@click.option("--plan", type=PATH, help="With --stages: a plan built from CANDIDATE; it runs on the GPU that is here.")
@click.option("--url", metavar="HOST:PORT", help="With --stages: a Triton server (gRPC) that serves CANDIDATE.")
@click.option("--model", default="acoustic_onnx", show_default=True, help="With --url: its name there.")
@click.option("--output", type=PATH, help="Writes the report as JSON; with --stages, those of all stages.")
def check_command(
    *,
    candidate: Path,
    against: Path,
    manifest: Path,
    settings: tuple[str, ...],
    vocabulary: Path | None,
    stages: bool,
    checkpoint: str | None,
    plan: Path | None,
    url: str | None,
    model: str,
    output: Path | None,
) -> None:
    """Compares CANDIDATE, an ONNX graph, with the graph that it shall replace, on speech.

    NaN and infinity, differences in log-probability, frames whose best token changes, word and character error rate:
    alone, at full batch, beside padding, at the shortest and the longest window. Half precision is emulated. Fails if a
    threshold of the candidate's precision is not kept, and names the first tensor that departs.
    """
    from shrota_export.gate import Thresholds, check, open_subject, read_speech  # noqa: PLC0415
    from shrota_export.manifest import write_json  # noqa: PLC0415

    reference = open_subject(against)
    same = vocabulary is None and candidate.resolve() == against.resolve()
    subject = reference if same else open_subject(candidate, vocabulary=vocabulary)
    thresholds = Thresholds.of(subject.precision).changed(settings)
    speech = read_speech(manifest, reference)
    if stages:
        with ExitStack() as stack:
            unfused = open_subject(against, fuse=False)
            options: dict[str, Any] = {"checkpoint": checkpoint, "url": url, "model": model}
            if plan is not None:
                from shrota_export.tensorrt.comparison import installed_plan  # noqa: PLC0415

                options["plan"] = stack.enter_context(installed_plan(plan, subject))
            _walk_stages((subject, reference, unfused), against, speech, settings, output, **options)
        return
    report = check(subject, reference, speech, thresholds)
    click.echo("\n".join(report.lines()))
    if output is not None:
        write_json(output, report.as_dict())
    report.raise_for_failures()
    click.echo("passed", err=True)


def _walk_stages(
    graphs: "tuple[Subject, Subject, Subject]",
    against: Path,
    speech: "list[Spoken]",
    settings: tuple[str, ...],
    output: Path | None,
    *,
    checkpoint: str | None,
    **options: Any,
) -> None:
    """Says what each stage changes, and fails with the first that changes too much."""
    from shrota_export.gate.stages import (  # noqa: PLC0415
        checkpoint_change,
        checkpoint_of,
        first_failure,
        stages_of,
        walk,
    )
    from shrota_export.manifest import write_json  # noqa: PLC0415

    checkpoint = checkpoint or checkpoint_of(against)
    change = checkpoint_change(against, checkpoint) if checkpoint is not None else None
    if change is not None:
        click.echo(change, err=True)
    chain = stages_of(*graphs, checkpoint=checkpoint, **options)
    if chain[0].name != "PyTorch":
        click.echo("without PyTorch: name the checkpoint with --checkpoint", err=True)
    steps = []
    for step in walk(chain, speech, settings):
        click.echo(step.line())
        steps.append(step)
        if output is not None:
            write_json(output, {"checkpoint_change": change, "stages": [each.as_dict() for each in steps]})
    failed = first_failure(steps)
    if failed is not None:
        failed.report.raise_for_failures()


@click.command("ranges")
@click.argument("graph", type=PATH, default=GRAPH)
@MANIFEST_OPTION
@MARGIN_OPTION
@click.option("--output", type=PATH, help="Writes each tensor's largest magnitude as JSON.")
@click.option("--plot", "picture", type=PATH, help="Draws them by layer, with float16's limit (.png, .svg, .pdf).")
def ranges_command(*, graph: Path, manifest: Path, margin: float, output: Path | None, picture: Path | None) -> None:
    """Runs the float32 GRAPH on speech and shows the largest magnitude of each layer beside float16's 65,504."""
    from shrota_export.gate import open_subject, read_speech  # noqa: PLC0415
    from shrota_export.precision.graphs import load_graph  # noqa: PLC0415
    from shrota_export.precision.install import source_of  # noqa: PLC0415
    from shrota_export.precision.ranges import measure_ranges, plot, table  # noqa: PLC0415

    path = source_of(graph)
    ranges = measure_ranges(load_graph(path), read_speech(manifest, open_subject(path)))
    click.echo("\n".join(table(ranges, margin)))
    if output is not None:
        output.write_text(json.dumps(ranges, indent=1) + "\n", encoding="utf-8")
    if picture is not None:
        plot(ranges, picture, margin)


@click.command("precision")
@click.argument("graph", type=PATH, default=GRAPH)
@click.option("--to", "target", type=click.Choice(["fp32", "fp16", "bf16", "int8"]), required=True)
@MANIFEST_OPTION
@MARGIN_OPTION
@THRESHOLD_OPTION
@click.option(
    "--attention",
    type=click.Choice(["auto", "fused", "plain"]),
    default="auto",
    show_default=True,
    help="In fp16: fused for ONNX Runtime on GPUs, plain for TensorRT. "
    "auto: fused if GRAPH was exported with --target gpu.",
)
@click.option("--output", type=PATH, help="Write the graph there, and do not install it.")
def precision_command(
    *,
    graph: Path,
    target: str,
    attention: str,
    manifest: Path,
    margin: float,
    settings: tuple[str, ...],
    output: Path | None,
) -> None:
    """Converts the float32 GRAPH, compares the result with it on speech, and installs it if it passes.

    fp16 and bf16 for GPUs: matrix products and convolutions in half precision, all that is delicate in float32. int8
    for processors: matrix products, and convolutions of the feature extractor, in 8 bits. fp32 puts the float32 graph
    back.
    """
    from shrota_export.gate import Thresholds, open_subject, read_speech  # noqa: PLC0415
    from shrota_export.precision.graphs import load_graph  # noqa: PLC0415
    from shrota_export.precision.install import (  # noqa: PLC0415
        check_output,
        install,
        make,
        repository_of,
        source_of,
        write,
    )
    from shrota_export.precision.kinds import Precision  # noqa: PLC0415

    precision = Precision(target)
    fused = None if attention == "auto" else attention == "fused"
    if fused and precision is not Precision.FP16:
        raise click.UsageError("--attention fused is for fp16")
    thresholds = Thresholds.of(precision).changed(settings)
    if output is None:
        repository_of(graph)
    else:
        check_output(output)
    path = source_of(graph)
    reference = open_subject(path)
    speech = read_speech(manifest, reference)
    if output is None:
        made = install(graph, precision, speech, thresholds, margin=margin, fused=fused)
        if made is None:
            click.echo(f"{graph} is the float32 graph", err=True)
            return
    else:
        made = make(load_graph(path), reference, precision, speech, thresholds, margin=margin, fused=fused)
        write(made, output)
    click.echo("\n".join(made.report.lines()))
    click.echo(made.describe(), err=True)
    if precision is Precision.BF16:
        click.echo("it needs a GPU: ONNX Runtime has no bfloat16 kernels for processors", err=True)
    click.echo(f"{'installed' if output is None else 'written'}: {output or graph} ({precision})", err=True)
