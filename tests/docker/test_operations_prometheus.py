"""The real Prometheus with docker/prometheus: it scrapes a server, answers the dashboard, and its alerts fire.

Needs Prometheus and promtool on the PATH (Debian's package `prometheus`).
"""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tritonclient.utils import InferenceServerException

from shrota_client import Client, Retry, ShrotaError, Timeouts
from shrota_server import TritonServer
from shrota_testing import tools
from shrota_testing.monitoring import GPU_METRICS, PROMETHEUS, RULES, dashboard_queries, rules
from shrota_testing.promql import selectors
from shrota_testing.repository import make_repository
from shrota_testing.triton import infer, tensor, wait_until
from shrota_testing.utterances import noise

needs_promtool = tools.needs("promtool")
needs_prometheus = tools.needs("prometheus")
WINDOW = "8s"
ALERTS = [rule["alert"] for rule in rules() if "alert" in rule]


def promtool(*arguments: str | Path) -> str:
    """What promtool says."""
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@needs_promtool
def test_configuration_and_rules_are_valid() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


@needs_promtool
def test_each_alert_fires_and_stays_quiet_as_its_unit_test_says() -> None:
    assert "SUCCESS" in promtool("test", "rules", PROMETHEUS / "tests" / "shrota_test.yml")


def unit_test(expressions: dict[str, str], folder: Path) -> str:
    """What promtool says when these alerts have other expressions."""
    shutil.copytree(PROMETHEUS, folder / "prometheus")
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for rule in document["groups"][0]["rules"]:
        rule["expr"] = expressions.get(rule.get("alert"), rule["expr"])
    (folder / "prometheus" / "rules" / RULES.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    test = folder / "prometheus" / "tests" / "shrota_test.yml"
    result = subprocess.run(["promtool", "test", "rules", test], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    return result.stdout + result.stderr


@needs_promtool
def test_the_unit_tests_notice_alerts_that_never_fire(tmp_path: Path) -> None:
    said = unit_test(dict.fromkeys(ALERTS, "vector(1) == 0"), tmp_path)
    assert all(f"alertname: {alert}" in said for alert in ALERTS)


@needs_promtool
@pytest.mark.parametrize("alert", ALERTS)
def test_the_unit_tests_notice_an_alert_that_always_fires(alert: str, tmp_path: Path) -> None:
    assert "FAILED" in unit_test({alert: "vector(1)"}, tmp_path)


def hastened(source: Path) -> str:
    """The rules with windows of seconds and alerts that do not wait, so that a test need not."""
    text = re.sub(r"\[\d+m\]", f"[{WINDOW}]", source.read_text(encoding="utf-8"))
    return re.sub(r"for: \d+m", "for: 0s", text)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    address: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def fires(self, alert: str) -> bool:
        """Whether the alert fires now."""
        return bool(self.query(f'ALERTS{{alertname="{alert}", alertstate="firing"}}'))

    def is_up(self) -> bool:
        """Whether it answers, and has read the server's metrics."""
        try:
            return [series["value"][1] for series in self.query("up")] == ["1"]
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Prometheus with the repository's configuration; only the target and the pace are other ones."""
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "rules").mkdir()
    (folder / "rules" / RULES.name).write_text(hastened(RULES), encoding="utf-8")
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    environment = {**os.environ, "GOMAXPROCS": "1"}
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as run:
        try:
            made = Prometheus(address)
            assert wait_until(made.is_up, 20), (folder / "log").read_text(encoding="utf-8")
            yield made
        finally:
            run.terminate()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path_factory.mktemp("prometheus") / "model_repository")


def speak(server: TritonServer, seconds: float, **parameters: Any) -> None:
    """One request."""
    infer(server.grpc_url, "asr", [tensor("AUDIO", noise(seconds)[None])], ["TRANSCRIPT"], parameters=parameters)


def until(condition: Callable[[], bool], act: Callable[[], None], timeout_s: float = 30) -> bool:
    """Whether the condition comes true while something is done again and again."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        act()
        if condition():
            return True
        time.sleep(0.3)
    return False


def fail(server: TritonServer) -> None:
    """One request that is refused, among good ones."""
    with pytest.raises(InferenceServerException):
        speak(server, 1.0, nonsense=1)
    speak(server, 1.0)


@needs_prometheus
@pytest.mark.triton
def test_it_scrapes_a_server_answers_the_dashboard_and_fires(repository: Path, tmp_path: Path) -> None:
    with (
        TritonServer(repository, models=["asr", "acoustic_onnx"]) as server,
        prometheus(tmp_path, server.metrics_url) as monitor,
    ):
        # nothing is wrong yet, but that nobody has said anything
        assert until(lambda: monitor.fires("ShrotaNoAudio"), lambda: None)
        assert until(lambda: not monitor.fires("ShrotaNoAudio"), lambda: speak(server, 3.0))
        assert not monitor.fires("ShrotaErrors")
        assert until(lambda: monitor.fires("ShrotaErrors"), lambda: fail(server))
        loaded = [rule for group in monitor.ask("rules")["groups"] for rule in group["rules"]]
        assert [rule["name"] for rule in loaded] == [rule.get("alert") or rule["record"] for rule in rules()]
        assert [rule["health"] for rule in loaded] == ["ok"] * len(loaded)
        for query in dashboard_queries():
            filled = query.expression.replace("$__rate_interval", WINDOW).replace("$instance", ".*")
            on_gpu = any(selector.name in GPU_METRICS for selector in selectors(filled))
            assert bool(monitor.query(filled)) != on_gpu, query
        server.stop()
        assert until(lambda: monitor.fires("ShrotaDown"), lambda: None)


@needs_prometheus
@pytest.mark.triton
def test_overload_fires_though_a_server_that_refuses_is_never_far_behind(tmp_path: Path) -> None:
    slow = make_repository(tmp_path / "model_repository", ballast=16384)
    callers = 12
    with (
        TritonServer(slow, models=["asr", "acoustic_onnx"]) as server,
        prometheus(tmp_path, server.metrics_url) as monitor,
        ThreadPoolExecutor(callers) as pool,
    ):
        stop = threading.Event()

        def ask(seed: int) -> None:
            audio = noise(100, seed)
            with Client(server.grpc_url, retry=Retry(attempts=1), timeouts=Timeouts(request_s=10)) as client:
                while not stop.wait(0.2):
                    with suppress(ShrotaError):
                        client.transcribe(audio)

        asked = [pool.submit(ask, seed) for seed in range(callers)]
        try:
            for alert in ("ShrotaRefused", "ShrotaErrors", "ShrotaBacklog"):
                assert until(partial(monitor.fires, alert), lambda: None, 60), alert
        finally:
            stop.set()
        for each in asked:
            each.result(30)


@needs_prometheus
@pytest.mark.triton
def test_a_server_without_acoustic_is_not_taken_for_one_that_serves(repository: Path, tmp_path: Path) -> None:
    with (
        TritonServer(repository, models=["ctc_decoder"]) as server,
        prometheus(tmp_path, server.metrics_url) as monitor,
    ):
        assert until(lambda: monitor.fires("ShrotaNotServing"), lambda: None)
        assert not monitor.fires("ShrotaDown")
