"""The tables of a load test."""

from collections.abc import Mapping, Sequence
from typing import Any

from shrota_client.pages.blocks import Table, number, percent
from shrota_loadtest.summary import few_arrived

MIB = 2**20
SERVER_STEPS = (
    ("total", "in all"),
    ("queue", "queue"),
    ("compute_input", "input"),
    ("compute_infer", "compute"),
    ("compute_output", "output"),
)


def seconds(value: float | None) -> str:
    """A time, with its unit: milliseconds below one second."""
    if value is None:
        return "-"
    return f"{number(value)} s" if value >= 1 else f"{number(1000 * value)} ms"


def few(step: Mapping[str, Any]) -> str:
    """That clearly fewer requests arrived than the load says, as after a comma; empty where they did not."""
    if not few_arrived(step):
        return ""
    return f", but only {number(step['arrival_rate'])} of {number(step['expected_rate'])} requests a second arrived"


def steps_table(steps: Sequence[Mapping[str, Any]], unit: str) -> Table:
    """Each load, what came of it, and whether the server carried it."""
    rows = []
    for step in steps:
        latency = step["latency_s"]
        rows.append(
            [
                f"{step['step']} {step['name']}".strip(),
                f"{step['load']:g}",
                f"{number(step['arrival_rate'])} / {number(step['answer_rate'])}",
                number(step["audio_seconds_per_second"]),
                *(seconds(latency[name]) for name in ("p50", "p90", "p95", "p99", "max")),
                number(step["real_time_factor"]["p50"]),
                number(step["real_time_factor"]["p95"]),
                f"{step['requests']} in {step['measured_s']:.0f} s" + (", cut short" if step["ended_early"] else ""),
                ("yes" + few(step)) if step["good"] else step["why_not"],
            ]
        )
    head = ["step", f"load, {unit}", "arrivals / answers a second", "audio s/s", "p50", "p90", "p95", "p99", "max"]
    head += ["RTF p50", "RTF p95", "requests", "carried"]
    return Table(
        head,
        rows,
        "Every load that was tried, in order. Latency from the moment a request was due to its answer; RTF: real-time "
        "factor, latency over length of the audio; audio s/s: seconds of audio answered within the measured time, a "
        "second. A step is cut short when it is clear that it fails",
    )


def buckets_table(steps: Sequence[Mapping[str, Any]], alone: Sequence[Mapping[str, Any]], unit: str) -> Table:
    """Latency and real-time factor by length of the utterance."""
    before = {each["bucket"]: each["mean_latency_s"] for each in alone}
    rows = [
        [
            f"{step['load']:g} {unit}",
            each["bucket"],
            str(each["requests"]),
            *(seconds(each["latency_s"][name]) for name in ("p50", "p90", "p95", "p99", "max")),
            number(each["real_time_factor"]["p50"]),
            number(each["real_time_factor"]["p95"]),
            seconds(before.get(each["bucket"])),
        ]
        for step in steps
        for each in step["buckets"]
    ]
    head = ["load", "length", "requests", "p50", "p90", "p95", "p99", "max", "RTF p50", "RTF p95", "alone, mean"]
    return Table(head, rows, "Latency by length of the utterance")


def server_table(steps: Sequence[Mapping[str, Any]], unit: str) -> Table | None:
    """Where Triton spent the time, and what batches it ran; None where its metrics were not read."""
    rows = []
    for step in steps:
        if not step["triton"]:
            continue
        batching = step["triton"]["batching"]
        for model, times in step["triton"]["models"].items():
            is_engine = model.startswith("acoustic_")
            rows.append(
                [
                    f"{step['load']:g} {unit}",
                    model,
                    f"{times['requests']:.0f}",
                    *(seconds(times[name]) for name, _ in SERVER_STEPS),
                    number(batching["rows"]) if is_engine else "",
                    percent(batching["padded_share"]) if is_engine else "",
                    f"{number(batching['dropped'])}" if model == "acoustic" else "",
                ]
            )
    if not rows:
        return None
    head = ["load", "model", "requests", *(title for _, title in SERVER_STEPS), "rows", "padding", "dropped"]
    return Table(
        head,
        rows,
        "Mean time a request of each model, by Triton's metrics in the measured time; an engine's are windows. "
        "acoustic is left by a request at once and answers it later: what of asr's time is in no other model, requests "
        "wait in acoustic's scheduler. Rows: mean windows in an engine batch; padding: share of what the engine was "
        "given; dropped: requests that the scheduler dropped",
    )


def transcripts_table(steps: Sequence[Mapping[str, Any]], unit: str) -> Table:
    """Transcripts under load against those alone."""
    rows = []
    for step in steps:
        found = step["transcripts"]
        rows.append(
            [
                f"{step['load']:g} {unit}",
                str(found["compared"]),
                str(found["different"]),
                percent(found["word_error_rate"]),
                percent(found["word_error_rate_alone"]),
                percent(found["word_error_rate_loaded"]),
            ]
        )
    head = ["load", "transcripts", "other than alone", "word error rate against those alone"]
    head += ["against what is said: alone", "under load"]
    return Table(head, rows, "Transcripts under load against the ones of the same audio alone")


def errors_table(steps: Sequence[Mapping[str, Any]], unit: str) -> Table | None:
    """Errors by kind; None where there was none."""
    rows = [[f"{step['load']:g} {unit}", kind, str(count)] for step in steps for kind, count in step["errors"].items()]
    return Table(["load", "error", "requests"], rows, "Requests that failed, by error of the client") if rows else None


def generator_table(steps: Sequence[Mapping[str, Any]], unit: str) -> Table:
    """How late the load generator itself was."""
    rows = [
        [
            f"{step['load']:g} {unit}",
            *(seconds(step["lag_s"][name]) for name in ("p50", "p95", "max")),
            number(step["generator_cores"]),
            str(step["senders"]),
            "yes: this load is not valid" if step["generator_was_late"] and not step["good"] else "no",
        ]
        for step in steps
    ]
    head = ["load", "lag p50", "p95", "max", "processor cores", "processes", "was it the limit"]
    return Table(
        head,
        rows,
        "The load generator: how much later than due a request was sent (its latency counts from when it was due), and "
        "what it used of the processors",
    )


def memory_table(memory: Mapping[str, Any]) -> Table:
    """Memory of each process at both ends."""
    rows = [
        [
            each["process"],
            "-" if each["start_bytes"] is None else f"{each['start_bytes'] / MIB:,.1f} MiB",
            "-" if each["end_bytes"] is None else f"{each['end_bytes'] / MIB:,.1f} MiB",
            "came or went" if each["growth"] is None else f"{100 * each['growth']:+.2f} %",
        ]
        for each in memory["processes"]
    ]
    return Table(
        ["process", "start", "end", "growth"],
        rows,
        "Memory of the server's processes (PSS: shared pages are parted among those that share them; RSS where PSS is "
        f"hidden), median of the first and last {memory['edge_s']:.0f} s of the measured time. Largest sum: "
        f"{memory['peak_bytes'] / MIB:,.0f} MiB",
    )
