"""Every metric that dashboard and alerts read is one that the server has."""

import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tritonclient.utils import InferenceServerException

from shrota_client import Client, QueueFullError, Retry
from shrota_server import TritonServer
from shrota_testing.monitoring import (
    GPU_METRICS,
    PROMETHEUS,
    Query,
    dashboard,
    dashboard_queries,
    panels,
    records,
    rule_queries,
    rules,
)
from shrota_testing.promql import Selector, Series, parse, selectors
from shrota_testing.repository import ROOT, make_repository, set_parameter, set_queue_size
from shrota_testing.triton import infer, tensor, wait_until
from shrota_testing.utterances import noise

# what Prometheus adds itself
BY_PROMETHEUS = frozenset({"job", "instance"})
GOOD, BAD = 3, 2


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Series]]:
    """The metrics of a server that has answered some requests and refused some."""
    repository = make_repository(tmp_path_factory.mktemp("metrics") / "model_repository")
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server:
        for number in range(GOOD):
            infer(server.grpc_url, "asr", [tensor("AUDIO", noise(2.0, number)[None])], ["TRANSCRIPT"])
        for _ in range(BAD):
            with pytest.raises(InferenceServerException, match="unknown request parameter"):
                infer(server.grpc_url, "asr", [tensor("AUDIO", noise(1.0)[None])], [], parameters={"nonsense": 1})
        yield read(server, answered=GOOD, failed=BAD)


def read(server: TritonServer, answered: int, failed: int = 0) -> list[Series]:
    """The metrics of a server as soon as they count so many requests of `asr`: Triton counts after it has answered."""

    def ended() -> bool:
        page = _read(server)
        successes = value(page, "nv_inference_request_success", model="asr")
        return (successes, value(page, "nv_inference_request_failure", model="asr")) == (answered, 2 * failed)

    assert wait_until(ended, 10), [series for series in _read(server) if series.labels.get("model") == "asr"]
    return _read(server)


def _read(server: TritonServer) -> list[Series]:
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as answer:
        # Prometheus 3 reads nothing without it
        assert answer.headers["Content-Type"].startswith("text/plain")
        return list(parse(answer.read().decode()))


def value(page: list[Series], name: str, **labels: str) -> float:
    """The sum of the series with these labels."""
    found = [series.value for series in page if series.name == name and labels.items() <= series.labels.items()]
    assert found, (name, labels)
    return sum(found)


def named(query: Query) -> str:
    return query.owner


@pytest.mark.triton
@pytest.mark.parametrize("query", [*rule_queries(), *dashboard_queries()], ids=named)
def test_every_metric_that_is_asked_for_is_one_that_the_server_has(query: Query, page: list[Series]) -> None:
    read = selectors(query.expression)
    assert read
    for selector in read:
        if selector.name in GPU_METRICS:
            # there is no GPU here: that the names are those of Triton's documentation is all that can be checked
            assert {label for label, _, _ in selector.matchers} <= {*BY_PROMETHEUS, "gpu_uuid"}
        elif selector.name != "up" and selector.name not in records():
            assert any(selector.takes(series, but=BY_PROMETHEUS) for series in page), selector


@pytest.mark.triton
@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_every_label_in_a_legend_is_one_that_the_query_leaves(panel: dict[str, Any], page: list[Series]) -> None:
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        groups = [set(re.findall(r"\w+", group)) for group in re.findall(r"by \(([^)]*)\)", target["expr"])]
        if groups:
            assert named <= set.intersection(*groups)
        elif named:
            (selector, *_) = selectors(target["expr"])
            labels = [set(series.labels) for series in page if selector.takes(series, but=BY_PROMETHEUS)]
            given = set.intersection(*labels) if labels else {"gpu_uuid"}
            assert named <= given | BY_PROMETHEUS


@pytest.mark.triton
def test_the_variable_of_the_dashboard_is_read_from_a_metric_that_is_there(page: list[Series]) -> None:
    (query,) = [variable["definition"] for variable in dashboard()["templating"]["list"] if "definition" in variable]
    assert query == "label_values(shrota_audio_seconds_total, instance)"
    assert value(page, "shrota_audio_seconds_total", model="acoustic") == 2.0 * GOOD


@pytest.mark.triton
def test_failed_requests_are_counted_as_rules_and_handbook_say(page: list[Series]) -> None:
    assert value(page, "nv_inference_request_success", model="asr") == GOOD
    assert value(page, "nv_inference_request_failure", model="asr") == 2 * BAD
    assert value(page, "nv_inference_request_success", model="acoustic") == GOOD + BAD
    assert value(page, "nv_inference_request_failure", model="acoustic") == 0


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[TritonServer]:
    """A slow engine behind a queue of four and a pending budget of two windows."""
    repository = make_repository(tmp_path / "model_repository", ballast=8192)
    set_queue_size(repository / "acoustic" / "config.pbtxt", 4)
    set_parameter(repository / "acoustic" / "config.pbtxt", "pending_budget_seconds", "40")
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server:
        yield server


@pytest.mark.triton
def test_who_is_in_the_scheduler_shows_in_the_latency_of_asr_alone(slow_server: TritonServer) -> None:
    """As rules and handbook say: Triton's times of acoustic end when its scheduler takes a request."""
    infer(slow_server.grpc_url, "asr", [tensor("AUDIO", noise(300.0)[None])], [])
    page = read(slow_server, answered=1)
    engine_us = 1e6 * value(page, "shrota_engine_wall_seconds_total", engine="acoustic_onnx")
    assert value(page, "nv_inference_request_duration_us", model="asr") > engine_us
    assert value(page, "nv_inference_request_duration_us", model="acoustic") < engine_us / 2
    assert value(page, "nv_inference_queue_duration_us", model="acoustic") < engine_us / 2
    assert value(page, "shrota_pending_seconds") == 0


@pytest.mark.triton
def test_who_waits_in_the_queue_is_timed_and_who_is_refused_is_counted_under_asr(slow_server: TritonServer) -> None:
    with ThreadPoolExecutor(16) as pool, Client(slow_server.grpc_url, retry=Retry(attempts=1)) as client:
        asked = [pool.submit(client.transcribe, noise(20.0)) for _ in range(16)]
        refused = [each for each in asked if isinstance(each.exception(timeout=60), QueueFullError)]
    assert 0 < len(refused) < len(asked)
    page = read(slow_server, answered=len(asked) - len(refused), failed=len(refused))
    # that it was the queue, no counter says
    assert value(page, "nv_inference_request_failure", model="asr", reason="OTHER") == 2 * len(refused)
    assert value(page, "nv_inference_request_failure", model="acoustic") == 0
    engine_us = 1e6 * value(page, "shrota_engine_wall_seconds_total", engine="acoustic_onnx")
    assert value(page, "nv_inference_queue_duration_us", model="acoustic") > engine_us / 4


@pytest.mark.triton
def test_the_latency_of_asr_is_there_as_quantiles(page: list[Series]) -> None:
    assert value(page, "nv_inference_request_summary_us_count", model="asr") == GOOD
    assert 0 < value(page, "nv_inference_request_summary_us", model="asr", quantile="0.95") < 30e6


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("up", [Selector("up")]),
        ('sum by (a, b) (rate(x{model="asr"}[5m])) / 1e6 > 1', [Selector("x", (("model", "=", "asr"),))]),
        ("rate(a_total[$__rate_interval]) unless on (job) b:c", [Selector("a_total"), Selector("b:c")]),
        ('x{a=~"b|c", d!="e"}', [Selector("x", (("a", "=~", "b|c"), ("d", "!=", "e")))]),
    ],
)
def test_what_a_query_reads_is_found(query: str, read: list[Selector]) -> None:
    assert selectors(query) == read


def test_a_selector_takes_what_prometheus_would() -> None:
    series = Series("x", {"model": "asr", "quantile": "0.95"}, 1.0)
    (yes,) = selectors('x{model=~"asr|acoustic", quantile!="0.5"}')
    (wrong_value,) = selectors('x{model="acoustic"}')
    (wrong_label,) = selectors('x{engine="asr"}')
    assert yes.takes(series)
    assert not wrong_value.takes(series)
    assert not wrong_label.takes(series)
    assert wrong_label.takes(series, but=frozenset({"engine"}))


def test_every_alert_says_what_it_is_and_the_handbook_has_a_section_on_it() -> None:
    handbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) == 10
    for rule in alerts:
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert f"\n### {rule['alert']}\n" in handbook
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_every_alert_is_made_to_fire_by_a_test_of_promtool() -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests" / "shrota_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


def test_panels_are_told_apart_described_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    cells = []
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        columns, lines = np.arange(place["w"]) + place["x"], np.arange(place["h"]) + place["y"]
        assert columns[-1] < 24
        cells.append({(int(column), int(line)) for column in columns for line in lines})
    assert not any(one & other for one, other in combinations(cells, 2))
    for panel in panels():
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"])


def test_grafana_finds_dashboard_and_prometheus_by_its_provisioning() -> None:
    folder = ROOT / "docker" / "grafana" / "provisioning"

    def settings(path: Path) -> Any:
        return yaml.safe_load(path.read_text(encoding="utf-8"))

    assert settings(folder / "dashboards" / "shrota.yml")["apiVersion"] == 1
    (source,) = settings(folder / "datasources" / "prometheus.yml")["datasources"]
    assert source["type"] == "prometheus"
    # Grafana makes $__rate_interval from it
    assert source["jsonData"]["timeInterval"] == settings(PROMETHEUS / "prometheus.yml")["global"]["scrape_interval"]
