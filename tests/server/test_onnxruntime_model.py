"""The backend's ``model.py`` by itself: what it runs of a batch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

import shrota_server
from shrota_onnxruntime.batch import Arrays
from shrota_testing.engines import tiny_log_probs
from shrota_testing.pb_utils import Request, TritonError, load_model
from shrota_testing.utterances import noise_rows

MODEL = Path(shrota_server.__file__).parent / "backends" / "onnxruntime" / "model.py"
OUTPUTS = ["LOG_PROBS", "NUM_FRAMES"]


class CountingSession:
    """A session that remembers how many rows each of its runs had."""

    def __init__(self, session: Any) -> None:
        self.rows: list[int] = []
        self._session = session

    def run(self, names: Sequence[str], inputs: Arrays, options: Any) -> Any:
        """Runs them."""
        self.rows.append(len(inputs["AUDIO"]))
        return self._session.run(names, inputs, options)


@pytest.fixture
def model(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny engine, as Triton would load it."""
    engine = repository / "acoustic_onnx"
    config = text_format.Parse((engine / "config.pbtxt").read_text(encoding="utf-8"), ModelConfig())
    loaded = load_model(MODEL, monkeypatch).TritonPythonModel()
    loaded.initialize(
        {
            "model_config": json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)),
            "model_name": engine.name,
            "model_repository": str(engine),
            "model_version": "1",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    return loaded


def request(rows: int, *, cancelled: bool = False) -> Request:
    audio = noise_rows(rows, 4000, seed=rows)
    inputs = {"AUDIO": audio, "NUM_SAMPLES": np.full((rows, 1), 4000, np.int32)}
    return Request(inputs, OUTPUTS, lambda: cancelled)


def test_a_cancelled_request_is_left_out_of_the_run_of_its_batch(model: Any) -> None:
    session = model._session = CountingSession(model._session)
    batch = [request(1), request(5, cancelled=True), request(2)]
    first, gone, last = model.execute(batch)
    assert session.rows == [3]
    assert gone.error == TritonError("the request was cancelled", TritonError.CANCELLED)
    for response, asked in ((first, batch[0]), (last, batch[2])):
        assert response.error is None
        for row, log_probs in zip(asked.tensors["AUDIO"], response.output("LOG_PROBS"), strict=True):
            np.testing.assert_allclose(log_probs, tiny_log_probs(row), atol=2e-5)


def test_a_batch_of_cancelled_requests_is_not_run(model: Any) -> None:
    session = model._session = CountingSession(model._session)
    responses = model.execute([request(1, cancelled=True), request(2, cancelled=True)])
    assert session.rows == []
    assert [response.error.code for response in responses] == [TritonError.CANCELLED] * 2
