"""The way back of a request to the acoustic model."""

import numpy as np
import pytest

from shrota_acoustic import triton
from shrota_acoustic.triton import TritonResponder
from shrota_testing import pb_utils
from shrota_testing.pb_utils import Request


@pytest.mark.parametrize("wanted", [["LOG_PROBS"], ["DURATION"], ["LOG_PROBS", "DURATION"]])
def test_only_what_was_asked_for_is_answered(wanted: list[str]) -> None:
    """Triton would free the rest without Python's lock, which kills the process beside other threads."""
    request = Request({"AUDIO": np.zeros((1, 800), np.float32)}, wanted)
    TritonResponder(pb_utils, request).answer(np.zeros((1, 2, 5), np.float32), np.full((1, 1), 0.05, np.float32))
    answer = request.wait()
    assert [tensor.name() for tensor in answer.output_tensors] == wanted
    assert answer.output(wanted[0]).shape == {"LOG_PROBS": (1, 2, 5), "DURATION": (1, 1)}[wanted[0]]


@pytest.mark.parametrize(("asked_after_s", "asked"), [(60.0, False), (0.0, True)])
def test_a_young_request_is_not_asked_about(monkeypatch: pytest.MonkeyPatch, asked_after_s: float, asked: bool) -> None:
    """The question is a round trip to the server."""
    monkeypatch.setattr(triton, "ASKED_AFTER_S", asked_after_s)
    request = Request({}, [], is_cancelled=lambda: True)
    assert TritonResponder(pb_utils, request).is_cancelled() == asked
