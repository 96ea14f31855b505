"""The large architecture through the gate in every precision, with the commands that a user runs.

    python -m benchmarks.precision_large [--layers N] [--to fp16 --to int8] [--output docs/benchmarks/precision-large]

A checkpoint of IndicWav2Vec-Hindi's architecture with random weights is exported by `shrota export onnx` and converted
by `shrota export precision`, each in a process of its own, whose time and memory are measured. Its tokens mean nothing,
so the gate judges log-probabilities and batch invariance. With 40 layers and more the graph is larger than 2 GB.
"""

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.command_line import command_line
from benchmarks.machine import Machine
from benchmarks.progress import say
from benchmarks.result import Figure, Result
from scripts.command import run
from scripts.repository import EXPORTED, ROOT, SHROTA
from shrota_export.errors import GateError
from shrota_export.paths import MANIFEST, MODEL
from shrota_export.precision.graphs import weights_files
from shrota_export.random_checkpoint import Shape, make_config

PRECISIONS = ("fp16", "bf16", "int8")
LONGEST_S = 10
"""Of the utterances of `samples/` that are run: the sentences, without the long passage."""


@dataclass(frozen=True)
class Done:
    """A command that ended well: seconds on the clock, and the most memory that it held."""

    seconds: float
    peak_bytes: int

    def figures(self, name: str) -> list[Figure]:
        """For the table."""
        return [
            Figure(f"{name}, time", self.seconds, "s"),
            Figure(f"{name}, most memory", self.peak_bytes / 2**30, "GiB"),
        ]


def call(*arguments: object) -> Done:
    """Runs ``shrota`` and waits.

    Raises:
        GateError: it failed; its own line has been printed.
    """
    started = time.monotonic()
    child = os.posix_spawn(SHROTA, [str(SHROTA), *map(str, arguments)], os.environ)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise GateError(f"shrota {' '.join(map(str, arguments[:3]))} ended with exit code {code}")
    return Done(time.monotonic() - started, used.ru_maxrss * 1024)


def write_manifest(folder: Path) -> Path:
    """The sentences of ``samples/``."""
    source = ROOT / "samples" / "manifest.jsonl"
    lines = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    short = [{**line, "audio": str(source.parent / line["audio"])} for line in lines if line["duration_s"] < LONGEST_S]
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in short), encoding="utf-8")
    return path


def export(folder: Path, speech: Path, layers: int | None) -> Result:
    """The float32 graph, from the checkpoint."""
    options = ["--layers", layers] if layers else []
    call("export", "random", "--like", "indicwav2vec-hindi", "--output", folder / "checkpoint", *options)
    shutil.copytree(
        ROOT / "model_repository", folder / "repository", ignore=shutil.ignore_patterns(*EXPORTED), dirs_exist_ok=True
    )
    arguments = [folder / "checkpoint", "--repository", folder / "repository", "--manifest", speech]
    done = call("export", "onnx", *arguments)
    content = json.loads((folder / "repository" / MANIFEST).read_text(encoding="utf-8"))
    graph = folder / "repository" / MODEL
    return Result(
        "Export: fp32",
        f"`shrota export onnx`: {content['graph']['nodes']} nodes, "
        f"{_bytes(graph) / 1e9:.2f} GB{_weights(graph)}. Against PyTorch: {_verdict(content['gate'])}",
        [*done.figures("export and gate"), *gate_figures(content["gate"])],
    )


def convert(folder: Path, speech: Path, precision: str) -> Result:
    """Another precision."""
    output = folder / f"{precision}.onnx"
    source = folder / "repository" / MODEL
    done = call("export", "precision", source, "--to", precision, "--manifest", speech, "--output", output)
    content = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    size = f"{_bytes(output) / 1e9:.2f} GB{_weights(output)}"
    for path in _files(output):
        path.unlink()
    return Result(
        f"Precision: {precision}",
        f"`shrota export precision --to {precision}`: {size}. Against float32: {_verdict(content['gate'])}",
        [*done.figures("conversion and gate"), *gate_figures(content["gate"])],
    )


def gate_figures(report: dict[str, Any]) -> list[Figure]:
    """Differences of a report, in log-probability."""
    alone = report["from_reference"]["alone"]
    elsewhere = report["from_itself_alone"].values()
    return [
        Figure("frames", alone["frames"]),
        Figure("mean difference in log-probability", alone["mean"]),
        Figure("largest difference in log-probability", alone["largest"]),
        Figure("largest difference from itself alone", max(found["largest"] for found in elsewhere)),
    ]


def _verdict(report: dict[str, Any]) -> str:
    verdict = "the gate passes it" if report["passed"] else "the gate refuses it"
    reason = report["tokens_not_judged_because"]
    return f"{verdict}; judged by log-probabilities and batch invariance only: {reason}." if reason else f"{verdict}."


def _bytes(graph: Path) -> int:
    return sum(path.stat().st_size for path in _files(graph))


def _weights(graph: Path) -> str:
    return ", weights in a file beside it" if len(_files(graph)) > 1 else ""


def _files(graph: Path) -> list[Path]:
    return [graph, *weights_files(graph)]


@click.command()
@click.option("--layers", type=click.IntRange(1), help="Transformer layers. [24, as published]")
@click.option("--to", "precisions", type=click.Choice(PRECISIONS), multiple=True, help="[all three]")
@click.option("--output", type=click.Path(path_type=Path), help="Writes OUTPUT.md and OUTPUT.json.")
def main(*, layers: int | None, precisions: tuple[str, ...], output: Path | None) -> None:
    """Prints what each step took and what the gate found."""
    chosen = precisions or PRECISIONS
    say(f"export of a random checkpoint, then {', '.join(chosen)}: some minutes each on two cores")
    results = []
    with tempfile.TemporaryDirectory(prefix="shrota-large-") as name:
        folder = Path(name)
        speech = write_manifest(folder)
        results.append(export(folder, speech, layers))
        print(results[-1].markdown(), flush=True)
        for precision in chosen:
            results.append(convert(folder, speech, precision))
            print(results[-1].markdown(), flush=True)
    if output is not None:
        machine = Machine.here()
        command = command_line("benchmarks.precision_large", click.get_current_context())
        config = make_config("indicwav2vec-hindi", Shape(layers))
        shape = {name: config[name] for name in ("num_hidden_layers", "hidden_size")}
        head = f"`{command}`; layers: {shape['num_hidden_layers']}; {machine.line()}"
        text = "\n\n".join(result.markdown() for result in results)
        output.with_suffix(".md").write_text(
            f"# Precision of the large architecture, on a CPU\n\n{head}\n\n{text}\n", encoding="utf-8"
        )
        content = {
            "command": command,
            "shape": shape,
            "machine": asdict(machine),
            "results": [asdict(result) for result in results],
        }
        output.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
