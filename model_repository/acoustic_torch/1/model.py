"""``acoustic_torch``: AUDIO, NUM_SAMPLES -> LOG_PROBS, NUM_FRAMES (contract in ``config.pbtxt``), on a GPU."""

import functools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shrota_torch.batch import Answer, Outputs, Rows, RowsError, Runner
from shrota_torch.memory import keep_buffers


class TritonPythonModel:
    """Runs the requests of a batch together; one that is no good is refused and harms no other."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Loads the engine and runs it once, so that its kernels are compiled.

        Raises:
            TritonModelException: there is no GPU, no PyTorch or no engine; one line.
        """
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads(args["model_config"]).get("parameters", {})
        most_samples = round(16000 * float(parameters.get("run_seconds", {}).get("string_value", "640")))
        is_gpu = args["model_instance_kind"] == "GPU"
        try:
            import torch  # noqa: PLC0415 - it may be missing

            from shrota_torch.engine import TorchEngine  # noqa: PLC0415
            from shrota_torch.plan import EngineFileError  # noqa: PLC0415
        except ImportError as error:
            text = f"acoustic_torch needs PyTorch with CUDA and safetensors in Triton's Python ({error})"
            raise pb_utils.TritonModelException(f"{text}: install them, or serve acoustic_onnx") from None
        try:
            device = f"cuda:{args['model_instance_device_id']}" if is_gpu else "cpu"
            if is_gpu:
                torch.set_num_threads(1)  # what is left for the processor is small, and idle threads would spin
            engine = TorchEngine(folder, device, most_samples)
            engine.warm_up()
            self._runner = Runner(engine, most_samples, give_up)
            keep_buffers()
        except EngineFileError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        except RuntimeError as error:  # CUDA's
            text = " ".join(str(error).split())[:300]
            raise pb_utils.TritonModelException(f"acoustic_torch cannot run on {device}: {text}") from None

    def execute(self, requests: Sequence[Any]) -> list[None]:
        """Begins to run the requests of a batch; each is answered, with its outputs or its own error, when it is done.

        So the next batch is on its way to the GPU while it computes this one.
        """
        items, answers = [], []
        for request in requests:
            answer = answer_of(request)
            try:
                items.append(Rows.of(array_of(request, "AUDIO"), array_of(request, "NUM_SAMPLES")))
                answers.append(answer)
            except RowsError as error:
                answer(error)
        self._runner.run(items, answers)
        return [None] * len(requests)

    def finalize(self) -> None:
        """Answers what was begun, and frees the engine."""
        self._runner.close()
        del self._runner


def answer_of(request: Any) -> Answer:
    """How a request is answered."""
    return functools.partial(send, request, request.get_response_sender())


def send(request: Any, sender: Any, result: Outputs | Exception) -> None:
    """Sends a request its outputs, or its error. Who cannot be sent either ends this process: see :func:`give_up`."""
    try:
        made = response(result, request.requested_output_names())
    except Exception as error:  # noqa: BLE001 - there may be no shared memory for it
        made = failure(f"acoustic_torch: the answer could not be made: {error!r}"[:300], pb_utils.TritonError.INTERNAL)
    try:
        sender.send(made, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as error:  # noqa: BLE001 - see above
        give_up(f"an answer could not be sent: {error!r}")


def give_up(reason: str) -> NoReturn:
    """Ends this process: whoever waits for an answer that cannot come would wait for ever.

    `shrota serve` starts the server again, and so does whoever watches it by the probe.
    """
    pb_utils.Logger.log_error(f"acoustic_torch ends: {reason}")
    os._exit(1)


def array_of(request: Any, name: str) -> NDArray[Any]:
    """An input, in the processor's memory."""
    array: NDArray[Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array


def response(result: Outputs | Exception, wanted: Sequence[str]) -> Any:
    """What was asked for, or the error."""
    if isinstance(result, RowsError):
        return failure(str(result), pb_utils.TritonError.INVALID_ARG)
    if isinstance(result, Exception):
        pb_utils.Logger.log_error(f"acoustic_torch: {result!r}")
        return failure(f"PyTorch: {' '.join(str(result).split())[:300]}", pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, result[name]) for name in wanted])


def failure(message: str, code: int) -> Any:
    """An error as a response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
