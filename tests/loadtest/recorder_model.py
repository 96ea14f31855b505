"""The Python model ``recorder``: it writes down what it was sent, a line for each row."""

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """AUDIO [samples] -> SAMPLES [1]."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """The record stands beside the repository's model."""
        self._record = Path(arguments["model_repository"]) / "record.txt"

    def execute(self, requests: list[Any]) -> list[Any]:
        """Writes number of samples, first sample and rows of the request, and answers the number."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy()
        with self._record.open("a", encoding="utf-8") as record:
            record.writelines(f"{row.size} {row[0]:g} {len(audio)}\n" for row in audio)
        sizes = np.full((len(audio), 1), audio.shape[1], np.int32)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("SAMPLES", sizes)])
