"""Traces by Triton's OpenTelemetry: one request, its steps, in the form that a collector takes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tritonclient.grpc import InferenceServerClient

from shrota_server import ServerError, Tracing, TritonServer
from shrota_testing.repository import ROOT, make_repository
from shrota_testing.triton import infer, tensor, wait_until
from shrota_testing.utterances import noise

Span = dict[str, Any]
# what a caller that is traced itself sends: https://www.w3.org/TR/trace-context/
CALLERS_SPAN = "b7ad6b7169203331"


class Collector(HTTPServer):
    """Takes what is posted to ``/v1/traces`` as JSON."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self.spans if span["traceId"] == trace]


class Handler(BaseHTTPRequestHandler):
    """One export."""

    server: Collector

    def do_POST(self) -> None:
        """Keeps the spans."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path == "/v1/traces"
        if known:
            for each in body["resourceSpans"]:
                attributes = each["resource"]["attributes"]
                self.server.resources.append({pair["key"]: pair["value"]["stringValue"] for pair in attributes})
                self.server.spans += [span for scope in each["scopeSpans"] for span in scope["spans"]]
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector in a thread."""
    with Collector() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path / "model_repository")


@pytest.mark.triton
def test_a_trace_shows_the_steps_of_the_ensemble(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # ms between two exports, 5000 by default
    with (
        collector() as found,
        TritonServer(
            repository,
            ["asr", "acoustic_onnx"],
            # only who asks for it is traced
            tracing=Tracing(f"http://127.0.0.1:{found.server_port}", one_in=0),
        ) as server,
    ):
        audio = [tensor("AUDIO", noise(2.0)[None])]
        infer(server.grpc_url, "asr", audio, ["TRANSCRIPT"])
        spans = next(filter(None, (traced(server, found, f"{number:032x}") for number in range(1, 6))))
    assert all(int(span["traceId"], 16) in range(1, 6) for span in found.spans)
    assert {resource["service.name"] for resource in found.resources} == {"shrota"}
    assert tree(CALLERS_SPAN, spans) == {
        "InferRequest": {"asr": {"acoustic": {"compute": {}}, "ctc_decoder": {"compute": {}}}}
    }
    named = {span["name"]: span for span in spans if span["name"] != "compute"}
    start = {name: int(span["startTimeUnixNano"]) for name, span in named.items()}
    assert start["InferRequest"] <= start["asr"] <= start["acoustic"] < start["ctc_decoder"]
    assert {event["name"] for event in named["acoustic"]["events"]} >= {"REQUEST_START", "QUEUE_START", "REQUEST_END"}


def traced(server: TritonServer, found: Collector, trace: str) -> list[Span]:
    """The spans of a request that belongs to a caller's trace; none where Triton's exporter lost them, as it may."""
    headers = {"traceparent": f"00-{trace}-{CALLERS_SPAN}-01"}
    with InferenceServerClient(server.grpc_url) as client:
        client.infer("asr", [tensor("AUDIO", noise(2.0)[None])], headers=headers)
    # the first of its spans ends last
    arrived = wait_until(lambda: any(span["name"] == "InferRequest" for span in found.of(trace)), 3)
    return found.of(trace) if arrived else []


def tree(parent: str, spans: list[Span]) -> dict[str, Any]:
    """The names of the spans below a span, as a tree."""
    return {span["name"]: tree(span["spanId"], spans) for span in spans if span["parentSpanId"] == parent}


def test_a_collector_is_named_by_its_address() -> None:
    options = Tracing("http://collector:4318", one_in=10).options()
    assert "opentelemetry,url=http://collector:4318/v1/traces" in options
    assert "rate=10" in options
    assert "opentelemetry,url=https://c/api/traces" in Tracing("https://c/api/traces").options()


@pytest.mark.parametrize("url", ["collector:4318", "ftp://collector", "http://", ""])
def test_what_is_no_address_of_a_collector_is_refused(url: str) -> None:
    with pytest.raises(ServerError, match="is no address of a collector"):
        Tracing(url)
    with pytest.raises(ServerError, match="is negative"):
        Tracing("http://collector:4318", one_in=-1)


def test_the_example_collector_listens_where_it_is_sent_to() -> None:
    configuration = yaml.safe_load((ROOT / "docker" / "otel" / "collector.yaml").read_text(encoding="utf-8"))
    assert configuration["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == "0.0.0.0:4318"
    pipeline = configuration["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= set(configuration[kind])
