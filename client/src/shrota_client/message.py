"""One request as bytes, for both of Triton's protocols; nothing here touches a network.

Both protocols carry the same thing: a short header that names the model, the tensors and the parameters, then the
tensors as they lie in memory. So a request is built once, as header and bodies, and every transport sends them.
The KServe protocol is described in Triton's documentation ("HTTP/REST and GRPC Protocol", "Binary tensor data" and
"Parameters" extensions).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shrota_client.errors import ParameterError

MODEL = "asr"
Parameter = str | int | float | bool

RESERVED = ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "headers", "binary_data_output")
"""Parameter names that Triton keeps for itself."""


@dataclass(frozen=True)
class Request:
    """One utterance to be sent to a model.

    Attributes:
        inputs: float32 tensors by name, contiguous, a batch dimension of 1 first.
        parameters: of the request, as the models of the server read them.
        model: the model's name on the server.
        outputs: the tensors that it shall answer.
    """

    inputs: Mapping[str, NDArray[np.float32]]
    parameters: Mapping[str, Parameter]
    model: str = MODEL
    outputs: tuple[str, ...] = ("RESULT",)

    def __post_init__(self) -> None:
        for name, value in self.parameters.items():
            check_parameter(name, value)

    @property
    def bodies(self) -> list[memoryview]:
        """The tensors as little-endian bytes, without a copy."""
        return [_bytes(tensor) for tensor in self.inputs.values()]

    def grpc_message(self, timeout_us: int | None) -> bytes:
        """A serialised ``ModelInferRequest``; ``timeout_us`` is how long the server may keep it in its queues.

        The fields of a protobuf message may be joined as bytes: the header is serialised as usual and the tensors
        follow as the field ``raw_input_contents``, copied once instead of three times.
        """
        from tritonclient.grpc import service_pb2  # noqa: PLC0415 - HTTP needs no gRPC

        message = service_pb2.ModelInferRequest(model_name=self.model)
        for name, tensor in self.inputs.items():
            message.inputs.add(name=name, datatype="FP32").shape.extend(tensor.shape)
        for name in self.outputs:
            message.outputs.add(name=name)
        for name, value in self.parameters.items():
            _set_parameter(message.parameters[name], value)
        if timeout_us is not None:
            message.parameters["timeout"].int64_param = timeout_us
        length_delimited = 2
        tag = _varint(message.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | length_delimited)
        parts: list[bytes | memoryview] = [message.SerializeToString()]
        for body in self.bodies:
            parts += [tag, _varint(body.nbytes), body]
        return b"".join(parts)

    def http_header(self, timeout_us: int | None) -> bytes:
        """The JSON that precedes the tensors over HTTP; its length goes into ``Inference-Header-Content-Length``."""
        parameters = dict(self.parameters)
        if timeout_us is not None:
            parameters["timeout"] = timeout_us
        header = {
            "inputs": [
                {
                    "name": name,
                    "datatype": "FP32",
                    "shape": list(tensor.shape),
                    "parameters": {"binary_data_size": tensor.nbytes},
                }
                for name, tensor in self.inputs.items()
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in self.outputs],
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


def _bytes(tensor: NDArray[np.float32]) -> memoryview:
    # a view without elements cannot be cast
    return tensor.astype("<f4", copy=False).data.cast("B") if tensor.size else memoryview(b"")


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
