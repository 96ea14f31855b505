"""Serves ``backend: "tensorrt"`` where Triton has only its Python backend.

It reads the same ``config.pbtxt`` as NVIDIA's TensorRT backend; warm-up requests come from Triton's core.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from shrota_backend import Backend, answer, cancelled, failure, inputs_of, wanted_of
from shrota_tensorrt.engine import PlanFileError, RunError, ShapeError
from shrota_tensorrt.opening import open_plan


class TritonPythonModel(Backend):
    """One instance of a model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the plan.

        Raises:
            TritonModelException: it cannot be run here; one line.
        """
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        filename = config.get("default_model_filename") or "model.plan"
        # without a GPU that Triton knows of, the first that CUDA finds
        ordinal = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else 0
        try:
            self._engine = open_plan(folder, filename, ordinal)
        except (PlanFileError, RunError) as error:
            raise pb_utils.TritonModelException(str(error)) from error
        missing = [entry["name"] for entry in config["output"] if entry["name"] not in self._engine.outputs]
        if missing:
            raise pb_utils.TritonModelException(
                f"{folder / filename} does not fit config.pbtxt: it has no output {missing[0]}, but "
                f"{', '.join(self._engine.outputs)}"
            )
        pb_utils.Logger.log_info(f"{args['model_name']}: {len(self._engine.profiles)} profiles on GPU {ordinal}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers requests one by one: ``acoustic`` sends whole batches."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Gives the GPU memory back."""
        self._engine.close()

    def _answer(self, request: Any) -> Any:
        gone = cancelled(request)
        if gone is not None:
            return gone
        try:
            return answer(self._engine.run(inputs_of(request), wanted_of(request, list(self._engine.outputs))))
        except ShapeError as error:
            return failure(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # noqa: BLE001 - one bad batch must not end the process
            return failure(str(error), pb_utils.TritonError.INTERNAL)
