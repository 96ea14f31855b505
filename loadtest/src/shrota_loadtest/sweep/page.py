"""The page of a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shrota_client.pages.blocks import Block, Paragraph, Picture, number
from shrota_client.pages.host import host_line
from shrota_client.pages.page import Chapter
from shrota_client.pages.write import write_pages
from shrota_client.writing import writing
from shrota_loadtest.sweep.pictures import (
    CONFIGURATION,
    NAMES,
    PICTURES,
    by_way,
    draw_axis,
    draw_configurations,
)
from shrota_loadtest.sweep.plan import AXES, BATCH, RATE, Way
from shrota_loadtest.sweep.rounds import unstable_rounds, values
from shrota_loadtest.sweep.settings import AS_IT_IS
from shrota_loadtest.sweep.tables import axis_table, configuration_table, inside_table, points_csv
from shrota_loadtest.sweep.verdict import CHANCE, LEAST_ROUNDS, judge, sentence

TITLE = "What each load and each setting gives, by perf_analyzer"
CSV = "points.csv"
FORMAT = 1
"""Of the JSON."""
SAME_LENGTH = 0.05
"""The mean length that the server counted may differ so much from the one that was sent: windows end between rounds."""


def write(content: Mapping[str, Any], output: Path) -> list[Path]:
    """Writes HTML, Markdown, JSON, pictures and CSV into a folder.

    Args:
        content: what ``shrota sweep`` has measured.
        output: the folder.

    Returns:
        What was written.

    Raises:
        OutputError: it cannot be written.
    """
    written = write_pages(TITLE, about_lines(content), chapters(content), output, content, pictures=PICTURES)
    with writing(output / CSV):
        (output / CSV).write_text(points_csv(content["points"]), encoding="utf-8")
    return [*written, output / CSV]


def about_lines(content: Mapping[str, Any]) -> list[str]:
    """Command, machine, date and versions."""
    speech = content["speech"]
    return [
        f"{content['command']}.",
        f"{host_line(content['host'])}.",
        f"perf_analyzer {content['perf_analyzer']}; server: {content['server'] or 'unknown'}.",
        (
            f"{speech['clips']} utterances from {speech['manifest']}, {speech['least_s']:.1f} to "
            f"{speech['most_s']:.1f} s, {speech['mean_s']:.2f} s on average ({speech['lengths']})."
        ),
    ]


def chapters(content: Mapping[str, Any]) -> list[Chapter]:
    """The summary, a chapter for each axis that has points, and one for the configurations."""
    points = content["points"]
    found = [
        Chapter(NAMES[axis], _heading(axis), _axis_blocks([each for each in points if each["axis"] == axis], axis))
        for axis in AXES
        if any(each["axis"] == axis for each in points)
    ]
    if content["configuration"] is not None:
        found.append(Chapter(CONFIGURATION, "Configuration", _configuration_blocks(content["configuration"])))
    return [Chapter("summary", "What it says", summary(content)), *found, Chapter("how", "How it was measured", HOW)]


def _heading(axis: str) -> str:
    return {RATE: "Over the rate of arrivals", BATCH: "Over the rows of a request"}.get(axis, "Over concurrency")


def _axis_blocks(points: Sequence[Mapping[str, Any]], axis: str) -> list[Block]:
    blocks: list[Block] = []
    if any("failed" not in point for point in points):
        caption = "Throughput and p95 latency; hollow: perf_analyzer's windows differed too much to call it stable"
        blocks.append(Picture(NAMES[axis], caption, draw_axis(points, axis)))
    blocks.append(axis_table(points, axis))
    inside = inside_table(points, axis)
    return [*blocks, inside] if inside else blocks


def summary(content: Mapping[str, Any]) -> list[Block]:
    """The highest throughput of each way, verdicts, and what is to be minded."""
    measured = [point for point in content["points"] if "failed" not in point]
    blocks: list[Block] = []
    for line in by_way([point for point in measured if point["axis"] != BATCH]).values():
        best = max(line, key=lambda point: float(point["audio_seconds_per_second"]))
        way = Way(best["model"], best["protocol"], best["shared_memory"]).label
        text = (
            f"{way}: at most {number(best['audio_seconds_per_second'])} audio-seconds per second "
            f"({number(best['utterances_per_second'])} utterances/s), at {best['axis']} {best['value']:g} with a p95 "
            f"of {number(best['p95_ms'])} ms{'' if best['stable'] else ' (unstable)'}."
        )
        blocks.append(Paragraph(text))
    if content["configuration"] is not None:
        blocks += [Paragraph(text) for text in verdicts(content["configuration"])]
    return [*blocks, *(Paragraph(text) for text in _warnings(content["points"]))]


def verdicts(found: Mapping[str, Any]) -> list[str]:
    """Which configuration won for throughput, and which for latency."""
    asked = (
        ("throughput", "utterances_per_second", "throughput", "utterances/s"),
        ("latency", "p95_ms", "p95 latency", "ms"),
    )
    sentences = []
    for kind, name, title, unit in asked:
        verdict = judge(values(found, kind, name), AS_IT_IS, highest=kind == "throughput")
        what = f"{title}, {found[f'{kind}_concurrency']} at once"
        sentences.append(sentence(verdict, what, unit, AS_IT_IS, unstable_rounds(found, kind)))
    if found["left_out"]:
        sentences.append(f"{found['left_out']} turns were left out: the time was over.")
    return sentences


def _warnings(points: Sequence[Mapping[str, Any]]) -> list[str]:
    failed = sum("failed" in point for point in points)
    measured = [point for point in points if "failed" not in point]
    unstable = sum(not point["stable"] for point in measured)
    texts = []
    if failed:
        texts.append(f"{failed} of {len(points)} points have no measurement; the tables say why.")
    if unstable:
        texts.append(f"{unstable} of {len(measured)} points are unstable: their windows differ by more than allowed.")
    counted = [point for point in measured if point["counted_seconds"]]
    other = [point for point in counted if abs(point["counted_seconds"] / point["sent_seconds"] - 1) > SAME_LENGTH]
    if counted:
        worst = max(counted, key=lambda point: abs(float(point["counted_seconds"]) / point["sent_seconds"] - 1))
        texts.append(
            f"Lengths: the server counted, for each utterance, what was sent within {100 * SAME_LENGTH:.0f} % at "
            f"{len(counted) - len(other)} of {len(counted)} points (furthest: {worst['counted_seconds']:.2f} s of "
            f"{worst['sent_seconds']:.2f} s). Audio-seconds are counted by the server."
        )
    return texts


def _configuration_blocks(found: Mapping[str, Any]) -> list[Block]:
    throughput = values(found, "throughput", "utterances_per_second")
    latency = values(found, "latency", "p95_ms")
    blocks: list[Block] = [Paragraph(text) for text in verdicts(found)]
    if any(throughput.values()) or any(latency.values()):
        caption = "Each round is a dot, the bar their median; grey: the repository as it is"
        blocks.append(Picture(CONFIGURATION, caption, draw_configurations(throughput, latency)))
    return [*blocks, configuration_table(found)]


HOW = [
    Paragraph(
        "perf_analyzer measures three windows; a point shows all of them together. It is unstable where throughput or "
        "latency of a window differs from their mean by more than a quarter. At a rate, where arrivals are random, it "
        "is unstable where throughput differs by more than chance makes it, where arrivals are not answered, or where "
        "latency keeps growing. A rate has Poisson arrivals, the same for every way, and asynchronous calls, so that a "
        "slow server does not slow the load down. Concurrency keeps so many requests under way."
    ),
    Paragraph(
        "Queue and compute are the server's means for the model that is asked, without what it waits for: acoustic "
        "answers later than its execute returns, so waiting in its scheduler and for the engine is in neither, and an "
        "ensemble's are those of its steps. The latency is what a caller waits."
    ),
    Paragraph(
        "Each worker of perf_analyzer goes round all utterances: their number has no common divisor with that of the "
        "workers. Rows of one request have one length, so utterances are cut to it there, and requests come one by one."
    ),
    Paragraph(
        "For configurations the server is started again on a copy of the repository, in rounds that go forwards and "
        f"backwards. From {LEAST_ROUNDS} rounds on a setting wins where its rounds do not overlap with those of the "
        "repository as it is and their means differ by more than a margin (Dunnett's, which counts the settings): "
        f"chance alone makes any of them win at most {100 * CHANCE:.0f} % of the time, for throughput and for latency "
        "each."
    ),
]
