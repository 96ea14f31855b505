"""The backend's ``model.py`` by itself: what it runs of a batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shrota_batch import Arrays
from shrota_testing.backends import engine_request, load_engine
from shrota_testing.engines import tiny_log_probs
from shrota_testing.pb_utils import TritonError


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
    return load_engine("onnxruntime", repository / "acoustic_onnx", monkeypatch)


def test_a_cancelled_request_is_left_out_of_the_run_of_its_batch(model: Any) -> None:
    session = model._session = CountingSession(model._session)
    batch = [engine_request(1), engine_request(5, cancelled=True), engine_request(2)]
    first, gone, last = model.execute(batch)
    assert session.rows == [3]
    assert gone.error == TritonError("the request was cancelled", TritonError.CANCELLED)
    for response, asked in ((first, batch[0]), (last, batch[2])):
        assert response.error is None
        for row, log_probs in zip(asked.tensors["AUDIO"], response.output("LOG_PROBS"), strict=True):
            np.testing.assert_allclose(log_probs, tiny_log_probs(row), atol=2e-5)


def test_a_batch_of_cancelled_requests_is_not_run(model: Any) -> None:
    session = model._session = CountingSession(model._session)
    responses = model.execute([engine_request(1, cancelled=True), engine_request(2, cancelled=True)])
    assert session.rows == []
    assert [response.error.code for response in responses] == [TritonError.CANCELLED] * 2
