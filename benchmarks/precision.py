"""What each precision changes and what int8 gains: the gate on much speech, and speed on the large architecture.

    python -m benchmarks.precision [--graph FILE] [--output docs/benchmarks/precision] MANIFEST...

Parity: the float32 graph of the bundled checkpoint, converted as `shrota export precision` does it (ranges measured on
`samples/`), through the gate on all utterances of the manifests. Speed: a checkpoint of IndicWav2Vec-Hindi's
architecture with random weights, float32 and int8 in ONNX Runtime on two threads, taking turns on 10 s of noise, so
that whatever else the machine does meets both; what counts is the median of the ratios of neighbours.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from benchmarks.exported import Checkpoint, bundled
from benchmarks.machine import Machine
from benchmarks.precision_speed import large_graphs, measure_shares, measure_speed
from benchmarks.progress import say
from benchmarks.result import Figure, Result, at_least, at_most
from scripts.command import run
from scripts.repository import ROOT
from shrota_export.engines import run_rows
from shrota_export.errors import GraphError
from shrota_export.gate import Report, Spoken, Subject, check, open_subject, read_speech
from shrota_export.gate.subject import make_subject
from shrota_export.paths import MODEL
from shrota_export.precision.convert import convert
from shrota_export.precision.graphs import load_graph
from shrota_export.precision.kinds import Precision
from shrota_export.precision.ranges import measure_ranges

SAMPLES = ROOT / "samples" / "manifest.jsonl"
LOW = (Precision.FP16, Precision.BF16, Precision.INT8)
POINTS = {Precision.FP16: 0.2, Precision.BF16: 0.2, Precision.INT8: 0.5}


def parity(path: Path, speech: Sequence[Spoken], reference: Subject) -> list[tuple[Report, Result]]:
    """The gate's reports of all precisions."""
    say(announcement(speech, reference))
    ranges = measure_ranges(load_graph(path), read_speech(SAMPLES, reference))
    found = []
    for precision in LOW:
        graph = convert(load_graph(path), precision, ranges)
        candidate = make_subject(str(precision), graph, vocabulary=reference.vocabulary)
        report = check(candidate, reference, speech)
        print("\n".join(report.lines()), flush=True)
        found.append((report, parity_result(report, precision)))
    return found


def parity_result(report: Report, precision: Precision) -> Result:
    """Its figures beside the bars."""
    alone, words = report.cases["alone"], report.transcripts
    assert words is not None  # noqa: S101 - the manifests have texts
    low, high = words.words.interval or (0.0, 0.0)
    old, new = words.reference.words, words.candidate.words
    figures = [
        Figure("words", old.edits.reference_length),
        Figure("word error rate, float32", 100 * old.value, "%"),
        Figure(f"word error rate, {precision}", 100 * new.value, "%"),
        at_most(
            "word error rate, rise",
            100 * words.words.value,
            POINTS[precision],
            "points",
            f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}",
        ),
        Figure("character error rate, rise", 100 * words.characters.value, "points"),
    ]
    agreement = 100 * (1 - alone.changed_share)
    if precision.is_half:
        figures.append(at_least("frames with the same best token", agreement, 99.5, "%"))
    else:
        figures.append(Figure("frames with the same best token", agreement, "%"))
    figures += [
        Figure("mean difference in log-probability", alone.mean),
        Figure("largest difference in log-probability", alone.largest),
        Figure(
            "largest difference from itself alone, in a batch or beside padding",
            max(each.largest for each in report.invariance.values()),
        ),
    ]
    note = f" {report.note}." if report.note else ""
    verdict = "passes" if report.passed else f"fails: {report.failures[0].text}"
    return Result(f"Parity: {precision}", f"The gate {verdict}.{note}", figures)


def announcement(speech: Sequence[Spoken], reference: Subject) -> str:
    """How much there is to do, with a bound on its time from a run of the longest window."""
    windows = [window for spoken in speech for window in spoken.windows]
    longest = max(windows, key=lambda window: window.size)
    run_rows(reference.engine, [longest])
    started = time.monotonic()
    run_rows(reference.engine, [longest])
    by_sample = (time.monotonic() - started) / longest.size
    samples = sum(window.size for window in windows)
    minutes = 2 * len(LOW) * samples * by_sample / 60
    return (
        f"parity: {', '.join(LOW)} against float32 on {len(speech)} utterances, "
        f"{samples / reference.sample_rate:.0f} s of speech; at least {minutes:.1f} minutes"
    )


@click.command()
@click.argument("manifests", type=click.Path(path_type=Path), nargs=-1)
@click.option("--graph", type=click.Path(path_type=Path), help="In a model repository. [the bundled checkpoint's]")
@click.option("--rounds", type=click.IntRange(0), default=11, show_default=True, help="Of the speed; 0 leaves it out.")
@click.option("--profile", is_flag=True, help="Also say which kinds of nodes take the time.")
@click.option("--output", type=click.Path(path_type=Path), help="Writes OUTPUT.md and OUTPUT.json.")
def main(*, manifests: tuple[Path, ...], graph: Path | None, rounds: int, profile: bool, output: Path | None) -> None:
    """Prints the results; without manifests only the speed."""
    if output is not None and not manifests:
        raise click.UsageError("a page needs the parity too: name manifests")
    if not manifests and not rounds and not profile:
        raise click.UsageError("nothing to do: name manifests for the parity, or rounds for the speed")
    results, reports, checkpoint = [], [], None
    if manifests:
        path = graph or bundled() / MODEL
        try:
            checkpoint = Checkpoint.of(path.resolve().parents[2])
        except (OSError, KeyError, ValueError) as error:
            raise GraphError(f"{path} lies in no model repository of an export: it has no manifest.json") from error
        reference = replace(open_subject(path), name=str(MODEL))  # as in any repository, not where it lies here
        speech = [spoken for manifest in manifests for spoken in read_speech(manifest, reference)]
        for report, result in parity(path, speech, reference):
            reports.append(report.as_dict())
            results.append(result)
    else:
        say("without manifests only the speed is measured")
    if rounds or profile:
        say("speed: a random checkpoint of the large architecture is made and exported first, in about a minute")
        graphs = large_graphs()
        results += [measure_speed(graphs, rounds)] if rounds else []
        results += [measure_shares(graphs)] if profile else []
    text = "\n\n".join(result.markdown() for result in results)
    print(text)
    if output is None or checkpoint is None:
        return
    machine = Machine.here()
    names = " ".join("/".join(path.parts[-2:]) for path in manifests)
    head = f"`python -m benchmarks.precision {names}`; {checkpoint.line()}; {machine.line()}"
    output.with_suffix(".md").write_text(f"# Precision on a CPU\n\n{head}\n\n{text}\n", encoding="utf-8")
    content = {
        "machine": asdict(machine),
        "checkpoint": asdict(checkpoint),
        "reports": reports,
        "results": [asdict(result) for result in results],
    }
    output.with_suffix(".json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
