"""The page of a load test, from fixed figures; and what must hold of a soak and an overload."""

import csv
import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from shrota_client.pages.host import host_line
from shrota_loadtest import running, verdicts
from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.pages import plots
from shrota_loadtest.pages.plots import find_ticks
from shrota_loadtest.pages.report import about, best_step, chapters, summary, write_report
from shrota_loadtest.running import highest_rate
from shrota_loadtest.settings import Settings
from shrota_loadtest.transcripts import exceeds

PNG = b"\x89PNG\r\n\x1a\n"


def spread(scale: float) -> dict[str, float]:
    return {"p50": scale, "p90": 1.8 * scale, "p95": 2 * scale, "p99": 3 * scale, "max": 4 * scale, "mean": scale}


def times(requests: int, queue_s: float, compute_s: float) -> dict[str, float]:
    return {
        "requests": float(requests),
        "total": queue_s + compute_s,
        "queue": queue_s,
        "compute_input": 0.0,
        "compute_infer": compute_s,
        "compute_output": 0.0,
    }


def step(number: int, load: float, latency_s: float, **more: Any) -> dict[str, Any]:
    """A step whose requests are all of 6 s."""
    good = 2 * latency_s <= 1.0
    return {
        "step": number,
        "name": "",
        "load": load,
        "settle_s": 3.0,
        "measured_s": 20.0,
        "drained_s": 1.0,
        "ended_early": not good,
        "requests": round(20 * load),
        "answered": round(20 * load),
        "failed": 0,
        "unanswered": 0,
        "unmeasured": 3,
        "unmeasured_failed": 0,
        "arrival_rate": load,
        "answer_rate": load,
        "audio_seconds_per_second": 6 * load,
        "arriving_audio_seconds_per_second": 6 * load,
        "latency_s": spread(latency_s),
        "failed_latency_s": dict.fromkeys(spread(1.0)),
        "failed_after_s": dict.fromkeys(spread(1.0)),
        "real_time_factor": {"p50": latency_s / 6, "p95": latency_s / 3},
        "buckets": [
            {
                "bucket": "5-10 s",
                "requests": round(20 * load),
                "latency_s": spread(latency_s),
                "real_time_factor": {"p50": latency_s / 6, "p95": latency_s / 3},
            }
        ],
        "lag_s": spread(0.001),
        "generator_cores": 0.2,
        "senders": 1,
        "errors": {},
        "transcripts": {
            "compared": round(20 * load),
            "different": 0,
            "examples": [],
            "word_error_rate": 0.0,
            "word_error_rate_alone": 0.05,
            "word_error_rate_loaded": 0.05,
        },
        "good": good,
        "why_not": "" if good else f"p95 latency {2 * latency_s:.2f} s, over 1 s",
        "generator_was_late": False,
        "triton": {
            "batching": {"rows": 3.5, "padded_share": 0.07, "engine_s": 12.0, "audio_s": 700.0, "dropped": 0.0},
            "models": {"acoustic": times(40, 0.001, 0.3), "acoustic_onnx": times(20, 0.002, 0.2)},
        },
        "began": 1000.0 * number,
        "ended": 1000.0 * number + 20.0,
        **more,
    }


CONTENT: dict[str, Any] = {
    "command": "shrota loadtest search",
    "host": {"processor": "P", "extensions": [], "cores": 2, "memory_gib": 8.0, "date": "2026-11-26", "versions": {}},
    "server": "Server: one of a test.",
    "kind": "open",
    "unit": "requests/s",
    "shape": "search",
    "settings": vars(Settings()),
    "best": 4.0,
    "too_much": 5.0,
    "workload": {"clips": 48, "audio_s": 288.0, "mean_s": 6.0, "shortest_s": 2.0, "longest_s": 20.0},
    "alone": [{"bucket": "5-10 s", "requests": 48, "mean_latency_s": 0.15}],
    "steps": [step(1, 2.0, 0.2), step(2, 4.0, 0.4), step(3, 5.0, 2.0)],
    "checks": [{"what": "transcripts are equal", "holds": True, "found": "0 of 220 differ"}],
}


LOWEST = "The lowest load that was not carried is 5 requests/s: p95 latency 4.00 s, over 1 s."


def test_the_summary_says_what_the_server_carries_a_second_and_a_day() -> None:
    carries = (
        "At a p95 latency of at most 1 s this server carries 4 requests/s (measured: 80 requests in 20 s, 4 a second, "
        "p95 0.8 s): "
        "24 seconds of audio a second, that is 24 live streams, or 576 hours of audio a day."
    )
    assert summary(CONTENT) == [carries, LOWEST]


def test_the_summary_says_where_nothing_failed_where_all_did_and_where_the_generator_was_late() -> None:
    assert summary({**CONTENT, "too_much": None, "steps": CONTENT["steps"][:2]})[1] == (
        "Every load that was tried was carried: it may carry more."
    )
    none = {**CONTENT, "best": None, "steps": [step(1, 5.0, 2.0)]}
    assert best_step(none) is None
    assert "No load that was tried was carried" in summary(none)[0]
    assert summary(none)[1] == LOWEST
    late = {**CONTENT, "steps": [*CONTENT["steps"][:2], step(3, 5.0, 2.0, generator_was_late=True)]}
    assert "the load generator itself was late" in summary(late)[-1]


def test_a_repeat_that_failed_leaves_nothing_that_was_carried() -> None:
    """The time was over after it: lower loads were not tried."""
    failed = {**CONTENT, "best": None, "too_much": 4.0, "confirmed": False}
    failed["steps"] = [step(1, 4.0, 0.4), step(2, 5.0, 2.0), step(3, 4.0, 2.0)]
    assert best_step(failed) is None
    assert "No load that was tried was carried" in summary(failed)[0]


def test_of_given_steps_none_above_one_that_failed_was_carried() -> None:
    given = {**CONTENT, "shape": "stages", "best": None, "steps": [step(1, 1.0, 0.2), step(2, 2.0, 2.0)]}
    given["steps"] += [step(3, 4.0, 0.4), step(4, 1.5, 0.3)]
    found = best_step(given)
    assert found is not None
    assert found["load"] == 1.5
    assert best_step({**given, "steps": given["steps"][1:3]}) is None


def test_the_summary_says_that_what_was_found_was_not_confirmed() -> None:
    assert "This was not confirmed" in summary({**CONTENT, "confirmed": False})[1]
    assert not any("confirmed" in line for line in summary({**CONTENT, "confirmed": True}))


def test_the_summary_says_that_fewer_arrived_than_the_load_says() -> None:
    few = step(2, 4.0, 0.4, arrival_rate=3.7, expected_rate=4.0)
    content = {**CONTENT, "steps": [CONTENT["steps"][0], few, CONTENT["steps"][2]]}
    assert "3.7 a second, p95 0.8 s, but only 3.7 of 4 requests a second arrived): 24 seconds" in summary(content)[0]
    few["arrival_rate"] = 3.8
    assert "but only" not in summary(content)[0]


def test_the_page_has_its_numbers_pictures_and_files(tmp_path: Path) -> None:
    written = write_report(CONTENT, tmp_path / "page")
    names = {path.name for path in written}
    pictures = {"latency.png", "throughput.png", "lengths.png"}
    assert names == {"index.html", "report.md", "report.json", "steps.csv", "lengths.csv", *pictures}
    text = (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    for part in (
        "576 hours of audio a day",
        "| 2 | 4 | 4 / 4 | 24 | 400 ms | 720 ms | 800 ms | 1.2 s | 1.6 s | 0.0667 | 0.133 | 80 in 20 s | yes |",
        "100 in 20 s, cut short | p95 latency 4.00 s, over 1 s |",
        "| 4 requests/s | acoustic_onnx | 20 | 202 ms | 2 ms | 0 ms | 200 ms | 0 ms | 3.5 | 7.0 % |",
        "| 4 requests/s | 80 | 0 | 0.0 % | 5.0 % | 5.0 % |",
        "No request failed.",
        "Made by: shrota loadtest search",
        "| transcripts are equal | yes | 0 of 220 differ |",
    ):
        assert part in text
    assert json.loads((tmp_path / "page" / "report.json").read_text(encoding="utf-8"))["best"] == 4.0
    assert (tmp_path / "page" / "latency.png").read_bytes().startswith(PNG)
    with (tmp_path / "page" / "steps.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["load"], row["latency_p95_s"], row["good"]) for row in rows] == [
        ("2.0", "0.4", "True"), ("4.0", "0.8", "True"), ("5.0", "4.0", "False"),
    ]  # fmt: skip
    with (tmp_path / "page" / "lengths.csv").open(encoding="utf-8") as file:
        assert [row["length"] for row in csv.DictReader(file)] == ["5-10 s"] * 3
    assert highest_rate(tmp_path / "page") == 4.0


def test_a_search_that_was_stopped_before_its_first_step_ends_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="no step came to its end"):
        write_report({**CONTENT, "best": None, "too_much": None, "steps": []}, tmp_path)


def test_the_page_warns_where_other_programs_ran() -> None:
    assert about({**CONTENT, "others": 0.02})[2] == "Other programs took 2.0 % of the processors meanwhile."
    assert "of its own the server carries more" in about({**CONTENT, "others": 0.3})[2]


def test_a_soak_and_an_overload_say_what_became_of_their_requests() -> None:
    soak = {**CONTENT, "test": "soak", "steps": [step(1, 2.0, 0.2, measured_s=1200.0)]}
    line = (
        "20 minutes of it: at 2 requests/s 40 of 40 requests were answered, 12 seconds of audio a second, p50 latency "
        "200 ms, p95 400 ms; 0 were refused by the server, 0 given up by the client, 0 failed otherwise."
    )
    assert summary(soak) == [line]
    lines = summary({**overloaded(), "test": "overload"})
    assert [line.split(":")[0] for line in lines] == ["Before", "Overload", "From 10 s later on"]
    late = summary({**overloaded(drained_s=40.4), "test": "overload"})
    assert late[2].startswith("From 42 s later on: at 1 requests/s")
    assert "500 were refused by the server, 0 given up by the client, 0 failed otherwise" in lines[1]


def test_a_rate_is_only_taken_from_a_search_that_found_one(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="shrota loadtest search"):
        highest_rate(tmp_path)
    for change in ({"best": None}, {"kind": "streams"}):
        (tmp_path / "report.json").write_text(json.dumps({**CONTENT, **change}), encoding="utf-8")
        with pytest.raises(LoadTestError, match="no rate of requests"):
            highest_rate(tmp_path)
    for best, message in (("x", "there is no search"), ([1], "there is no search"), (-1, "highest rate in .* is -1")):
        (tmp_path / "report.json").write_text(json.dumps({**CONTENT, "best": best}), encoding="utf-8")
        with pytest.raises(LoadTestError, match=message):
            highest_rate(tmp_path)


def memory(*growths: float | None) -> dict[str, Any]:
    rows = [
        {"process": f"p{index}", "start_bytes": 2.0**20, "end_bytes": 2.0**20 * (1 + (growth or 0)), "growth": growth}
        for index, growth in enumerate(growths)
    ]
    series = {"seconds": [0.0, 20.0], "bytes": {"p0": [2**20, None]}}
    return {"step": 1, "edge_s": 2.0, "processes": rows, "peak_bytes": 3 * 2**20, "series": series}


def held(checks: list[verdicts.Check]) -> list[bool]:
    return [check.holds for check in checks]


def test_a_soak_holds_without_errors_other_transcripts_and_growth() -> None:
    one = {**CONTENT, "steps": [step(1, 2.0, 0.2)], "memory": memory(0.0, 0.02, -0.1)}
    assert held(verdicts.soak_checks(one)) == [True, True, True]
    assert held(verdicts.soak_checks({**one, "memory": memory(0.0, 0.021)})) == [True, True, False]
    assert held(verdicts.soak_checks({**one, "memory": memory(0.0, None)})) == [True, True, False]
    assert held(verdicts.soak_checks({**one, "steps": [step(1, 2.0, 0.2, unmeasured_failed=1)]})) == [False, True, True]
    other = step(1, 2.0, 0.2)
    other["transcripts"]["different"] = 1
    assert held(verdicts.soak_checks({**one, "steps": [other]})) == [True, False, True]
    other["transcripts"]["word_error_rate"] = 0.02
    assert held(verdicts.soak_checks({**one, "steps": [other]}, 0.02)) == [True, True, True]
    assert held(verdicts.soak_checks({**one, "steps": [other]}, 0.01)) == [True, False, True]


def test_a_search_that_ends_by_its_allowed_word_errors_holds() -> None:
    wrong = step(3, 5.0, 0.4, good=False, why_not="9 transcripts other than alone")
    wrong["transcripts"].update(different=9, word_error_rate=0.05)
    search = {**CONTENT, "steps": [*CONTENT["steps"][:2], wrong]}
    assert held(verdicts.measure_checks(search, 0.02)) == [True, True]
    assert held(verdicts.measure_checks(search)) == [True, False]
    assert summary(search)[-1].endswith("5 requests/s: 9 transcripts other than alone.")
    assert held(verdicts.measure_checks({**search, "best": None, "steps": [wrong]}, 0.02)) == [False, False]
    assert held(verdicts.measure_checks({**search, "shape": "stages", "steps": [wrong]}, 0.02)) == [False]


def test_where_every_word_may_be_wrong_transcripts_are_not_judged() -> None:
    wrong = step(3, 5.0, 0.4)
    wrong["transcripts"].update(different=9, word_error_rate=1.2)
    check = verdicts.transcripts_check([wrong], 1.0)
    assert check.holds
    assert check.what.startswith("transcripts are not judged")
    assert check.found.startswith("9 of ")
    assert not exceeds(wrong["transcripts"], 1.0)
    assert exceeds(wrong["transcripts"], 0.99)


def test_a_search_that_finds_nothing_does_not_hold() -> None:
    assert held(verdicts.measure_checks({**CONTENT, "best": None})) == [False, True]
    assert held(verdicts.measure_checks(CONTENT)) == [True, True]


def test_memory_that_cannot_be_read_still_has_a_page_and_does_not_hold(tmp_path: Path) -> None:
    unread = {**CONTENT, "test": "soak", "steps": [step(1, 2.0, 0.2)], "memory_unread": "it could not be read"}
    checks = verdicts.soak_checks(unread)
    assert held(checks) == [True, True, False]
    write_report({**unread, "checks": verdicts.plain(checks)}, tmp_path)
    assert "| no | it could not be read |" in (tmp_path / "report.md").read_text(encoding="utf-8")
    over = {name: value for name, value in overloaded().items() if name != "memory"}
    assert overload_held({**over, "memory_unread": "it could not be read"})[4] is False


def test_memory_has_a_chapter(tmp_path: Path) -> None:
    content = {**CONTENT, "best": None, "steps": [step(1, 2.0, 0.2)], "memory": memory(0.01, None)}
    write_report(content, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| p0 | 1.0 MiB | 1.0 MiB | +1.00 % |" in text
    assert "Largest sum: 3 MiB" in text
    assert (tmp_path / "memory.png").read_bytes().startswith(PNG)


REFUSED = {
    "QueueFullError: the queue of grpc://127.0.0.1:8001 is full": 300,
    "RequestTimeoutError: the request waited too long in the queue of grpc://127.0.0.1:8001: send fewer": 200,
}


def overloaded(**change: Any) -> dict[str, Any]:
    refused = {"failed": 500, "errors": REFUSED, "failed_after_s": spread(2.4)}
    middle = step(2, 12.0, 2.0, answer_rate=3.0, drained_s=8.1, **refused)
    steps = [step(1, 1.0, 0.2), {**middle, **change}, step(3, 1.0, 0.2, settle_s=2.0)]
    return {**CONTENT, "steps": steps, "memory": memory(0.1)}


def overload_held(results: dict[str, Any]) -> list[bool]:
    return held(verdicts.overload_checks(results, 4.0, 10.0, 1.0))


def test_an_overload_holds_where_the_rest_is_refused_in_time_and_all_is_well_afterwards() -> None:
    assert overload_held(overloaded()) == [True] * 8
    assert overload_held(overloaded(lag_s=spread(0.6)))[0] is False
    assert overload_held(overloaded(expected_rate=24.0))[0] is False
    assert overload_held(overloaded(answer_rate=1.9))[1] is False
    given_up = {**REFUSED, "RequestTimeoutError: no answer from grpc://127.0.0.1:8001 within 10 s: allow more": 1}
    assert overload_held(overloaded(errors=given_up))[2] is False
    assert overload_held(overloaded(unanswered=1))[2] is False
    assert overload_held(overloaded(failed_after_s=spread(3.0)))[3] is False
    assert overload_held(overloaded(failed_latency_s=spread(3.0)))[3] is True  # the generator sent it late
    assert overload_held({**overloaded(), "memory": memory(None, 0.0)})[4] is False
    slow = overloaded()
    slow["steps"][2] = step(3, 1.0, 0.6, settle_s=2.0)
    assert overload_held(slow)[6] is False
    assert overload_held(overloaded(drained_s=42.0))[6] is False  # that is not soon
    other = deepcopy(overloaded())
    other["steps"][1]["transcripts"]["different"] = 1
    assert overload_held(other)[7] is False


def test_an_overload_begins_with_a_backlog_that_must_be_refused_in_time_too() -> None:
    content = overloaded()
    backlog = step(1, 12.0, 2.0, failed=500, errors=REFUSED)
    begun = {**content, "steps": [backlog, *content["steps"]]}
    assert overload_held(begun) == [True] * 8
    given_up = {"RequestTimeoutError: no answer from grpc://127.0.0.1:8001 within 10 s: allow more": 1}
    backlog["errors"] = given_up
    assert overload_held(begun)[2] is False
    backlog["errors"], backlog["unanswered"] = {}, 1
    assert overload_held(begun)[2] is False
    begun["steps"][3] = step(3, 1.0, 0.2, settle_s=2.0, unmeasured_failed=2)
    check = verdicts.overload_checks(begun, 4.0, 10.0, 1.0)[6]
    assert check.holds is False
    assert check.found.endswith("2 failed before that")
    assert [line.split(":")[0] for line in summary({**begun, "test": "overload"})][1] == "Overload"


def test_an_overload_that_was_stopped_has_no_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three of its four steps are not the three that are judged."""
    monkeypatch.setattr(running, "check", lambda _: None)
    monkeypatch.setattr(running, "_run", lambda *_: {"steps": [step(index, 1.0, 0.2) for index in (1, 2, 3)]})
    target = running.Target("grpc://127.0.0.1:1", "", None, [], "grpc", pid=os.getpid())
    with pytest.raises(LoadTestError, match="stopped before its end"):
        running.overload(target, Settings(), tmp_path / "page", 0, "", rate=4.0, times=3.0, seconds=1.0)
    assert list((tmp_path / "page").iterdir()) == []


@pytest.mark.parametrize(("first", "number"), [([], 2), ([0.0], 3)], ids=["an old page", "with a backlog"])
def test_the_overload_lies_between_the_dotted_lines(
    monkeypatch: pytest.MonkeyPatch, first: list[float], number: int
) -> None:
    """Memory begins with the low load before: 20 s of it, then the overload."""
    begins = [*first, 100.0, 120.0, 190.0]
    steps = [step(index, 1.0, 0.2, began=at) for index, at in enumerate(begins, 1)]
    steps[-2]["measured_s"] = 60.0
    drawn: list[tuple[float, float]] = []

    def draw(_: object, since: float, until: float) -> bytes:
        drawn.append((since, until))
        return PNG

    monkeypatch.setattr(plots, "draw_memory", draw)
    chapters({**CONTENT, "test": "overload", "steps": steps, "memory": {**memory(0.1), "step": number}})
    assert drawn == [(20.0, 80.0)]


def test_an_overload_may_leave_a_tenth_of_each_process_and_what_waited_in_it() -> None:
    """12 requests/s of 6 s, for a time-out of 10 s: 720 s of audio of 64,000 bytes each, 43.95 MiB; processes of 1."""

    def holds(process: str, growth: float) -> bool:
        grown = memory(growth)
        grown["processes"][0]["process"] = process
        return overload_held({**overloaded(), "memory": grown})[5]

    for process in ("tritonserver (7)", "acoustic_0_0 (8)"):
        assert holds(process, 44.0) is True
        assert holds(process, 44.1) is False
    for process in ("ctc_decoder_0_0 (9)", "acoustic_onnx_0_0 (10)"):  # no audio waits there
        assert holds(process, 0.1) is True
        assert holds(process, 0.11) is False


def test_the_line_of_the_machine_names_its_gpu() -> None:
    here = {**CONTENT["host"], "gpu": "NVIDIA H200, driver 580.1"}
    assert "GiB; NVIDIA H200, driver 580.1; " in host_line(here)
    assert "None" not in host_line({**here, "gpu": None})


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.04, 0.3, [0.05, 0.1, 0.2]),
        (0.21, 0.48, [0.32]),
        (1e-5, 900.0, [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0]),
    ],
)
def test_a_logarithmic_axis_always_has_a_number(low: float, high: float, ticks: list[float]) -> None:
    assert find_ticks(low, high) == pytest.approx(ticks)
