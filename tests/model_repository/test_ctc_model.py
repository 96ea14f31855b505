"""The decoder's ``model.py`` by itself: what it decodes of a batch."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shrota_testing.engines import tiny_log_probs
from shrota_testing.language_models import write_arpa
from shrota_testing.pb_utils import Logger, MetricFamily, Request, TritonError, TritonModelException, load_model
from shrota_testing.repository import make_repository
from shrota_testing.utterances import expected_text, noise


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The decoder, as Triton would load it."""
    return loaded_model(tmp_path, monkeypatch)


def loaded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Mapping[str, float] | None = None) -> Any:
    """The decoder of a repository in ``tmp_path``, with a language model of these words if there are some."""
    decoder = make_repository(tmp_path / "model_repository") / "ctc_decoder"
    if words is not None:
        write_arpa(decoder / "1" / "lm.arpa", words)
    loaded = load_model(decoder / "1" / "model.py", monkeypatch).TritonPythonModel()
    loaded.initialize({"model_repository": str(decoder), "model_version": "1", "model_config": "{}"})
    return loaded


def request(seed: int, seconds: float = 1.0, **parameters: Any) -> Request:
    """Some noise."""
    log_probs = tiny_log_probs(noise(seconds, seed))[None].astype(np.float32)
    tensors = {"LOG_PROBS": log_probs, "DURATION": np.full((1, 1), seconds, np.float32)}
    return Request(tensors, ["TRANSCRIPT", "RESULT"], given_parameters=parameters)


def test_a_greedy_request_is_decoded_rather_than_asked_about(model: Any) -> None:
    """Whether its caller has gone is a round trip to the server."""
    first, second = request(1), request(2)
    asked = []

    def is_cancelled() -> bool:
        asked.append(True)
        return False

    second.is_cancelled = is_cancelled
    model.execute([first, second])
    for one, seed in ((first, 1), (second, 2)):
        assert one.wait().output("TRANSCRIPT").tolist() == [[expected_text(noise(1.0, seed)).encode("utf-8")]]
    assert not asked


def test_a_search_whose_caller_goes_ends_with_its_segment(model: Any) -> None:
    """90 seconds are three segments: the caller is there when the search begins, and before the first of them."""
    long = request(1, 90.0, beam_width=2)
    answers = iter([False, False, True])
    long.is_cancelled = lambda: next(answers)
    model.execute([long])
    assert long.wait().error == TritonError("the request was cancelled", TritonError.CANCELLED)


def test_one_decoder_of_the_librarys_searches_all_rows_and_segments_of_a_request(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """70 seconds are three segments, twice."""
    one = request(1, 70.0, beam_width=2)
    one.tensors = {name: np.concatenate([row, row]) for name, row in one.tensors.items()}
    looked_up = []
    beams = model.decoder.beams
    original = beams._decoder

    def look_up(parameters: Any) -> Any:
        looked_up.append(parameters)
        return original(parameters)

    monkeypatch.setattr(beams, "_decoder", look_up)
    model.execute([one])
    assert one.wait().error is None
    assert one.wait().output("TRANSCRIPT").shape == (2, 1)
    assert len(looked_up) == 1


def test_a_language_model_that_was_replaced_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights that are loaded go on; new ones need the file, which is another one now."""
    folder = tmp_path / "model_repository" / "ctc_decoder" / "1"
    model = loaded_model(tmp_path, monkeypatch, {"काम": -1.0})
    (folder / "lm.arpa").unlink()
    write_arpa(folder / "lm.arpa", {"काम": -1.0, "नाम": -1.0})
    logged: list[str] = []
    monkeypatch.setattr(Logger, "log_error", logged.append)
    usual, new = request(1, beam_width=2), request(2, beam_width=2, lm_weight=0.75)
    model.execute([usual, new])
    assert usual.wait().error is None
    text = f"{folder / 'lm.arpa'} was replaced: restart the server, or load ctc_decoder again"
    assert new.wait().error == TritonError(text, TritonError.INTERNAL)
    assert logged == [f"ctc_decoder: {text}"]
    more = [request(3 + n, beam_width=2, lm_weight=1 + n / 10) for n in range(8)]  # more than there are places
    for each in more:
        model.execute([each])
        assert each.wait().error == TritonError(text, TritonError.INTERNAL)
    again = request(20, beam_width=2)
    model.execute([again])
    assert again.wait().error is None


def test_greedy_requests_are_answered_before_the_searches_of_their_batch(model: Any) -> None:
    greedy, search = request(2), request(1, beam_width=2)
    search.is_cancelled = greedy.sender.done.is_set
    model.execute([search, greedy])
    assert greedy.wait().error is None
    assert search.wait().error == TritonError("the request was cancelled", TritonError.CANCELLED)


@pytest.mark.parametrize("wanted", [["RESULT"], ["TRANSCRIPT"], ["TRANSCRIPT", "RESULT"]])
@pytest.mark.parametrize("beam_width", [1, 2])
def test_only_what_was_asked_for_is_answered(model: Any, wanted: list[str], beam_width: int) -> None:
    """Triton would free the rest without Python's lock, which kills the process beside other threads."""
    one = request(1, beam_width=beam_width)
    one.outputs = wanted
    model.execute([one])
    assert [tensor.name() for tensor in one.wait().output_tensors] == wanted


def test_a_metric_that_cannot_be_written_costs_no_request_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(MetricFamily, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(MetricFamily, "Metric", lambda *_, **__: BrokenMetric(), raising=False)
    monkeypatch.setattr(Logger, "log_warn", logged.append)
    monkeypatch.setattr(Logger, "log_error", logged.append)
    model = loaded_model(tmp_path, monkeypatch)
    requests = [request(1), request(2, beam_width=2)]
    model.execute(requests)
    assert [each.wait().error for each in requests] == [None, None]
    assert requests[0].wait().output("TRANSCRIPT").tolist() == [[expected_text(noise(1.0, 1)).encode("utf-8")]]
    assert len(logged) == 4  # both metrics of both requests
    assert all(text.startswith("ctc_decoder could not count ") and text.endswith(": no") for text in logged)


class BrokenMetric:
    """A metric of a server that can no longer write it."""

    def increment(self, _: float) -> None:
        """Fails."""
        raise TritonModelException("no")


def test_a_request_that_is_refused_is_not_looked_at_further(model: Any) -> None:
    refused, good = request(1, beam_width="many"), request(2, beam_width=2)
    model.execute([refused, good])
    error = refused.wait().error
    assert error is not None
    assert (error.code, error.message[:28]) == (TritonError.INVALID_ARG, "parameter `beam_width` must ")
    assert not refused.was_read
    assert good.wait().error is None


def test_parameters_that_cannot_even_be_read_harm_no_neighbour(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(sys.modules["triton_python_backend_utils"].Logger, "log_error", logged.append)
    bad, good = request(1), request(2)

    def unreadable() -> str:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(bad, "parameters", unreadable)
    model.execute([bad, good])
    error = bad.wait().error
    assert error is not None
    assert error.code == TritonError.INTERNAL
    assert error.message.startswith("the request's parameters cannot be read: ")
    assert len(logged) == 1
    assert good.wait().output("TRANSCRIPT").tolist() == [[expected_text(noise(1.0, 2)).encode("utf-8")]]
