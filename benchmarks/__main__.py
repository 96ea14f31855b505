"""Runs the benchmarks and writes their tables to ``docs/benchmarks/``; what was run in part goes to ``.cache/``."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks import beams, blanks, decoder, memory, mixed, overhead, realtime
from benchmarks.exported import CACHE, Checkpoint, bundled, exported
from benchmarks.machine import Machine
from benchmarks.result import Result
from benchmarks.speech import all_speech
from scripts.command import run
from scripts.repository import ROOT, shrota


def large_checkpoint() -> Path:
    """The published architecture with random weights; the command leaves a folder alone that it would make the same."""
    folder = CACHE / "indicwav2vec-hindi-random"
    shrota("export", "random", "--like", "indicwav2vec-hindi", "--output", str(folder))
    return folder


def main() -> None:
    """Runs what was asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=["overhead", "realtime", "mixed", "memory", "decoder", "beams", "blanks"], action="append"
    )
    parser.add_argument("--output", type=Path, help="the page; its numbers go beside it as JSON")
    arguments = parser.parse_args()
    output = arguments.output or (CACHE if arguments.only else ROOT / "docs" / "benchmarks") / "cpu.md"
    small = bundled()
    speech = all_speech(ROOT / "samples" / "manifest.jsonl")
    benchmarks: dict[str, Callable[[], Result]] = {
        "overhead": lambda: overhead.measure(exported("large", large_checkpoint()), speech),
        "realtime": lambda: realtime.measure(small, speech),
        "mixed": lambda: mixed.measure(small, speech),
        "memory": lambda: memory.measure(small, speech),
        "decoder": lambda: decoder.measure(small, ROOT / "samples" / "manifest.jsonl"),
        "beams": lambda: beams.measure(
            small,
            exported("large", large_checkpoint()),
            ROOT / "samples" / "manifest.jsonl",
            speech,
        ),
        "blanks": lambda: blanks.measure(small, ROOT / "samples" / "manifest.jsonl"),
    }
    machine, checkpoint = Machine.here(), Checkpoint.of(small)
    results = []
    for name in arguments.only or benchmarks:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        results.append(benchmarks[name]())
        print(results[-1].markdown(), flush=True)
    command = "`make bench`" if not arguments.only else "`make bench`, in part"
    head = f"{command}; the bundled {checkpoint.line()}; {machine.line()}."
    page = "\n".join(["# Benchmarks on a CPU", "", head, "", *[result.markdown() for result in results]])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    content = {
        "machine": asdict(machine),
        "checkpoint": asdict(checkpoint),
        "results": [asdict(result) for result in results],
    }
    output.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    missed = [figure.name for result in results for figure in result.figures if figure.met is False]
    if missed:
        sys.exit(f"shrota: bars not met: {', '.join(missed)}")


if __name__ == "__main__":
    run(main)
