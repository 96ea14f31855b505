"""The decoder's ``model.py`` by itself: what it decodes of a batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shrota_testing.engines import tiny_log_probs
from shrota_testing.pb_utils import Request, TritonError, load_model
from shrota_testing.repository import make_repository
from shrota_testing.utterances import expected_text, noise


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The decoder, as Triton would load it."""
    decoder = make_repository(tmp_path / "model_repository") / "ctc_decoder"
    loaded = load_model(decoder / "1" / "model.py", monkeypatch).TritonPythonModel()
    loaded.initialize({"model_repository": str(decoder), "model_version": "1", "model_config": "{}"})
    return loaded


def request(seed: int) -> Request:
    """One second of noise."""
    log_probs = tiny_log_probs(noise(1.0, seed))[None].astype(np.float32)
    return Request({"LOG_PROBS": log_probs, "DURATION": np.ones((1, 1), np.float32)}, ["TRANSCRIPT", "RESULT"])


def test_a_request_that_is_cancelled_while_its_neighbours_are_decoded_costs_nothing(model: Any) -> None:
    first, gone, last = request(1), request(2), request(3)
    gone.is_cancelled = lambda: first.was_read
    model.execute([first, gone, last])
    responses = [each.wait() for each in (first, gone, last)]
    assert responses[1].error == TritonError("the request was cancelled", TritonError.CANCELLED)
    assert not gone.was_read
    for response, seed in ((responses[0], 1), (responses[2], 3)):
        assert response.error is None
        assert response.output("TRANSCRIPT").tolist() == [[expected_text(noise(1.0, seed)).encode("utf-8")]]
