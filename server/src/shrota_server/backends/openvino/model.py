"""Serves ``backend: "openvino"`` where Triton has only its Python backend.

It reads the same ``config.pbtxt`` as NVIDIA's OpenVINO backend; warm-up requests come from Triton's core.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from shrota_backend import Backend, failure, run_requests
from shrota_contract import EngineFileError
from shrota_openvino.settings import read_settings
from shrota_settings import SettingsError


class TritonPythonModel(Backend):
    """One instance of a model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Compiles the model.

        Raises:
            TritonModelException: OpenVINO is missing, or the model file or a setting cannot be used; one line.
        """
        name = args["model_name"]
        try:
            from shrota_openvino.session import Session, ShapeError, one_line  # noqa: PLC0415 - says what to do without OpenVINO
        except ImportError as error:
            text = f"{name} needs the package openvino in Triton's Python ({error}): run `pip install openvino`"
            raise pb_utils.TritonModelException(text) from error
        self._one_line, self._shape_error = one_line, ShapeError
        try:
            folder = Path(args["model_repository"]) / args["model_version"]
            settings = read_settings(json.loads(args["model_config"]), folder)
            self._session = Session(settings)
        except SettingsError as error:
            raise pb_utils.TritonModelException(f"config.pbtxt of {name}: {error}") from error
        except EngineFileError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._outputs = list(settings.contract.outputs)
        for parameter in settings.unknown_parameters:
            pb_utils.Logger.log_warn(f"{name}: parameter {parameter} means nothing to this backend")
        pb_utils.Logger.log_info(f"{name}: OpenVINO, {self._session.precision}, {settings.threads} threads")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers the requests of a batch, each with its outputs or its own error."""
        return run_requests(requests, self._outputs, self._session.run, self._refusal)

    def finalize(self) -> None:
        """Frees the model."""
        del self._session

    def _refusal(self, error: Exception) -> Any:
        is_invalid = isinstance(error, self._shape_error)
        code = pb_utils.TritonError.INVALID_ARG if is_invalid else pb_utils.TritonError.INTERNAL
        return failure(f"OpenVINO: {self._one_line(error)}", code)
