"""A new checkpoint is rolled out and back under load, by the steps of docs/operations.md: no request is lost."""

import json
import shutil
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

import pytest

from shrota_client import Client
from shrota_decoder.greedy import decode
from shrota_server import TritonServer
from shrota_server.access import KEY_NAME
from shrota_testing.engines import tiny_log_probs, write_tiny_engine
from shrota_testing.repository import TOKENS, make_repository
from shrota_testing.triton import call_http
from shrota_testing.utterances import RATE, VOCABULARY, expected_text, noise

pytestmark = pytest.mark.triton
ENGINE = "acoustic_onnx"
KEY = "the-key-of-the-operator"
AUDIO = noise(1.0)
OLD = expected_text(AUDIO)
NEW_SEED = 7
NEW = decode(tiny_log_probs(AUDIO, seed=NEW_SEED).astype("float32"), AUDIO.size / RATE, VOCABULARY).text


class Callers:
    """Two callers who ask again and again, and what they were told."""

    def __init__(self, url: str) -> None:
        self.told: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(2)]

    def _ask(self, url: str) -> None:
        with Client(url) as client:
            while not self._stop.wait(0.01):
                try:
                    self.told[client.transcribe(AUDIO).text] += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
                    self.told[f"{type(error).__name__}: {error}"] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def load(server: TritonServer) -> None:
    """What the handbook's curl does."""
    connection = HTTPConnection(server.http_url, timeout=30)
    try:
        connection.request("POST", f"/v2/repository/models/{ENGINE}/load", headers={KEY_NAME: KEY})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    finally:
        connection.close()


def versions(server: TritonServer) -> list[str]:
    """The versions of the engine that are served."""
    found: list[str] = call_http(server.http_url, f"/v2/models/{ENGINE}")[1]["versions"]
    return found


def test_a_checkpoint_with_the_same_tokens_is_rolled_out_and_back_while_callers_ask(tmp_path: Path) -> None:
    assert OLD != NEW
    repository = make_repository(tmp_path / "model_repository")
    engine = repository / ENGINE
    with (
        TritonServer(repository, ["asr", ENGINE], supervise=True, admin_key=KEY) as server,
        Callers(server.grpc_url) as callers,
    ):
        time.sleep(0.3)
        made = engine / ".2"
        made.mkdir()
        write_tiny_engine(made / "model.onnx", len(TOKENS), NEW_SEED)
        load(server)
        assert versions(server) == ["1"]
        made.rename(engine / "2")
        load(server)
        assert versions(server) == ["2"]
        with Client(server.grpc_url) as client:
            assert client.transcribe(AUDIO).text == NEW
            time.sleep(0.3)
            shutil.move(engine / "2", tmp_path / "withdrawn")
            load(server)
            assert versions(server) == ["1"]
            assert client.transcribe(AUDIO).text == OLD
    assert set(callers.told) == {OLD, NEW}
    assert min(callers.told.values()) > 5


def test_a_checkpoint_with_other_tokens_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    with TritonServer(repository, ["asr", ENGINE], admin_key=KEY) as server:
        (repository / ENGINE / "2").mkdir()
        write_tiny_engine(repository / ENGINE / "2" / "model.onnx", len(TOKENS) + 1, NEW_SEED)
        connection = HTTPConnection(server.http_url, timeout=30)
        connection.request("POST", f"/v2/repository/models/{ENGINE}/load", headers={KEY_NAME: KEY})
        answer = connection.getresponse()
        assert answer.status == 400
        assert "does not fit config.pbtxt" in json.loads(answer.read())["error"]
        connection.close()
        assert versions(server) == ["1"]
        with Client(server.grpc_url) as client:
            assert client.transcribe(AUDIO).text == OLD
