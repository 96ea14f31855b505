"""The page of a load test: what the server carries, in words, tables and pictures; JSON and CSV beside it."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_client.pages.host import host_line
from shrota_client.pages.load import QUIET
from shrota_client.pages.page import Chapter
from shrota_client.pages.write import write_pages
from shrota_client.writing import writing
from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.host import host
from shrota_loadtest.pages import plots, tables
from shrota_loadtest.settings import CLOSED, OPEN, SEARCH
from shrota_loadtest.verdicts import outcomes, soon_after

TITLE = "Load test"
PICTURES = {"latency", "throughput", "lengths", "memory"}
USERS = {
    OPEN: "Requests arrive at random (Poisson), at the rate of the load, and wait for nobody's answer",
    CLOSED: "Each user sends its next request when its last one has been answered",
    "streams": "Each stream is a live speaker: an utterance is sent when it has been said, then the next one is spoken",
}


def write_report(results: Mapping[str, Any], output: Path) -> list[Path]:
    """Writes the page, its pictures, JSON and CSV files into a folder, which is made.

    Args:
        results: of :meth:`shrota_loadtest.leader.Leader.finish`, and what the command knows beside them.
        output: the folder.

    Raises:
        LoadTestError: no step came to its end.
        OutputError: the folder cannot be written.
    """
    if not results["steps"]:
        raise LoadTestError("no step came to its end, so there is no page: allow more time")
    command = " ".join(["locust", *sys.argv[1:]])
    content = {"command": command, "host": host(), "checks": [], **results}
    written = write_pages(TITLE, about(content), chapters(content), output, content, pictures=PICTURES)
    files = {"steps.csv": step_rows(content), "lengths.csv": bucket_rows(content)}
    with writing(output):
        for name, rows in files.items():
            (output / name).write_text(_csv(rows), encoding="utf-8")
    return [*written, *(output / name for name in files)]


def best_step(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The step of the highest load that was carried, below all that were not, the longest of it; None where none was.

    Of a search it is the one that the search found, or none.
    """
    too_much = lowest_failed(content)
    found = [step for step in content["steps"] if step["good"] and step["load"] < too_much]
    if content["best"] is not None or (content["shape"] == SEARCH and not content.get("test")):
        found = [step for step in found if step["load"] == content["best"]]
    return max(found, key=lambda step: (float(step["load"]), float(step["measured_s"])), default=None)


def lowest_failed(content: Mapping[str, Any]) -> float:
    """The lowest load that was not carried; infinite where all were."""
    return min((float(step["load"]) for step in content["steps"] if not step["good"]), default=float("inf"))


def about(content: Mapping[str, Any]) -> list[str]:
    """Machine, date, command, where the server is, what else ran."""
    others = content.get("others")
    warning = "" if others is None or others <= QUIET else ": with a machine of its own the server carries more"
    return [
        f"Measured on {host_line(content['host'])}.",
        *([content["server"]] if content.get("server") else []),
        *([] if others is None else [f"Other programs took {percent(others)} of the processors meanwhile{warning}."]),
        f"Made by: {content['command']}",
    ]


def summary(content: Mapping[str, Any]) -> list[str]:
    """What a load test shows, in words."""
    if content.get("test") == "soak":
        step = content["steps"][-1]
        return [f"{step['measured_s'] / 60:.0f} minutes of it: {_of(step)}"]
    if content.get("test") == "overload":
        before, overload, after = content["steps"][-3:]
        later = f"From {soon_after(overload, after):.0f} s later on"
        return [f"Before: {_of(before)}", f"Overload: {_of(overload)}", f"{later}: {_of(after)}"]
    return _carried(content)


def _of(step: Mapping[str, Any]) -> str:
    """One load in a line."""
    refused, given_up, others = outcomes(step["errors"])
    return (
        f"at {step['load']:g} requests/s {step['answered']} of {step['requests']} requests were answered, "
        f"{number(step['audio_seconds_per_second'])} seconds of audio a second, p50 latency "
        f"{tables.seconds(step['latency_s']['p50'])}, p95 {tables.seconds(step['latency_s']['p95'])}; {refused} were "
        f"refused by the server, {given_up} given up by the client, {others} failed otherwise."
    )


def _carried(content: Mapping[str, Any]) -> list[str]:
    """The highest load that was carried, in words."""
    bound, unit, best = content["settings"]["bound"], content["unit"], best_step(content)
    if best is None:
        lines = [f"No load that was tried was carried: p95 latency of at most {bound:g} s, and no request fails."]
    else:
        audio = best["audio_seconds_per_second"]
        carries = (
            f"At a p95 latency of at most {bound:g} s this server carries {best['load']:g} {unit} "
            f"(measured: {best['requests']} requests in {best['measured_s']:.0f} s, {number(best['arrival_rate'])} a "
            f"second, p95 {number(best['latency_s']['p95'])} s{tables.few(best)}): "
            f"{number(audio)} seconds of audio a second, that is {number(audio)} live streams, or {number(24 * audio)} "
            "hours of audio a day."
        )
        lines = [carries]
        if content.get("confirmed") is False:
            lines.append(
                f"This was not confirmed: the time was over before {best['load']:g} {unit} could be measured once more."
            )
    failed = [step for step in content["steps"] if step["load"] == lowest_failed(content) and not step["good"]]
    if failed:
        lines.append(f"The lowest load that was not carried is {failed[-1]['load']:g} {unit}: {failed[-1]['why_not']}.")
    elif content["shape"] == SEARCH and best is not None:
        lines.append("Every load that was tried was carried: it may carry more.")
    if any(step["generator_was_late"] and not step["good"] for step in content["steps"]):
        lines.append(
            "Where a load was not carried, the load generator itself was late: the server may carry more than is said "
            "here. Use more processes for it, or another machine."
        )
    return lines


def chapters(content: Mapping[str, Any]) -> list[Chapter]:
    """All chapters; from JSON alone."""
    made = [
        Chapter("summary", "What it shows" if content.get("test") else "What it carries", _summary_blocks(content)),
        Chapter("load", "Latency and throughput over load", _load_blocks(content)),
        Chapter("lengths", "By length of the utterance", _length_blocks(content)),
        Chapter("transcripts", "Transcripts and errors", _transcript_blocks(content)),
        Chapter("server", "Inside the server", _server_blocks(content)),
        Chapter("method", "How it was measured", _method_blocks(content)),
    ]
    if "memory" in content:
        place = content["memory"]["step"] - 1
        step = content["steps"][place]
        began_s = (step["began"] - content["steps"][place - 1]["began"]) if content.get("test") == "overload" else 0.0
        picture = plots.draw_memory(content["memory"], began_s, began_s + step["measured_s"])
        what = "overload" if content.get("test") == "overload" else "measured time"
        caption = f"Memory of the server's processes; the {what} lies between the dotted lines"
        blocks: list[Block] = [tables.memory_table(content["memory"]), Picture("memory", caption, picture)]
        made.insert(1, Chapter("memory", "Memory", blocks))
    return made


def _summary_blocks(content: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [Paragraph(line) for line in summary(content)]
    if content["checks"]:
        rows = [[each["what"], "yes" if each["holds"] else "no", each["found"]] for each in content["checks"]]
        blocks.insert(0, Table(["what must hold", "holds", "found"], rows))
    return blocks


def _load_blocks(content: Mapping[str, Any]) -> list[Block]:
    steps, unit, bound = content["steps"], content["unit"], content["settings"]["bound"]
    blocks: list[Block] = [tables.steps_table(steps, unit)]
    if len(steps) > 1:
        best = best_step(content)
        load = None if best is None else best["load"]
        latency = plots.draw_latency(steps, unit, bound, load)
        throughput = plots.draw_throughput(steps, unit, load)
        blocks += [
            Picture("latency", "Latency percentiles over load, and the highest load that was carried", latency),
            Picture("throughput", "Throughput over load; the knee is the highest load that was carried", throughput),
        ]
    return blocks


def _length_blocks(content: Mapping[str, Any]) -> list[Block]:
    step = best_step(content) or content["steps"][0]
    blocks: list[Block] = [tables.buckets_table([step], content["alone"], content["unit"])]
    if step["buckets"]:
        picture = plots.draw_lengths(step, content["alone"], content["unit"])
        blocks.append(Picture("lengths", "Latency by length of the utterance", picture))
    return blocks


def _transcript_blocks(content: Mapping[str, Any]) -> list[Block]:
    steps, unit = content["steps"], content["unit"]
    errors = tables.errors_table(steps, unit)
    blocks: list[Block] = [tables.transcripts_table(steps, unit)]
    rows = [[each["clip"], each["alone"], each["loaded"]] for step in steps for each in step["transcripts"]["examples"]]
    if rows:
        blocks.append(Table(["utterance", "alone", "under load"], rows, "Transcripts that are not equal"))
    blocks.append(errors or Paragraph("No request failed."))
    return blocks


def _server_blocks(content: Mapping[str, Any]) -> list[Block]:
    table = tables.server_table(content["steps"], content["unit"])
    return [table or Paragraph("Triton's metrics were not read: name their address with --metrics.")]


def _method_blocks(content: Mapping[str, Any]) -> list[Block]:
    work, settings = content["workload"], content["settings"]
    text = (
        f"{work['clips']} utterances of {number(work['shortest_s'])} to {number(work['longest_s'])} s, mean "
        f"{number(work['mean_s'])} s (lengths: {settings['lengths']}, seed {settings['seed']}), were transcribed one "
        "by one before the load, and drawn at random under load. "
        f"{USERS[content['kind']]}; each is given up after {settings['request_timeout']:g} s and is never sent again. "
        "A step settles first, which is not counted; what arrives in the measured time is counted, however late its "
        "answer; the next step begins when every answer is there. A load is carried when p95 latency keeps the bound, "
        "no request fails, and every transcript is the one of the same audio alone. The latency percentiles of a step "
        "are those of the requests in the table: few requests make them rough."
    )
    return [Paragraph(text), tables.generator_table(content["steps"], content["unit"])]


def step_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each step, for CSV."""
    plain = ("step", "name", "load", "measured_s", "requests", "answered", "failed", "unanswered", "arrival_rate")
    more = ("answer_rate", "audio_seconds_per_second", "generator_cores", "ended_early", "good", "why_not")
    return [
        {
            **{name: step[name] for name in (*plain, *more)},
            "unit": content["unit"],
            **{f"latency_{name}_s": value for name, value in step["latency_s"].items()},
            **{f"real_time_factor_{name}": value for name, value in step["real_time_factor"].items()},
            **{f"lag_{name}_s": step["lag_s"][name] for name in ("p50", "p95", "max")},
            "transcripts": step["transcripts"]["compared"],
            "different_transcripts": step["transcripts"]["different"],
            "word_error_rate_against_alone": step["transcripts"]["word_error_rate"],
        }
        for step in content["steps"]
    ]


def bucket_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each bucket of lengths of each step, for CSV."""
    return [
        {
            "step": step["step"],
            "load": step["load"],
            "unit": content["unit"],
            "length": each["bucket"],
            "requests": each["requests"],
            **{f"latency_{name}_s": value for name, value in each["latency_s"].items()},
            **{f"real_time_factor_{name}": value for name, value in each["real_time_factor"].items()},
        }
        for step in content["steps"]
        for each in step["buckets"]
    ]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()
