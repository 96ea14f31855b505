"""What Triton counted between two moments: from one page for each."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from shrota_loadtest.counters import Counters


def page(asr: int, acoustic: int) -> str:
    """With 0.5 s a request."""
    return "".join(
        f'nv_inference_request_success{{model="{model}",version="1"}} {requests}\n'
        f'nv_inference_request_duration_us{{model="{model}",version="1"}} {500000 * requests}\n'
        for model, requests in (("asr", asr), ("acoustic", acoustic))
    )


@pytest.fixture
def metrics() -> Iterator[tuple[str, list[str]]]:
    """An endpoint, and the pages that it gives one after the other."""
    pages: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(pages.pop(0).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", pages
        server.shutdown()


def test_one_page_gives_all_models(metrics: tuple[str, list[str]]) -> None:
    url, pages = metrics
    pages += [page(10, 10), page(14, 13), page(1, 1)]
    first, second, restarted = (Counters.read(url) for _ in range(3))
    assert pages == []
    found = first.until(second)
    assert found is not None
    assert {model: times["requests"] for model, times in found["models"].items()} == {"asr": 4, "acoustic": 3}
    assert found["models"]["asr"]["total"] == pytest.approx(0.5)
    assert second.until(restarted) is None
