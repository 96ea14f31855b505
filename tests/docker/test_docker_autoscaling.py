"""What the autoscaler asks prometheus-adapter for: the server has the metrics, the queries give what they promise."""

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from shrota_client import Client
from shrota_testing import tools
from shrota_testing.container import Container
from shrota_testing.promql import parse, selectors
from shrota_testing.repository import ROOT
from shrota_testing.utterances import noise

VALUES = ROOT / "docker/helm/prometheus-adapter-values.yaml"


def queries() -> dict[str, str]:
    """The queries by the name of the metric, as the adapter asks Prometheus for the pods of one namespace."""
    rules: list[dict[str, Any]] = yaml.safe_load(VALUES.read_text(encoding="utf-8"))["rules"]["custom"]
    found = {}
    for rule in rules:
        text = str(rule["metricsQuery"])
        text = text.replace("<<.LabelMatchers>>", 'namespace="speech",pod=~"a|b"').replace("<<.GroupBy>>", "pod")
        assert "<<" not in text
        found[rule["name"]["as"]] = text
    return found


@pytest.mark.triton
def test_the_server_has_every_metric_that_is_asked_for(container: Container) -> None:
    with Client(container.grpc_url) as client:
        client.transcribe(noise(1))
    with urlopen(f"http://{container.host}:{container.ports.metrics}/metrics", timeout=10) as page:
        series = list(parse(page.read().decode()))
    asked = [selector for query in queries().values() for selector in selectors(query)]
    assert len(asked) == 4
    for selector in asked:
        # namespace and pod are added by Prometheus, which knows where it found the server
        assert any(selector.takes(one, frozenset({"namespace", "pod"})) for one in series), selector


@tools.needs("promtool")
def test_the_queries_give_seconds_for_each_pod(tmp_path: Path) -> None:
    rules = [{"record": name, "expr": query} for name, query in queries().items()]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "adapter", "rules": rules}]}))
    # pod a: 4 requests a second that wait 0.25 s each in the queue of acoustic and 0.05 s in the decoder's; 30 s of
    # audio wait, of which it runs 10 in a second. pod b has nothing to do.
    labels = 'namespace="speech",pod="{}"'
    series = {
        f'nv_inference_queue_duration_us{{model="acoustic",{labels}}}': (60_000_000, 0),
        f'nv_inference_queue_duration_us{{model="ctc_decoder",{labels}}}': (12_000_000, 0),
        f'nv_inference_queue_duration_us{{model="acoustic_onnx",{labels}}}': (99_000_000, 0),
        f'nv_inference_request_success{{model="acoustic",{labels}}}': (240, 0),
        f"shrota_engine_input_seconds_total{{{labels}}}": (600, 0),
    }
    given = [
        {"series": re.sub(r'pod="\{\}"', f'pod="{pod}"', name), "values": f"0+{growth[index]}x10"}
        for name, growth in series.items()
        for index, pod in enumerate("ab")
    ]
    given += [{"series": f'shrota_pending_seconds{{namespace="speech",pod="{pod}"}}', "values": f"{waiting}x10"}
              for pod, waiting in (("a", 30), ("b", 0))]  # fmt: skip
    expected = [
        {"expr": name, "eval_time": "10m", "exp_samples": [{"labels": f'{name}{{pod="a"}}', "value": value}]}
        for name, value in (("shrota_queue_seconds", 0.3), ("shrota_backlog_seconds", 3))
    ]
    tests = {
        "rule_files": ["rules.yml"],
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": expected}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
