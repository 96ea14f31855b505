"""What Triton counted between two moments of a load test."""

from dataclasses import dataclass
from typing import Any

from shrota_loadtest.metrics import Batching, growth, mean_times, plain, read_page, sums, times_of

MODELS = ("asr", "acoustic", "acoustic_onnx", "acoustic_trt", "acoustic_torch", "acoustic_openvino", "ctc_decoder")
TOTAL = "total"
"""Seconds from a request's arrival at a model to its answer."""


@dataclass(frozen=True)
class Counters:
    """The counters at one moment."""

    all: dict[str, float]
    models: dict[str, dict[str, float]]

    @classmethod
    def read(cls, metrics_url: str) -> "Counters":
        """Now.

        Raises:
            LoadTestError: the page cannot be read.
        """
        page = read_page(metrics_url)
        models = {}
        for model in MODELS:
            found = sums(page, f'model="{model}"')
            models[model] = {**times_of(found), TOTAL: found.get("nv_inference_request_duration_us", 0.0) / 1e6}
        return cls(sums(page), models)

    def until(self, later: "Counters") -> dict[str, Any] | None:
        """Batches, and mean seconds a request of each model that was called, between two moments.

        None where a counter of requests has fallen: the server was started again between them.
        """
        if any(self.models[model]["requests"] > times["requests"] for model, times in later.models.items()):
            return None
        grown = {model: growth(self.models[model], times) for model, times in later.models.items()}
        return {
            "batching": plain(Batching.of(growth(self.all, later.all))),
            "models": {
                model: {
                    "requests": times["requests"],
                    TOTAL: times[TOTAL] / times["requests"],
                    **mean_times(times),
                }
                for model, times in grown.items()
                if times["requests"]
            },
        }
