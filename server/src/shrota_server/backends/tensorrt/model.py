"""Serves ``backend: "tensorrt"`` where Triton has only its Python backend.

It reads the same ``config.pbtxt`` as NVIDIA's TensorRT backend; warm-up requests come from Triton's core.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from shrota_tensorrt.engine import PlanFileError, RunError, ShapeError
from shrota_tensorrt.opening import open_plan


class TritonPythonModel:
    """One instance of a model."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Leaves a configuration as it is: ours are complete."""
        return config

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
        if request.is_cancelled():
            error = pb_utils.TritonError("the request was cancelled", pb_utils.TritonError.CANCELLED)
            return pb_utils.InferenceResponse([], error)
        wanted = set(request.requested_output_names())
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            outputs = self._engine.run(inputs, [name for name in self._engine.outputs if name in wanted])
        except ShapeError as error:
            return _failed(error, pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # noqa: BLE001 - one bad batch must not end the process
            return _failed(error, pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


def _failed(error: Exception, code: Any) -> Any:
    return pb_utils.InferenceResponse([], pb_utils.TritonError(" ".join(str(error).split()), code))
