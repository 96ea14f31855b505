"""What perf_analyzer writes and says."""

import json
from pathlib import Path

import pytest

from shrota_loadtest.errors import PerfAnalyzerError
from shrota_loadtest.perf_analyzer.report import Said, read_export, read_report, read_words, reason_of

FULL = """Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency
4,12.5,30,900,2500,100,300000,400,5,310000,420000,450000,481500
"""
RECORDED = FULL.splitlines()[0] + "\n4,3.32505,137,1076638,1,283,10085,13,4,1006404,1795046,1802601,1811665\n"
"""Of perf_analyzer 2.60 for `asr`."""
SHORT = """Concurrency,Inferences/Second,Client Send,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency
64,251.5,12,9,240000,260000,270000,281500
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "report.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_has_throughput_latencies_and_the_server_s_times(tmp_path: Path) -> None:
    found = read_report(written(tmp_path, FULL))
    assert (found.inferences_per_second, found.queue_ms) == (12.5, 2.5)
    assert found.latency_ms == {50: 310.0, 90: 420.0, 95: 450.0, 99: 481.5}
    assert found.compute_ms == pytest.approx(300.5)


def test_one_that_perf_analyzer_wrote(tmp_path: Path) -> None:
    found = read_report(written(tmp_path, RECORDED))
    assert found.inferences_per_second == 3.32505
    assert found.latency_ms == {50: 1006.404, 90: 1795.046, 95: 1802.601, 99: 1811.665}
    assert found.queue_ms == 0.001
    assert found.compute_ms == pytest.approx(10.381)


def test_without_the_server_s_times(tmp_path: Path) -> None:
    found = read_report(written(tmp_path, SHORT))
    assert (found.inferences_per_second, found.latency_ms[99]) == (251.5, 281.5)
    assert (found.queue_ms, found.compute_ms) == (None, None)


def test_computing_is_not_told_where_a_part_of_it_is_missing(tmp_path: Path) -> None:
    found = read_report(written(tmp_path, FULL.replace("Server Compute Output", "Other")))
    assert (found.queue_ms, found.compute_ms) == (2.5, None)


@pytest.mark.parametrize(
    ("report", "why"),
    [
        ("", "has no row"),
        (SHORT.splitlines()[0] + "\n", "has no row"),
        (SHORT.replace("p99 latency", "p98 latency"), "has no number for 'p99 latency'"),
        (SHORT.replace(",281500", ""), "has no number for 'p99 latency'"),
        (SHORT.replace("251.5", "n/a"), "has no number for 'Inferences/Second'"),
        (FULL.replace("2500", "n/a"), "has no number for 'Server Queue'"),
    ],
)
def test_a_report_that_lacks_a_number(tmp_path: Path, report: str, why: str) -> None:
    with pytest.raises(PerfAnalyzerError, match=f"^perf_analyzer's report {why}$"):
        read_report(written(tmp_path, report))


def test_no_report(tmp_path: Path) -> None:
    with pytest.raises(PerfAnalyzerError, match=r"^perf_analyzer's report cannot be read"):
        read_report(tmp_path / "none.csv")


def test_the_export_knows_the_longest(tmp_path: Path) -> None:
    requests = [
        {"timestamp": 1_000_000_000, "response_timestamps": [1_250_000_000]},
        {"timestamp": 2_000_000_000, "response_timestamps": [2_100_000_000, 2_900_000_000]},
    ]
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"experiments": [{"requests": requests}], "version": "1"}), encoding="utf-8")
    assert read_export(path).longest_ms == 900.0


@pytest.mark.parametrize("text", ["", "[]", '{"experiments": [{}]}', '{"experiments": [{"requests": []}]}'])
def test_an_export_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PerfAnalyzerError, match="profile export cannot be read"):
        read_export(path)


def test_words() -> None:
    text = """Request Rate: 20 inference requests per seconds
  Pass [1] throughput: 3.90432 infer/sec. Avg latency: 847109 usec (std 328282 usec).
WARNING: Pass contained only one request, so sample latency standard deviation will be infinity (UINT64_MAX).
  Pass [2] throughput: 4 infer/sec. Avg latency: 1000000 usec (std 599954 usec).
  Client:
    Request count: 178
    Avg send request rate: 19.51 infer/sec
    [WARNING] Perf Analyzer was not able to keep up with the desired request rate. 12.36% of the requests were delayed.
    Throughput: 19.4 infer/sec
  Server:
    Request count: 9999
"""
    found = read_words(text)
    assert found.windows == ((3.90432, 847.109), (4.0, 1000.0))
    assert found.requests == 178
    assert found.delayed_share == pytest.approx(0.1236)
    assert read_words("nothing") == Said((), None, None)


def test_the_reason_is_the_first_error_that_is_named() -> None:
    text = """Failed to maintain requested inference load. Worker thread(s) failed to generate concurrent requests.
Thread [0] had error: [request id: 0] Exceeds maximum queue size
Thread [3] had error: [request id: 5] Exceeds maximum queue size
"""
    assert reason_of(text) == "[request id: 0] Exceeds maximum queue size"
    error = "Pass [1] cb::Error: failed to find the model\n  Pass [2] throughput: 1"
    assert reason_of(error) == "failed to find the model"
    none = "Pass [1] cb::Error: No valid requests recorded within time interval. Please use a larger time window."
    assert reason_of(none) == "no request ended within one of its windows: give it more time, or less to do"
    assert reason_of(" no  server\n") == "no server"
    assert reason_of("x" * 1000) == "x" * 300
