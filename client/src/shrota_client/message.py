"""One request and its answer as bytes, for both of Triton's protocols; nothing here touches a network.

Both protocols carry the same thing: a short header that names the model, the tensors and the parameters, then the
samples as they lie in memory. So a request is built once, as header and body, and every transport sends the two.
The KServe protocol is described in Triton's documentation ("HTTP/REST and GRPC Protocol", "Binary tensor data" and
"Parameters" extensions).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shrota_client.errors import ParameterError, ServerError

MODEL = "asr"
Parameter = str | int | float | bool

RESERVED = ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "headers", "binary_data_output")
"""Parameter names that Triton keeps for itself."""

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading the JSON of a foreign server may raise; 1e999 is no integer, and arrays may be nested without end."""


@dataclass(frozen=True)
class Request:
    """One utterance to be sent.

    Attributes:
        samples: [samples], float32, contiguous.
        parameters: of the request, as the models of the server read them.
        model: the model's name on the server.
    """

    samples: NDArray[np.float32]
    parameters: Mapping[str, Parameter]
    model: str = MODEL

    def __post_init__(self) -> None:
        for name, value in self.parameters.items():
            check_parameter(name, value)

    @property
    def body(self) -> memoryview:
        """The samples as little-endian bytes, without a copy."""
        return self.samples.astype("<f4", copy=False).data.cast("B")

    def grpc_message(self, timeout_us: int | None) -> bytes:
        """A serialised ``ModelInferRequest``; ``timeout_us`` is how long the server may keep it in its queues.

        The fields of a protobuf message may be joined as bytes: the header is serialised as usual and the samples
        follow as the field ``raw_input_contents``, copied once instead of three times.
        """
        from tritonclient.grpc import service_pb2  # noqa: PLC0415 - HTTP needs no gRPC

        message = service_pb2.ModelInferRequest(model_name=self.model)
        tensor = message.inputs.add(name="AUDIO", datatype="FP32")
        tensor.shape.extend([1, self.samples.size])
        message.outputs.add(name="RESULT")
        for name, value in self.parameters.items():
            _set_parameter(message.parameters[name], value)
        if timeout_us is not None:
            message.parameters["timeout"].int64_param = timeout_us
        length_delimited = 2
        tag = message.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | length_delimited
        body = self.body
        return b"".join((message.SerializeToString(), _varint(tag), _varint(body.nbytes), body))

    def http_header(self, timeout_us: int | None) -> bytes:
        """The JSON that precedes the samples over HTTP; its length goes into ``Inference-Header-Content-Length``."""
        parameters = dict(self.parameters)
        if timeout_us is not None:
            parameters["timeout"] = timeout_us
        size = {"binary_data_size": self.body.nbytes}
        header = {
            "inputs": [{"name": "AUDIO", "datatype": "FP32", "shape": [1, self.samples.size], "parameters": size}],
            "outputs": [{"name": "RESULT", "parameters": {"binary_data": True}}],
            "parameters": parameters,
        }
        return json.dumps(header, ensure_ascii=False).encode()


def check_parameter(name: str, value: object) -> None:
    """Refuses what Triton cannot carry as a request parameter.

    Raises:
        ParameterError: a reserved or empty name, or a value that is no str of Unicode text, int, float or bool.
    """
    if not name or name in RESERVED or name.startswith("triton_"):
        raise ParameterError(f"the request parameter name {name!r} is empty or reserved by Triton: use another one")
    if not isinstance(value, str | int | float):
        raise ParameterError(
            f"the request parameter {name!r} is a {type(value).__name__}: give str, int, float or bool"
        )
    if isinstance(value, str) and not _is_unicode(value):
        raise ParameterError(f"the request parameter {name!r} is {value!r}, which is not UTF-8: write it again")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"the request parameter {name!r} is {value}: give a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ParameterError(f"the request parameter {name!r} does not fit into 64 bits: {value}")


def parse_grpc_result(message: bytes) -> bytes:
    """The ``RESULT`` string of a serialised ``ModelInferResponse``.

    Raises:
        ServerError: it is none, or without a ``RESULT``.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - HTTP needs no gRPC
    from tritonclient.grpc import service_pb2  # noqa: PLC0415

    try:
        response = service_pb2.ModelInferResponse.FromString(message)
    except DecodeError as error:
        raise ServerError(f"the answer cannot be read ({error}): this address is no Triton server") from error
    names = [output.name for output in response.outputs]
    return _pick(names, list(response.raw_output_contents))


def parse_http_result(body: bytes, header_length: int | None) -> bytes:
    """The ``RESULT`` string of an HTTP answer whose first ``header_length`` bytes are JSON.

    Raises:
        ServerError: it is none, or without a ``RESULT``.
    """
    if header_length is None:
        raise ServerError("the answer has no Inference-Header-Content-Length: this address is no Triton server")
    names, contents, position = [], [], header_length
    try:
        for output in json.loads(body[:header_length])["outputs"]:
            size = int(output["parameters"]["binary_data_size"])
            names.append(output["name"])
            contents.append(body[position : position + size])
            position += size
    except MALFORMED as error:
        raise ServerError(f"the answer's header cannot be read ({type(error).__name__}: {error})") from error
    return _pick(names, contents)


def _pick(names: list[str], contents: list[bytes]) -> bytes:
    """The single string of the output RESULT: four bytes of length (little-endian), then UTF-8."""
    if "RESULT" not in names or len(names) != len(contents):
        raise ServerError(f"the answer has the outputs {names}, not RESULT: is its model 'asr' one of Shrota's?")
    content = contents[names.index("RESULT")]
    length = int.from_bytes(content[:4], "little")
    if len(content) != 4 + length:
        raise ServerError(f"the answer's RESULT holds {len(content)} bytes, not one string of {length}")
    return content[4:]


def _set_parameter(target: object, value: Parameter) -> None:
    # bool before int: True is an int
    kinds = (("bool_param", bool), ("int64_param", int), ("double_param", float), ("string_param", str))
    field = next(name for name, kind in kinds if isinstance(value, kind))
    setattr(target, field, value)


def _is_unicode(text: str) -> bool:
    """Whether the text has no lone surrogates, which stand for what was not UTF-8 on a command line."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _varint(number: int) -> bytes:
    """Protobuf's variable-length integer: seven bits a byte, least significant first."""
    digits = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
