"""Requests and answers as bytes: what is built by hand must read as Triton's own messages."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from shrota_client import ParameterError, ServerError, Transcript
from shrota_client.answer import floats_of, parse_grpc_answer, parse_http_answer, string_of
from shrota_client.failures import Failure
from shrota_client.message import Parameter, Request
from shrota_client.transports.http_common import read_answer
from shrota_testing.fake_triton import result_tensor

NESTED = b"[" * 200_000
"""JSON that no reader follows to its end."""

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)
NAMES = st.text(min_size=1, max_size=10).map(lambda name: f"p{name}")


def of_audio(samples: NDArray[np.float32], parameters: Mapping[str, Parameter]) -> Request:
    return Request({"AUDIO": samples[None]}, parameters)


@given(st.integers(1, 5000), st.dictionaries(NAMES, VALUES, max_size=5), st.none() | st.integers(1, 2**62))
def test_the_grpc_message_is_tritons(count: int, parameters: dict[str, str | float], timeout_us: int | None) -> None:
    samples = np.arange(count, dtype=np.float32)
    message = service_pb2.ModelInferRequest.FromString(of_audio(samples, parameters).grpc_message(timeout_us))
    assert message.model_name == "asr"
    (tensor,) = message.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("AUDIO", "FP32", [1, count])
    assert [output.name for output in message.outputs] == ["RESULT"]
    assert list(message.raw_input_contents) == [samples.tobytes()]
    seen = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in message.parameters.items()}
    assert seen == parameters | ({} if timeout_us is None else {"timeout": timeout_us})
    assert [type(seen[name]) for name in parameters] == [type(value) for value in parameters.values()]


def test_the_http_header_announces_the_samples() -> None:
    header = json.loads(of_audio(np.zeros(400, np.float32), {"hotwords": "राम"}).http_header(5_000_000))
    assert header == {
        "inputs": [
            {"name": "AUDIO", "datatype": "FP32", "shape": [1, 400], "parameters": {"binary_data_size": 1600}},
        ],
        "outputs": [{"name": "RESULT", "parameters": {"binary_data": True}}],
        "parameters": {"hotwords": "राम", "timeout": 5_000_000},
    }


def test_the_body_is_the_array_itself() -> None:
    samples = np.arange(4, dtype=np.float32)
    (body,) = of_audio(samples, {}).bodies
    samples[0] = 7
    assert bytes(body) == samples.tobytes()


def test_several_tensors_go_one_after_the_other() -> None:
    log_probs, duration = np.arange(6, dtype=np.float32).reshape(1, 3, 2), np.array([[0.06]], np.float32)
    request = Request({"LOG_PROBS": log_probs, "DURATION": duration}, {}, "ctc_decoder", ("RESULT", "TRANSCRIPT"))
    message = service_pb2.ModelInferRequest.FromString(request.grpc_message(None))
    assert message.model_name == "ctc_decoder"
    assert [(tensor.name, list(tensor.shape)) for tensor in message.inputs] == [
        ("LOG_PROBS", [1, 3, 2]), ("DURATION", [1, 1]),
    ]  # fmt: skip
    assert list(message.raw_input_contents) == [log_probs.tobytes(), duration.tobytes()]
    assert [output.name for output in message.outputs] == ["RESULT", "TRANSCRIPT"]
    header = json.loads(request.http_header(None))
    assert [each["parameters"]["binary_data_size"] for each in header["inputs"]] == [24, 4]
    assert [each["shape"] for each in header["inputs"]] == [[1, 3, 2], [1, 1]]


def test_a_tensor_without_elements_has_no_bytes() -> None:
    request = Request({"LOG_PROBS": np.zeros((1, 0, 68), np.float32)}, {})
    message = service_pb2.ModelInferRequest.FromString(request.grpc_message(None))
    assert list(message.inputs[0].shape) == [1, 0, 68]
    assert list(message.raw_input_contents) == [b""]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("timeout", 5, "reserved by Triton"),
        ("priority", 1, "reserved by Triton"),
        ("triton_enable_empty_final_response", True, "reserved by Triton"),
        ("", 1, "is empty or reserved"),
        ("hotwords", ["राम"], "is a list: give str, int, float or bool"),
        ("hotwords", '["\udcff"]', "is '.*udcff.*', which is not UTF-8: write it again"),
        ("beam_width", None, "is a NoneType"),
        ("lm_weight", float("nan"), "give a finite number"),
        ("beam_width", 2**63, "does not fit into 64 bits"),
    ],
)
def test_parameters_that_triton_cannot_carry(name: str, value: int, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        of_audio(np.zeros(1, np.float32), {name: value})


def grpc_answer(**outputs: bytes) -> bytes:
    """A serialised ModelInferResponse."""
    response = service_pb2.ModelInferResponse()
    for name, content in outputs.items():
        response.outputs.add(name=name)
        response.raw_output_contents.append(content)
    message: bytes = response.SerializeToString()
    return message


def test_the_result_is_found_among_other_outputs() -> None:
    answer = grpc_answer(TRANSCRIPT=b"\x02\0\0\0hi", RESULT=result_tensor("हाँ", 1.0))
    assert Transcript.from_result(string_of(parse_grpc_answer(answer))).text == "हाँ"


@pytest.mark.parametrize(
    "answer",
    [
        grpc_answer(OTHER=b"\0\0\0\0"),
        grpc_answer(RESULT=b"\x09\0\0\0hi"),
        grpc_answer(),
        grpc_answer(RESULT=b"\x02\0\0\0hi")[:-1],
        b"<html>",
    ],
)
def test_a_foreign_grpc_answer(answer: bytes) -> None:
    with pytest.raises(ServerError):
        string_of(parse_grpc_answer(answer))


def test_numbers_have_their_shape() -> None:
    response = service_pb2.ModelInferResponse()
    for name, values in {"LOG_PROBS": np.arange(6, dtype="<f4").reshape(1, 3, 2), "EMPTY": np.zeros((1, 0, 2))}.items():
        response.outputs.add(name=name, shape=values.shape)
        response.raw_output_contents.append(values.tobytes())
    outputs = parse_grpc_answer(response.SerializeToString())
    assert floats_of(outputs, "LOG_PROBS", 2).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert floats_of(outputs, "EMPTY", 2).shape == (0, 2)
    with pytest.raises(ServerError, match=r"LOG_PROBS has the shape \[1, 3, 2\] and 24 bytes"):
        floats_of(outputs, "LOG_PROBS", 1)
    response.outputs[0].shape[1] = 4
    with pytest.raises(ServerError, match=r"LOG_PROBS has the shape \[1, 4, 2\] and 24 bytes"):
        floats_of(parse_grpc_answer(response.SerializeToString()), "LOG_PROBS", 2)
    with pytest.raises(ServerError, match="not DURATION"):
        floats_of(outputs, "DURATION", 1)


@pytest.mark.parametrize(
    ("body", "header_length"),
    [
        (b"<html>", None),
        (b"<html>", 6),
        (b'{"outputs": [{}]}', 17),
        (b"[1]", 3),
        (b'{"outputs": []}', 15),
        (b'{"outputs": [{"name": "RESULT", "parameters": {"binary_data_size": 1e999}}]}', 76),
        (NESTED, len(NESTED)),
    ],
)
def test_a_foreign_http_answer(body: bytes, header_length: int | None) -> None:
    with pytest.raises(ServerError):
        string_of(parse_http_answer(body, header_length))


@pytest.mark.parametrize("length", ["", "abc", "-1", "1.5", "1_0", "٣", "9" * 5000])
def test_a_foreign_length_of_the_http_header(length: str) -> None:
    with pytest.raises(ServerError, match=r"Inference-Header-Content-Length is '.*', no number: this address is no"):
        read_answer(200, length, b"{}")


def test_a_foreign_refusal_over_http() -> None:
    failure = read_answer(500, None, NESTED)
    assert isinstance(failure, Failure)
    assert failure.message == "[" * 500


def test_a_transcript_with_alternatives() -> None:
    fields = {
        "text": "राम",
        "confidence": 0.9,
        "duration": 2.0,
        "words": [{"word": "राम", "start": 0.5, "end": 1.0, "confidence": 0.9}],
        "alternatives": [{"text": "राम", "score": -1.5, "acoustic": -1}, {"text": "काम"}],
    }
    transcript = Transcript.from_result(json.dumps(fields).encode(), elapsed_s=0.5)
    assert [alternative.text for alternative in transcript.alternatives] == ["राम", "काम"]
    assert [alternative.score for alternative in transcript.alternatives] == [-1.5, None]
    assert transcript.alternatives[0].details["acoustic"] == -1
    assert transcript.real_time_factor == 0.25
    assert transcript.as_dict() == fields | {"elapsed_s": 0.5, "real_time_factor": 0.25}


@pytest.mark.parametrize("absent", [{}, {"words": None, "alternatives": None}, {"words": [], "alternatives": []}])
def test_words_and_alternatives_may_be_absent(absent: dict[str, object]) -> None:
    fields = {"text": "राम", "confidence": 0.9, "duration": 2.0, **absent}
    transcript = Transcript.from_result(json.dumps(fields).encode())
    assert transcript == Transcript("राम", 0.9, 2.0, words=(), alternatives=())
    assert (transcript.as_dict()["words"], transcript.as_dict()["alternatives"]) == ([], [])


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"[]",
        b"{}",
        b'{"text": "a"}',
        b"\xff",
        b'{"text":"a","confidence":[]}',
        b'{"text":"a","confidence":1%s}' % (b"0" * 400),
        b'{"text":"a","confidence":1,"duration":1,"words":[{}]}',
        b'{"text":"a","confidence":1,"duration":1,"alternatives":[7]}',
        b'{"text":"a","confidence":1,"duration":1,"alternatives":[{"text":"a","score":[]}]}',
        NESTED,
    ],
)
def test_a_result_that_breaks_the_contract(result: bytes) -> None:
    with pytest.raises(ServerError, match="RESULT is not what this client reads"):
        Transcript.from_result(result)


def test_no_audio_has_no_real_time_factor() -> None:
    assert Transcript("", 0.0, 0.0, elapsed_s=1.0).real_time_factor is None
