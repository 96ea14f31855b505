"""The Python model ``asr`` of the client's tests: it answers with what it was sent, or fails as it is told."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """AUDIO [samples] -> RESULT, TRANSCRIPT; the request parameter ``fail`` names a Triton status to fail with."""

    def execute(self, requests: list) -> list:
        """Answers every request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: object) -> object:
        audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy()
        parameters = json.loads(request.parameters())
        time.sleep(float(parameters.get("sleep_s", 0)))
        if "fail" in parameters:
            code = getattr(pb_utils.TritonError, parameters["fail"])
            error = pb_utils.TritonError(parameters.get("message", "as you wish"), code)
            return pb_utils.InferenceResponse(output_tensors=[], error=error)
        text = f"नमस्ते {audio.size} {float(np.abs(audio).max()):.4f}"
        words = [{"word": word, "start": 0.0, "end": 0.5, "confidence": 0.9} for word in text.split()]
        result = {"text": text, "confidence": 0.9, "duration": audio.size / 16000, "words": words}
        result["alternatives"] = [{"text": text, "parameters": parameters}]
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("TRANSCRIPT", np.array([[text.encode()]], np.object_)),
                pb_utils.Tensor("RESULT", np.array([[json.dumps(result, ensure_ascii=False).encode()]], np.object_)),
            ]
        )
