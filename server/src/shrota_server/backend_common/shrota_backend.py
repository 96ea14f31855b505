"""What the backends here share: a request as arrays, arrays or an error as its answer.

The files of this folder are copied into that of each backend (:func:`shrota_server.installation.assemble_backends`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from shrota_batch import Arrays, Item, Run, run_items


class Backend:
    """Base of a backend's ``TritonPythonModel``."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Leaves a configuration as it is: ours are complete."""
        return config


def cancelled(request: Any) -> Any | None:
    """The answer to a request that nobody waits for any more; None if somebody does."""
    return failure("the request was cancelled", pb_utils.TritonError.CANCELLED) if request.is_cancelled() else None


def inputs_of(request: Any) -> Arrays:
    """By name, on the processor."""
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def wanted_of(request: Any, outputs: Sequence[str]) -> list[str]:
    """Those of a model's outputs that the request asks for."""
    wanted = set(request.requested_output_names())
    return [name for name in outputs if name in wanted]


def answer(outputs: Mapping[str, NDArray[Any]]) -> Any:
    """A response with these outputs."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


def failure(text: str, code: Any) -> Any:
    """A response with an error, in one line."""
    return pb_utils.InferenceResponse([], pb_utils.TritonError(" ".join(text.split()), code))


def run_requests(
    requests: Sequence[Any], outputs: Sequence[str], run: Run, refusal: Callable[[Exception], Any]
) -> list[Any]:
    """Answers the requests of a batch, each with its outputs or its own error; those of equal shapes run together.

    Args:
        requests: Triton's.
        outputs: names of the model's.
        run: the engine.
        refusal: makes a response of what a run has raised.
    """
    responses: list[Any] = [None] * len(requests)
    indices, items = [], []
    for index, request in enumerate(requests):
        responses[index] = cancelled(request)
        if responses[index] is None:
            indices.append(index)
            items.append(Item(inputs_of(request), wanted_of(request, outputs)))
    for index, result in zip(indices, run_items(items, run), strict=True):
        responses[index] = refusal(result) if isinstance(result, Exception) else answer(result)
    return responses
