"""The page of a sweep, from fixed content."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from shrota_client.pages.blocks import Paragraph, Picture, Table
from shrota_loadtest.sweep.page import chapters, verdicts, write
from shrota_loadtest.sweep.settings import AS_IT_IS

HOST = {
    "processor": "a processor",
    "extensions": ["avx2"],
    "cores": 2,
    "memory_gib": 8.0,
    "date": "2026-11-26",
    "versions": {"python": "3.11"},
}


def point(value: float, throughput: float, p95: float, **changes: Any) -> dict[str, Any]:
    """A measured point of asr over gRPC."""
    usual = {
        "model": "asr",
        "protocol": "grpc",
        "shared_memory": "none",
        "axis": "concurrency",
        "value": value,
        "rows": 1,
        "utterances_per_second": throughput,
        "audio_seconds_per_second": 6 * throughput,
        "p50_ms": 0.5 * p95,
        "p90_ms": 0.9 * p95,
        "p95_ms": p95,
        "p99_ms": 1.1 * p95,
        "longest_ms": None,
        "queue_ms": 3.0,
        "compute_ms": 80.0,
        "requests": 250,
        "delayed_share": None,
        "stable": True,
        "why_unstable": None,
        "sent_seconds": 6.0,
        "counted_seconds": 6.1,
        "batch_rows": 2.5,
        "padded_share": 0.04,
        "models": {
            "acoustic": {"queue_ms": 1.0, "compute_ms": 70.0},
            "ctc_decoder": {"queue_ms": 0.1, "compute_ms": 2},
        },
    }
    return {**usual, **changes}


FAILED = {
    **{name: point(16, 1, 1)[name] for name in ("model", "protocol", "shared_memory", "axis", "value", "rows")},
    "failed": "perf_analyzer ended with exit code 99: Exceeds maximum queue size",
}
POINTS = [
    point(1, 5.0, 200.0),
    point(4, 10.0, 400.0),
    point(8, 12.0, 900.0, stable=False, why_unstable="throughput of its windows differs by 40 %", requests=60),
    FAILED,
    point(4, 9.0, 500.0, protocol="http", shared_memory="system", longest_ms=700.0),
    point(2.5, 2.5, 210.0, axis="request rate", delayed_share=0.123),
    point(4, 14.0, 300.0, axis="batch", rows=4),
]


def turns(throughput: list[float], p95: list[float]) -> dict[str, Any]:
    """One configuration's rounds."""
    return {
        "settings": [],
        "throughput": [point(16, each, 1000.0) for each in throughput],
        "latency": [point(1, 5.0, each) for each in p95],
    }


CONFIGURATION: dict[str, Any] = {
    "way": {"model": "asr", "protocol": "grpc", "shared_memory": "none"},
    "rounds": 3,
    "throughput_concurrency": 16,
    "latency_concurrency": 1,
    "left_out": 0,
    "configurations": {
        AS_IT_IS: turns([10.0, 10.5, 10.25], [200.0, 210.0, 205.0]),
        "acoustic.engine_calls=2": turns([13.0, 14.0, 13.5], [205.0, 220.0, 212.0]),
        "acoustic_onnx.threads=1": {
            "settings": [],
            "throughput": [{"failed": "no room"}] * 3,
            "latency": [{"failed": "no room"}] * 3,
        },
    },
}
CONTENT: dict[str, Any] = {
    "format": 1,
    "command": "shrota sweep --concurrency 1,4,8,16",
    "host": HOST,
    "perf_analyzer": "2.60.0 (commit abc)",
    "server": "triton 2.51.0",
    "speech": {
        "manifest": "samples/manifest.jsonl",
        "lengths": "cut",
        "clips": 31,
        "least_s": 2.0,
        "most_s": 19.0,
        "mean_s": 6.0,
    },
    "points": POINTS,
    "configuration": CONFIGURATION,
}


def texts(name: str, content: dict[str, Any] = CONTENT) -> list[str]:
    """The paragraphs of a chapter."""
    (chapter,) = (each for each in chapters(content) if each.name == name)
    return [block.text for block in chapter.blocks if isinstance(block, Paragraph)]


def table(name: str) -> Table:
    """The first table of a chapter."""
    (chapter,) = (each for each in chapters(CONTENT) if each.name == name)
    return next(block for block in chapter.blocks if isinstance(block, Table))


def test_there_is_a_chapter_for_each_axis_and_for_the_configurations() -> None:
    assert [each.name for each in chapters(CONTENT)] == [
        "summary",
        "concurrency",
        "rate",
        "batch",
        "configuration",
        "how",
    ]
    alone = {**CONTENT, "points": [], "configuration": CONFIGURATION}
    assert [each.name for each in chapters(alone)] == ["summary", "configuration", "how"]


def test_the_summary_has_the_highest_throughput_of_each_way() -> None:
    said = texts("summary")
    assert said[0] == (
        "asr, gRPC: at most 72 audio-seconds per second (12 utterances/s), at concurrency 8 with a p95 of 900 ms "
        "(unstable)."
    )
    assert said[1].startswith("asr, HTTP, shared memory: at most 54 audio-seconds per second")
    assert "1 of 7 points have no measurement; the tables say why." in said
    assert "1 of 6 points are unstable: their windows differ by more than allowed." in said
    assert any(text.startswith("Lengths: the server counted") and "at 6 of 6 points" in text for text in said)


def test_other_lengths_than_were_sent_are_said() -> None:
    said = texts("summary", {**CONTENT, "points": [point(1, 5.0, 200.0, counted_seconds=4.5)]})
    assert any("at 0 of 1 points (furthest: 4.50 s of 6.00 s)" in text for text in said)


def test_a_failed_point_has_its_reason_and_an_unstable_one_is_marked() -> None:
    rows = {row[1]: row for row in table("concurrency").rows if row[0] == "asr, gRPC"}
    assert rows["16"][-1] == "failed: perf_analyzer ended with exit code 99: Exceeds maximum queue size"
    assert rows["16"][2:-1] == ["-"] * 11
    assert rows["8"][-1] == "unstable: throughput of its windows differs by 40 %; few requests for a p99"
    assert rows["1"][2:] == ["5", "30", "100", "180", "200", "220", "3", "80", "2.5", "4.0 %", "250", ""]
    assert table("rate").rows[0][-1] == "12.3 % sent late"


def test_the_configurations_have_their_spread_and_a_verdict() -> None:
    throughput, latency = verdicts(CONFIGURATION)
    assert throughput == (
        "For throughput, 16 at once: acoustic.engine_calls=2 won, 13.5 utterances/s (13 to 14 in 3 rounds), "
        f"31.7 % above {AS_IT_IS}."
    )
    assert latency == (
        f"For p95 latency, 1 at once: nothing is better than {AS_IT_IS}, 205 ms (200 to 210 in 3 rounds), and no "
        "difference beyond the spread from acoustic.engine_calls=2."
    )
    rows = table("configuration").rows
    assert rows[0] == [AS_IT_IS, "10.2 (10 to 10.5)", "61.5 (60 to 63)", "205 (200 to 210)", ""]
    assert rows[2] == ["acoustic_onnx.threads=1", "-", "-", "-", "failed: no room"]


def test_unstable_rounds_of_a_configuration_are_said_with_the_verdict() -> None:
    own = turns([10.0, 10.5, 10.25], [200.0, 210.0, 205.0])
    own["latency"][1] |= {"stable": False, "why_unstable": "latency of its windows differs by 40 %"}
    configuration = {
        **CONFIGURATION,
        "configurations": {**CONFIGURATION["configurations"], AS_IT_IS: own},
    }
    throughput, latency = verdicts(configuration)
    assert "nstable" not in throughput
    assert latency.endswith(f" Unstable: 1 of 3 rounds of {AS_IT_IS}.")


def test_turns_that_were_left_out_are_said() -> None:
    assert verdicts({**CONFIGURATION, "left_out": 3})[-1] == "3 turns were left out: the time was over."


def test_the_files(tmp_path: Path) -> None:
    written = write(CONTENT, tmp_path)
    assert {path.name for path in written} == {
        *("index.html", "report.md", "report.json", "points.csv"),
        *("concurrency.png", "rate.png", "batch.png", "configuration.png"),
    }
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(CONTENT))
    with (tmp_path / "points.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["p95_ms"] for row in rows] == ["200.0", "400.0", "900.0", "", "500.0", "210.0", "300.0"]
    assert [row["why_unstable"] for row in rows if row["stable"] == "False"] == [
        "throughput of its windows differs by 40 %"
    ]
    assert rows[3]["failed"].endswith("Exceeds maximum queue size")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "shrota sweep --concurrency 1,4,8,16." in page
    assert "perf_analyzer 2.60.0 (commit abc); server: triton 2.51.0." in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_pictures_show_what_was_measured() -> None:
    (chapter,) = (each for each in chapters(CONTENT) if each.name == "concurrency")
    picture = next(block for block in chapter.blocks if isinstance(block, Picture))
    throughput, latency = picture.figure.axes[:2]
    lines = {line.get_label(): line for line in throughput.get_lines()}
    assert list(lines["asr, gRPC"].get_ydata()) == [30.0, 60.0, 72.0]
    assert list(lines["asr, gRPC"].get_xdata()) == [1, 4, 8]
    hollow = [line for line in latency.get_lines() if line.get_markerfacecolor() == "none"]
    assert [list(line.get_ydata()) for line in hollow if len(line.get_ydata())] == [[900.0]]


@pytest.mark.parametrize("broken", [[], [FAILED]])
def test_a_sweep_without_any_measurement_has_a_page(tmp_path: Path, broken: list[dict[str, Any]]) -> None:
    content = {**CONTENT, "points": broken, "configuration": None}
    assert {path.suffix for path in write(content, tmp_path)} == {".html", ".md", ".json", ".csv"}
