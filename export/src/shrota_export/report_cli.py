"""``shrota report``: the analysis of a checkpoint on this machine."""

import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
MANIFEST = Path("samples/manifest.jsonl")
SECONDS = 10.0
NAMES = ("architecture", "graph", "profile", "weights", "backends", "tradeoff", "scaling", "next", "summary")
"""Of the sections; here because their modules take seconds to import."""
LIBRARIES = ("shrota-export", "torch", "transformers", "onnx", "onnxruntime", "numpy")
LIKE = "indicwav2vec-hindi"


def _finite(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if math.isnan(value):  # in no range, and outside of none
        raise click.BadParameter("it is no number")
    return value


@click.command("report")
@click.argument("checkpoint", required=False)
@click.option("--like", type=click.Choice([LIKE]), help="Instead of CHECKPOINT: random weights of this architecture.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="A section; may be repeated. [all]")
@click.option("--output", type=PATH, help="Folder for index.html, report.md, report.json and the PNGs. [report/NAME]")
@click.option(
    "--manifest",
    type=PATH,
    default=MANIFEST,
    show_default=True,
    help='Speech: JSON lines, each {"audio": FILE, "text": WHAT IS SAID}.',
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 20),
    callback=_finite,
    default=SECONDS,
    show_default=True,
    help="Of audio, that is timed and profiled.",
)
@click.option(
    "--repository",
    type=PATH,
    help="Model repository with whose configuration of acoustic_onnx Triton is measured. [model_repository]",
)
@click.option("--compare", "compared", nargs=2, type=PATH, metavar="A.json B.json", help="Two reports side by side.")
def report(
    *,
    checkpoint: str | None,
    like: str | None,
    only: tuple[str, ...],
    output: Path | None,
    manifest: Path,
    seconds: float,
    repository: Path | None,
    compared: tuple[Path, Path] | None,
) -> None:
    """Measures CHECKPOINT (a folder, or a name on the Hugging Face hub) on this machine and writes a page.

    What it consists of, where its time goes, what each optimisation, backend and precision gains and costs: one HTML
    page that needs no network, the same as Markdown, the pictures as PNG and the numbers as JSON. A section that fails
    says so in its place.
    """
    if compared is not None:
        if checkpoint or like or only:
            raise click.UsageError("--compare takes two reports and nothing else but --output")
        from shrota_export.report.build import read_report  # noqa: PLC0415
        from shrota_export.report.compare import write_comparison  # noqa: PLC0415

        first, second = (read_report(path) for path in compared)
        target = output or Path("report/comparison")
        if any((path if path.is_dir() else path.parent).resolve() == target.resolve() for path in compared):
            raise click.UsageError(f"--output {target} holds a report that is compared: choose another folder")
        _say_written(write_comparison(first, second, target))
        return
    if (checkpoint is None) == (like is None):
        raise click.UsageError(f"name either a CHECKPOINT or --like {LIKE}")
    # read when PyTorch is loaded: its threads would spin between runs, while ONNX Runtime needs the processors
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its profiler says when it starts and stops
    with tempfile.TemporaryDirectory(prefix="shrota-report-") as scratch:
        folder = output or Path("report") / Path(like or shown_name(checkpoint or "")).name
        content = _measure(
            checkpoint,
            like,
            Path(scratch),
            names=only or NAMES,
            manifest=manifest,
            seconds=seconds,
            repository=repository,
            output=folder,
        )
    from shrota_export.report.build import write_report  # noqa: PLC0415

    _say_written(write_report(content, folder))
    failed = [name for name, section in content["sections"].items() if "failed" in section]
    if failed:
        click.echo(f"shrota: these sections failed, and say why in their places: {', '.join(failed)}", err=True)
        sys.exit(1)


def shown_name(checkpoint: str) -> str:
    """A checkpoint as the report names it: as it was given, or its folder alone where others would stand before it."""
    folder = Path(checkpoint).expanduser()
    is_within = folder.name and not folder.is_absolute() and ".." not in folder.parts
    return folder.resolve().name if folder.is_dir() and not is_within else checkpoint.rstrip("/")


def _measure(
    checkpoint: str | None,
    like: str | None,
    scratch: Path,
    *,
    names: tuple[str, ...],
    manifest: Path,
    seconds: float,
    repository: Path | None,
    output: Path,
) -> dict[str, Any]:
    from shrota_client.pages.drawing import new_figure  # noqa: PLC0415
    from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415
    from shrota_export.random_checkpoint import RECIPE, Shape, write_random_checkpoint  # noqa: PLC0415

    new_figure()  # says at once if matplotlib is missing
    if not manifest.is_file():
        from shrota_export.errors import SpeechError  # noqa: PLC0415

        raise SpeechError(f"there is no speech at {manifest}: name a manifest with --manifest")
    if repository is not None:  # the usual one may be missing: then the page says why nothing is served
        from shrota_export.repository import check_repository  # noqa: PLC0415

        check_repository(repository)
    if like is not None:
        write_random_checkpoint(scratch / like, like, Shape(), seed=0)
        checkpoint = str(scratch / like)
    found = find_checkpoint(checkpoint or "")
    from shrota_client.pages.host import describe_host  # noqa: PLC0415
    from shrota_client.pages.write import claim  # noqa: PLC0415
    from shrota_export.report.build import FORMAT, measure_sections  # noqa: PLC0415 - PyTorch takes seconds
    from shrota_export.report.material import REPOSITORY, Material  # noqa: PLC0415
    from shrota_export.report.reasons import plain  # noqa: PLC0415

    is_random = (found.folder / RECIPE).is_file()
    name = shown_name(found.name)
    shown = f"{like}, random weights" if like else name
    host = describe_host(LIBRARIES)
    served = repository or REPOSITORY
    material = Material(found, manifest, scratch, is_random=is_random, seconds=seconds, repository=served)
    _ = material.speech  # what is wrong with it or the checkpoint would fail every section
    claim(output)
    sections = measure_sections(material, names)
    options = [f"--only {name}" for name in names] if names != NAMES else []
    options += [f"--manifest {manifest.name}"] if manifest != MANIFEST else []
    options += [f"--seconds {seconds:g}"] if seconds != SECONDS else []
    options += [f"--repository {repository.name}"] if repository is not None else []
    content: dict[str, Any] = plain(
        {
            "format": FORMAT,
            "title": f"Analysis and optimisation report: {shown}",
            "command": " ".join(["shrota report", f"--like {like}" if like else name, *options]),
            "checkpoint": {
                "name": shown,
                "sha256": found.sha256,
                "config": {key: value for key, value in found.config.items() if key != "_name_or_path"},
            },
            "is_random": is_random,
            "speech": manifest.name,
            "audio_seconds": seconds,
            "host": host,
            "sections": sections,
        }
    )
    return content


def _say_written(paths: list[Path]) -> None:
    click.echo(f"written: {paths[0]} and {len(paths) - 1} other files beside it", err=True)
