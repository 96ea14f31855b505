"""The bars, what was found beside each, and the ratio to PyTorch in bfloat16 of the same run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_serving.engines import REFERENCE, from_host
from benchmarks.gpu_serving.served import ENGINE, ENSEMBLE, EQUAL, MIXED

AUDIO_S_PER_S = 12_000.0
MIXED_SHARE = 0.9
LATENCY_MS = 9.0
ENGINE_MS = 5.0
GPUS_RATIO = 1.9
NOT_MEASURED = "not measured"

Point = Mapping[str, Any]
Step = Mapping[str, Any]


@dataclass(frozen=True)
class Bar:
    """One of them, of one precision.

    Attributes:
        what: is wanted.
        precision: of acoustic_torch.
        found: with the configuration that gave it.
        ratio: to PyTorch; None where there is none.
        holds: None where it was not measured, or is not judged.
    """

    what: str
    precision: str
    found: str
    ratio: float | None
    holds: bool | None


def served_steps(results: Mapping[str, Any]) -> list[Step]:
    """Those of the server that have loads."""
    return [step for step in results["steps"].values() if step.get("configuration") and step.get("points")]


def points_of(step: Step, model: str, lengths: str, shared_memory: str, *, one: bool) -> list[Point]:
    """Measured points of a step with one request under way, or with more."""
    return [
        point
        for point in step["points"]
        if "failed" not in point
        and (point["model"], point["lengths"], point["shared_memory"]) == (model, lengths, shared_memory)
        and (point["value"] == 1) is one
    ]


def throughput(step: Step, lengths: str, shared_memory: str = "none") -> float | None:
    """Audio-seconds per second through ``asr`` at the best concurrency."""
    found = points_of(step, ENSEMBLE, lengths, shared_memory, one=False)
    return max((point["audio_seconds_per_second"] for point in found), default=None)


def latency(step: Step, model: str, shared_memory: str = "none") -> float | None:
    """Median milliseconds of one request under way."""
    found = points_of(step, model, EQUAL, shared_memory, one=True)
    return found[0]["p50_ms"] if found else None


def reference_ms(results: Mapping[str, Any], rows: int) -> float | None:
    """Median of PyTorch in bfloat16 on so many rows, in this run."""
    step = results["steps"].get(f"batch {rows}", {})
    found = step.get("engines", {}).get(REFERENCE)
    return found["median_ms"] if found else None


def bars(results: Mapping[str, Any]) -> list[Bar]:
    """All, for each precision that was served; judged for the published shape on CUDA alone."""
    steps = served_steps(results)
    found: list[Bar] = []
    for precision in dict.fromkeys(step["precision"] for step in steps):
        alone = [step for step in steps if step["precision"] == precision and step["gpus"] == 1]
        several = [step for step in steps if step["precision"] == precision and step["gpus"] > 1]
        found += [_throughput(results, precision, alone), _mixed(results, precision, alone)]
        found += [
            _latency(results, precision, alone, ENSEMBLE, LATENCY_MS),
            _latency(results, precision, alone, ENGINE, ENGINE_MS),
        ]
        if several:
            found.append(_several(results, precision, alone, several))
    return found


def all_in_one(results: Mapping[str, Any]) -> list[str]:
    """The configurations, of one GPU, that meet the four bars at once."""
    if not is_judged(results):
        return []
    kept = []
    for step in served_steps(results):
        equal, mixed = throughput(step, EQUAL), throughput(step, MIXED)
        whole, engine = latency(step, ENSEMBLE), latency(step, ENGINE)
        if step["gpus"] != 1 or None in (equal, mixed, whole, engine):
            continue
        assert equal and mixed and whole and engine  # noqa: S101, PT018 - for the type checker
        good = equal >= AUDIO_S_PER_S and mixed >= MIXED_SHARE * AUDIO_S_PER_S
        if good and whole <= LATENCY_MS and engine <= ENGINE_MS:
            kept.append(step["configuration"])
    return kept


def is_judged(results: Mapping[str, Any]) -> bool:
    """The bars are about the published shape on a GPU, and say nothing of a trial."""
    return results["device"] == "cuda" and bool(results["shape"]["is_published"])


def reference_rate(results: Mapping[str, Any]) -> float | None:
    """Audio-seconds per second of PyTorch in bfloat16 on the large batch."""
    rows, seconds = results["rows"], results["seconds_of_audio"]
    found = reference_ms(results, rows)
    return None if found is None else 1000 * rows * seconds / found


def _best(
    steps: Sequence[Step], value: Callable[[Step], float | None], *, highest: bool = True
) -> tuple[float, str] | None:
    found = [(number, step["configuration"]) for step in steps if (number := value(step)) is not None]
    return (max if highest else min)(found, default=None)


def _holds(results: Mapping[str, Any], holds: bool) -> bool | None:
    return holds if is_judged(results) else None


def _throughput(results: Mapping[str, Any], precision: str, steps: Sequence[Step]) -> Bar:
    what = (
        f"asr over gRPC, utterances of {results['seconds_of_audio']:g} s: at least {AUDIO_S_PER_S:,.0f} "
        "audio-seconds per second"
    )
    best = _best(steps, lambda step: throughput(step, EQUAL))
    if best is None:
        return Bar(what, precision, NOT_MEASURED, None, None)
    shared = _best(steps, lambda step: throughput(step, EQUAL, "system"))
    beside = f"; in shared memory {shared[0]:,.0f} ({shared[1]})" if shared else ""
    rate = reference_rate(results)
    return Bar(
        what,
        precision,
        f"{best[0]:,.0f} ({best[1]}){beside}",
        best[0] / rate if rate else None,
        _holds(results, best[0] >= AUDIO_S_PER_S),
    )


def _mixed(results: Mapping[str, Any], precision: str, steps: Sequence[Step]) -> Bar:
    floor = MIXED_SHARE * AUDIO_S_PER_S
    what = f"asr over gRPC, {MIXED} mixed: at least {100 * MIXED_SHARE:.0f} % of that, {floor:,.0f}"
    best = _best(steps, lambda step: throughput(step, MIXED))
    if best is None:
        return Bar(what, precision, NOT_MEASURED, None, None)
    step = next(step for step in steps if step["configuration"] == best[1])
    equal = throughput(step, EQUAL)
    share = f", {100 * best[0] / equal:.0f} % of its own on equal lengths" if equal else ""
    rate = reference_rate(results)
    return Bar(
        what,
        precision,
        f"{best[0]:,.0f} ({best[1]}{share})",
        best[0] / rate if rate else None,
        _holds(results, best[0] >= floor),
    )


def _latency(results: Mapping[str, Any], precision: str, steps: Sequence[Step], model: str, most_ms: float) -> Bar:
    seconds = results["seconds_of_audio"]
    where = "through asr" if model == ENSEMBLE else f"in the engine ({ENGINE} asked alone)"
    what = f"one request of {seconds:g} s under way, gRPC, {where}: median of at most {most_ms:g} ms"
    best = _best(steps, lambda step: latency(step, model), highest=False)
    if best is None:
        return Bar(what, precision, NOT_MEASURED, None, None)
    shared = _best(steps, lambda step: latency(step, model, "system"), highest=False)
    beside = f"; in shared memory {shared[0]:.2f} ms" if shared else ""
    if model == ENGINE:
        alone = results["steps"].get("batch 1", {}).get("engines", {}).get(from_host(precision))
        beside += f"; in process, host to host, {alone['median_ms']:.2f} ms" if alone else ""
    base = reference_ms(results, 1)
    return Bar(
        what,
        precision,
        f"{best[0]:.2f} ms ({best[1]}){beside}",
        base / best[0] if base else None,
        _holds(results, best[0] <= most_ms),
    )


def _several(results: Mapping[str, Any], precision: str, alone: Sequence[Step], several: Sequence[Step]) -> Bar:
    what = f"two GPUs: at least {GPUS_RATIO:g} times one"
    one = _best(alone, lambda step: throughput(step, EQUAL))
    two = _best(several, lambda step: throughput(step, EQUAL))
    if one is None or two is None:
        return Bar(what, precision, NOT_MEASURED, None, None)
    rate = reference_rate(results)
    ratio = two[0] / one[0]
    shared = [_best(steps, lambda step: throughput(step, EQUAL, "system")) for steps in (alone, several)]
    beside = ""
    if shared[0] and shared[1]:
        beside = f"; in shared memory {shared[1][0] / shared[0][0]:.2f} times: {shared[1][0]:,.0f}"
    return Bar(
        what,
        precision,
        f"{ratio:.2f} times: {two[0]:,.0f} ({two[1]}) over {one[0]:,.0f}{beside}",
        two[0] / rate if rate else None,
        _holds(results, ratio >= GPUS_RATIO),
    )
