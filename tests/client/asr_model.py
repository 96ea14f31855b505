"""The Python model ``asr`` of the client's tests: it answers with what it was sent, or fails as it is told.

Request parameters: ``fail`` names a Triton status to fail with (``message`` its message), ``sleep_s`` waits first.
"""

import json
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """AUDIO [samples] -> TRANSCRIPT, RESULT."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers every request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy()
        parameters = json.loads(request.parameters())
        time.sleep(float(parameters.get("sleep_s", 0)))
        if "fail" in parameters:
            code = getattr(pb_utils.TritonError, parameters["fail"])
            error = pb_utils.TritonError(parameters.get("message", "as you wish"), code)
            return pb_utils.InferenceResponse(output_tensors=[], error=error)
        # RMS in thousandths shows that the samples came through
        text = f"नमस्ते {audio.size} {round(float(np.sqrt(np.mean(audio**2))) * 1000)}"
        duration = audio.size / 16000
        words = [{"word": word, "start": 0.0, "end": duration, "confidence": 0.9} for word in text.split()]
        alternatives = [{"text": text, "parameters": parameters}]
        result = {"text": text, "confidence": 0.9, "duration": duration, "words": words, "alternatives": alternatives}
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("TRANSCRIPT", np.array([[text.encode()]], np.object_)),
                pb_utils.Tensor("RESULT", np.array([[json.dumps(result, ensure_ascii=False).encode()]], np.object_)),
            ]
        )
