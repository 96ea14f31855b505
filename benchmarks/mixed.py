"""Many clients with utterances of mixed length: what the batcher keeps of the throughput of equal lengths."""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.grpc

from benchmarks.metrics import differences, read_metrics
from benchmarks.result import Figure, Result, at_least, at_most
from benchmarks.speech import RATE, Audio, cut, mixed_lengths
from shrota_client import Client
from shrota_server import TritonServer

CLIENTS = 16
UTTERANCES = 96
ROUNDS = 3
SHORTEST_S, LONGEST_S = 1.0, 20.0


def throughput(send: Callable[[Audio], object], utterances: Sequence[Audio]) -> float:
    """Audio-seconds per second while ``CLIENTS`` threads send the utterances, each its next one when it is answered."""
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in pool.map(send, utterances):
            pass
    return sum(audio.size for audio in utterances) / RATE / (time.perf_counter() - started)


def engine_sender(grpc_url: str) -> Callable[[Audio], object]:
    """Sends one utterance straight to ``acoustic_onnx``, as a client without the batcher would."""
    client = tritonclient.grpc.InferenceServerClient(grpc_url)

    def send(audio: Audio) -> object:
        samples = tritonclient.grpc.InferInput("AUDIO", [1, audio.size], "FP32")
        samples.set_data_from_numpy(audio[None])
        count = tritonclient.grpc.InferInput("NUM_SAMPLES", [1, 1], "INT32")
        count.set_data_from_numpy(np.array([[audio.size]], np.int32))
        return client.infer("acoustic_onnx", [samples, count])

    return send


def measure(repository: Path, speech: Audio, rounds: int = ROUNDS) -> Result:
    """Mixed lengths and equal lengths of the same audio, alternating; medians over the rounds."""
    lengths = mixed_lengths(UTTERANCES, SHORTEST_S, LONGEST_S)
    mixed = cut(speech, lengths)
    equal = cut(speech, [sum(lengths) / len(lengths)] * len(lengths))
    rates: dict[str, list[float]] = {"mixed": [], "equal": [], "engine": []}
    padded = total = rows = batches = 0.0
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server, Client(server.grpc_url) as client:
        engine = engine_sender(server.grpc_url)
        throughput(client.transcribe, mixed[: 2 * CLIENTS])
        for _ in range(rounds):
            before = read_metrics(server.metrics_url)
            rates["mixed"].append(throughput(client.transcribe, mixed))
            grown = differences(before, read_metrics(server.metrics_url))
            padded += grown["shrota_padded_seconds_total"]
            total += grown["shrota_engine_input_seconds_total"]
            rows += grown["shrota_engine_batch_rows_sum"]
            batches += grown["shrota_engine_batch_rows_count"]
            rates["equal"].append(throughput(client.transcribe, equal))
            rates["engine"].append(throughput(engine, mixed))
    median = {name: statistics.median(values) for name, values in rates.items()}
    spread = {name: f"{min(values):.1f} to {max(values):.1f}" for name, values in rates.items()}
    unit = "audio s/s"
    return Result(
        f"{CLIENTS} clients: utterances of {SHORTEST_S:g} to {LONGEST_S:g} s",
        f"The bundled checkpoint; {UTTERANCES} utterances of speech, {sum(lengths):.0f} s in all, sent to `asr` by "
        f"{CLIENTS} clients in mixed and in equal lengths, and the mixed ones straight to `acoustic_onnx` (Triton's "
        f"own batcher, which joins only equal lengths; no decoding); {rounds} rounds, alternating; medians.",
        [
            Figure("mixed lengths", median["mixed"], unit, note=spread["mixed"]),
            Figure("equal lengths", median["equal"], unit, note=spread["equal"]),
            at_least("mixed over equal", median["mixed"] / median["equal"], 0.90),
            at_most("padded share of the mixed load", 100 * padded / total, 10, "%"),
            Figure("rows per engine batch, mixed", rows / batches),
            Figure("mixed lengths straight to the engine", median["engine"], unit, note=spread["engine"]),
            Figure("batcher over straight", median["mixed"] / median["engine"]),
        ],
    )
