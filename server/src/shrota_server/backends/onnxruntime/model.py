"""Serves ``backend: "onnxruntime"`` where Triton has only its Python backend.

It reads the same ``config.pbtxt`` as NVIDIA's ONNX Runtime backend; warm-up requests come from Triton's core.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from shrota_backend import Backend, failure, run_requests
from shrota_batch import Arrays
from shrota_contract import EngineFileError
from shrota_onnxruntime.session import one_line, open_session, run_options
from shrota_onnxruntime.settings import read_settings
from shrota_settings import SettingsError


class TritonPythonModel(Backend):
    """One instance of a model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the session.

        Raises:
            TritonModelException: the model file or a setting cannot be used; one line.
        """
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            settings = read_settings(config, folder, args["model_instance_kind"], int(args["model_instance_device_id"]))
            self._session = open_session(settings)
        except SettingsError as error:
            raise pb_utils.TritonModelException(f"config.pbtxt of {args['model_name']}: {error}") from error
        except EngineFileError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._run_options = run_options(settings)
        self._outputs = list(settings.contract.outputs)
        for name in settings.unknown_parameters:
            pb_utils.Logger.log_warn(f"{args['model_name']}: parameter {name} means nothing to this backend")
        providers = self._session.get_providers()
        if settings.device_id is not None and "CUDAExecutionProvider" not in providers:
            pb_utils.Logger.log_warn(
                f"{args['model_name']}: instance on a GPU, but onnxruntime runs on the CPU: install onnxruntime-gpu"
            )
        pb_utils.Logger.log_info(
            f"{args['model_name']}: onnxruntime {ort.__version__}, {providers[0]}, {settings.intra_op_threads} threads"
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers the requests of a batch, each with its outputs or its own error."""
        return run_requests(requests, self._outputs, self._run, _refusal)

    def finalize(self) -> None:
        """Frees the session."""
        del self._session

    def _run(self, inputs: Arrays, wanted: Sequence[str]) -> Mapping[str, NDArray[Any]]:
        outputs = self._session.run(list(wanted), inputs, self._run_options)
        return dict(zip(wanted, outputs, strict=True))


def _refusal(error: Exception) -> Any:
    is_invalid = type(error).__name__ == "InvalidArgument"  # onnxruntime's
    code = pb_utils.TritonError.INVALID_ARG if is_invalid else pb_utils.TritonError.INTERNAL
    return failure(f"ONNX Runtime: {one_line(error)}", code)
