"""Every backend and precision that runs here: speed, memory, errors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_export.gate import Spoken
from shrota_export.precision.kinds import Precision
from shrota_export.progress import step
from shrota_export.report.apart import release
from shrota_export.report.child import measure_process
from shrota_export.report.judging import judge, run_speech
from shrota_export.report.material import Material
from shrota_export.report.reasons import reason_of
from shrota_export.report.served import Rounds, measure_served
from shrota_export.report.served_tables import served_figures, show_served
from shrota_export.report.timing import Spread, run_of, spread_text, take_turns
from shrota_export.report.variants import Variant, emulated, make_variants

TITLE = "Backends and precisions"
LATENCY_ROUNDS = 25
ROUNDS = 5
LEAST_ROUNDS = 2
"""Of batches and lengths, where a large model takes minutes for one."""
SERVED_ROUNDS = 3
"""Of throughput through Triton and bare."""
BATCHES = (1, 2, 4, 8)
BATCH_SECONDS = 5.0
LENGTHS_S = (1.0, 2.0, 5.0, 10.0, 20.0)
REFERENCE = "PyTorch fp32"


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Times by turns, memory in processes of their own, errors on all speech (some, where weights are random)."""
    material.prepare()
    variants, missing = make_variants(material)
    latency = _time(material, variants, material.seconds, 1, LATENCY_ROUNDS, least=3)
    by_batch = {rows: _time(material, variants, BATCH_SECONDS, rows, ROUNDS) for rows in BATCHES}
    timed = {BATCH_SECONDS: by_batch[1], material.seconds: latency}  # one utterance of these lengths has been timed
    by_length = {seconds: timed.get(seconds) or _time(material, variants, seconds, 1, ROUNDS) for seconds in LENGTHS_S}
    rounds = Rounds(LATENCY_ROUNDS, SERVED_ROUNDS, BATCHES, BATCH_SECONDS)
    served, unserved = measure_served(material, variants, rounds)
    processes = _processes(material, variants)
    speech = material.some_speech if material.is_random else material.speech
    judged = _judge(material, variants, speech)
    data: dict[str, Any] = {
        "seconds": material.seconds,
        "batch_seconds": BATCH_SECONDS,
        "fewest_rounds": min(
            each.count for times in (by_batch, by_length) for run in times.values() for each in run.values()
        ),
        "utterances": len(speech),
        "speech_s": sum(window.size for each in speech for window in each.windows) / material.checkpoint.sample_rate,
        "variants": {},
        "triton": served,
        "emulated": {},
        "missing": {**missing, **unserved},
    }
    for name, variant in variants.items():
        data["variants"][name] = {
            "note": variant.note,
            "is_served": variant.is_served,
            "precision": str(variant.precision),
            "latency": latency[name].as_dict(),
            "audio_seconds_per_second": {
                str(rows): rows * BATCH_SECONDS / times[name].median for rows, times in by_batch.items()
            },
            "real_time_factor": {f"{seconds:g}": times[name].median / seconds for seconds, times in by_length.items()},
            **processes[name],
            **judged[name],
        }
    data["emulated"] = {name: each for name, each in judged.items() if name not in variants}
    return data


def _time(
    material: Material,
    variants: Mapping[str, Variant],
    seconds: float,
    rows: int,
    rounds: int,
    *,
    least: int = LEAST_ROUNDS,
) -> dict[str, Spread]:
    batch = material.audio(seconds, rows)
    with step(f"run {len(variants)} variants by turns, {rows} x {seconds:g} s"):
        runs = {name: run_of(each.engine, batch) for name, each in variants.items()}
        return dict(take_turns(runs, rounds, least=least))


def _processes(material: Material, variants: Mapping[str, Variant]) -> dict[str, Any]:
    audio = material.folder / "audio.npy"
    np.save(audio, material.audio(material.seconds)[0])
    found: dict[str, Any] = {}
    release()  # the largest batches are over, and the processes need room
    with step("load each in a process of its own"):
        for name, variant in variants.items():
            try:
                found[name] = variant.process or measure_process(variant.kind, variant.source, audio)
            except Exception as error:  # noqa: BLE001 - told in the table
                found[name] = {"load_s": None, "peak_bytes": None, "process_failed": reason_of(error)}
    return found


def _judge(material: Material, variants: Mapping[str, Variant], speech: Sequence[Spoken]) -> dict[str, Any]:
    """Differences and error rates of each, and of bfloat16 as a GPU would have it."""
    reference = run_speech(variants[REFERENCE].engine, speech, REFERENCE)
    engines = {
        **{
            name: (each.judged or (lambda engine=each.engine: engine), each.precision)
            for name, each in variants.items()
        },
        "bf16 graph, emulated": (lambda: emulated(material, Precision.BF16), Precision.BF16),
    }
    vocabulary = None if material.is_random else material.vocabulary
    found = {}
    for name, (make, precision) in engines.items():
        subject = replace(material.subject.beside(name, make(), precision), vocabulary=vocabulary)
        rows = reference if name == REFERENCE else run_speech(subject.engine, speech, name)
        found[name] = judge(reference, rows, speech, subject)
    return found


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:  # noqa: ARG001
    """Speed, bare and through Triton, errors, what is missing, a picture."""
    variants = data["variants"]
    base = variants[REFERENCE]["latency"]["median"]
    blocks: list[Block] = [
        Table(
            [
                "",
                f"latency on {data['seconds']:g} s",
                "p95",
                f"{REFERENCE} / this",
                "most throughput",
                "load",
                "peak memory",
                "note",
            ],
            [
                [
                    name,
                    spread_text(each["latency"]),
                    f"{1000 * each['latency']['p95']:,.1f} ms",
                    f"{base / each['latency']['median']:.2f}",
                    f"{number(best(each)[1])} s/s at batch {best(each)[0]}",
                    "-" if each["load_s"] is None else f"{each['load_s']:.2f} s",
                    "-" if each["peak_bytes"] is None else f"{each['peak_bytes'] / 1e6:,.0f} MB",
                    each["note"],
                ]
                for name, each in variants.items()
            ],
            f"Speed at batch 1 (median and quartiles of {variants[REFERENCE]['latency']['count']} rounds), most "
            f"throughput in seconds of audio per second over batches of {data['batch_seconds']:g} s"
            f"{_fewest(data)}; load time and "
            "peak memory in a process of its own, without the libraries themselves, at batch 1 of "
            f"{data['seconds']:g} s",
        ),
        *show_served(data),
        Picture("backends", "Throughput over the batch, and real-time factor over the length", _draw(data)),
        Table(
            [
                "",
                "word error rate",
                "character error rate",
                "rise of the word error rate",
                "frames with another best token",
                "difference, mean",
                "largest",
            ],
            [_errors(name, each) for name, each in {**variants, **data["emulated"]}.items()],
            f"Errors, greedy, on {data['utterances']} utterances, {data['speech_s']:.0f} s, with 95 % bootstrap "
            "intervals over utterances; differences in log-probability from PyTorch in float32. With so few "
            "utterances the intervals are wide",
        ),
        Table(["not measured here", "why"], list(data["missing"].items())),
    ]
    if all(each["errors"] is None for each in variants.values()):
        blocks.insert(-1, Paragraph("No error rates: the weights are random, or the speech has no texts."))
    return blocks


def _fewest(data: Mapping[str, Any]) -> str:
    """How many rounds the medians are of; older reports did not note it."""
    return f" (medians of at least {data['fewest_rounds']} rounds)" if "fewest_rounds" in data else ""


def best(variant: Mapping[str, Any]) -> tuple[int, float]:
    """The batch with the most throughput, and that in seconds of audio per second."""
    rows, value = max(variant["audio_seconds_per_second"].items(), key=lambda item: item[1])
    return int(rows), float(value)


def keeps(variant: Mapping[str, Any]) -> bool:
    """Whether the gate allows what it gives on this speech."""
    return not variant["failures"]


def _errors(name: str, each: Mapping[str, Any]) -> list[str]:
    errors, difference = each["errors"], each["difference"]
    cells = ["-"] * 3
    if errors is not None:
        cells = [
            _rate(errors["word_error_rate"], errors["word_error_rate_interval"]),
            _rate(errors["character_error_rate"], errors["character_error_rate_interval"]),
            f"{100 * errors['rise']:+.2f} points",
        ]
        if errors["rise_interval"]:
            low, high = errors["rise_interval"]
            cells[2] += f" ({100 * low:+.2f} to {100 * high:+.2f})"
    return [
        name,
        *cells,
        f"{100 * difference['changed_frames']:.2f} %",
        number(difference["mean"]),
        number(difference["largest"]),
    ]


def _rate(value: float, interval: Sequence[float] | None) -> str:
    return percent(value) + ("" if interval is None else f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})")


def _draw(data: dict[str, Any]) -> Any:
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    for index, (name, each) in enumerate(data["variants"].items()):
        throughput, factors = each["audio_seconds_per_second"], each["real_time_factor"]
        left.plot([int(rows) for rows in throughput], list(throughput.values()), "o-", color=colour(index), label=name)
        right.plot([float(length) for length in factors], list(factors.values()), "o-", color=colour(index))
    left.set_xscale("log", base=2)
    left.set_xticks(BATCHES, [str(rows) for rows in BATCHES])
    left.set_ylim(bottom=0)
    right.set_ylim(bottom=0)
    left.set_xlabel(f"batch, of {data['batch_seconds']:g} s each", fontsize=8)
    right.set_xlabel("length of the utterance, s", fontsize=8)
    style(left, title="seconds of audio per second")
    style(right, title="real-time factor at batch 1")
    figure.legend(fontsize=8, ncols=3, loc="outside lower center", frameon=False)
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    rows: list[tuple[str, float | None, str]] = []
    for name, each in data["variants"].items():
        rows += [
            (f"{name}, latency", 1000 * each["latency"]["median"], "ms"),
            (f"{name}, most throughput", best(each)[1], "s/s"),
            (f"{name}, peak memory", each["peak_bytes"] and each["peak_bytes"] / 1e6, "MB"),
        ]
        if each["errors"]:
            rows.append((f"{name}, word error rate", 100 * each["errors"]["word_error_rate"], "%"))
    return rows + served_figures(data)
