"""The tensors of an answer, out of the bytes of both of Triton's protocols; nothing here touches a network."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shrota_client.errors import ServerError

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading the JSON of a foreign server may raise; 1e999 is no integer, and arrays may be nested without end."""
_OURS = "is the model one of Shrota's?"


@dataclass(frozen=True)
class Output:
    """A tensor of an answer: its shape, and its content as it lies in memory, little-endian."""

    shape: tuple[int, ...]
    content: bytes


Outputs = Mapping[str, Output]
"""The tensors of an answer by name."""


def parse_grpc_answer(message: bytes) -> Outputs:
    """The tensors of a serialised ``ModelInferResponse``.

    Raises:
        ServerError: it is none.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - HTTP needs no gRPC
    from tritonclient.grpc import service_pb2  # noqa: PLC0415

    try:
        response = service_pb2.ModelInferResponse.FromString(message)
    except DecodeError as error:
        raise ServerError(f"the answer cannot be read ({error}): this address is no Triton server") from error
    announced = [(output.name, output.shape) for output in response.outputs]
    return _outputs(announced, list(response.raw_output_contents))


def parse_http_answer(body: bytes, header_length: int | None) -> Outputs:
    """The tensors of an HTTP answer whose first ``header_length`` bytes are JSON.

    Raises:
        ServerError: it is none.
    """
    if header_length is None:
        raise ServerError("the answer has no Inference-Header-Content-Length: this address is no Triton server")
    announced, contents, position = [], [], header_length
    try:
        for output in json.loads(body[:header_length])["outputs"]:
            size = int(output["parameters"]["binary_data_size"])
            announced.append((str(output["name"]), [int(length) for length in output["shape"]]))
            contents.append(body[position : position + size])
            position += size
    except MALFORMED as error:
        raise ServerError(f"the answer's header cannot be read ({type(error).__name__}: {error})") from error
    return _outputs(announced, contents)


def _outputs(announced: Sequence[tuple[str, Iterable[int]]], contents: list[bytes]) -> Outputs:
    if len(announced) != len(contents):
        raise ServerError(f"the answer announces {len(announced)} tensors and brings {len(contents)}: look at its log")
    return {name: Output(tuple(shape), content) for (name, shape), content in zip(announced, contents, strict=True)}


def string_of(outputs: Outputs, name: str = "RESULT") -> bytes:
    """The single string of an output: four bytes of length (little-endian), then UTF-8.

    Raises:
        ServerError: there is no such output, or it is not one string.
    """
    content = _output(outputs, name).content
    length = int.from_bytes(content[:4], "little")
    if len(content) != 4 + length:
        raise ServerError(f"the answer's {name} holds {len(content)} bytes, not one string of {length}")
    return content[4:]


def floats_of(outputs: Outputs, name: str, dimensions: int) -> NDArray[np.float32]:
    """The row of an output of numbers, of so many dimensions after the batch dimension, which must be 1.

    Raises:
        ServerError: there is no such output, or its shape is another or not that of its content.
    """
    output = _output(outputs, name)
    shape = output.shape
    if len(shape) != 1 + dimensions or shape[0] != 1 or 4 * math.prod(shape) != len(output.content):
        raise ServerError(f"the answer's {name} has the shape {list(shape)} and {len(output.content)} bytes: {_OURS}")
    row: NDArray[np.float32] = np.frombuffer(output.content, "<f4").astype(np.float32, copy=False).reshape(shape)[0]
    return row


def _output(outputs: Outputs, name: str) -> Output:
    if name not in outputs:
        raise ServerError(f"the answer has the outputs {list(outputs)}, not {name}: {_OURS}")
    return outputs[name]
