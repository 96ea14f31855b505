"""The bundled checkpoint, one client, 10 s of speech: how many times faster than real time."""

import statistics
from functools import partial
from pathlib import Path

from benchmarks.overhead import seconds
from benchmarks.result import Figure, Result, at_least
from benchmarks.speech import Audio, cut
from shrota_client import Client
from shrota_server import TritonServer

ROUNDS = 36
LENGTH_S = 10.0
BAR = 60.0


def measure(repository: Path, speech: Audio, rounds: int = ROUNDS) -> Result:
    """Sends 10 s utterances one after the other; the median of the times."""
    utterances = cut(speech, [LENGTH_S] * rounds)
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server, Client(server.grpc_url) as client:
        client.transcribe(utterances[0])
        times_s = sorted(seconds(partial(client.transcribe, audio)) for audio in utterances)
    median_s = statistics.median(times_s)
    return Result(
        "One client: the bundled checkpoint",
        f"{rounds} utterances of {LENGTH_S:g} s of speech through gRPC, one after the other, ONNX Runtime in float32; "
        "the median.",
        [
            Figure("one utterance", 1000 * median_s, "ms", note=f"{1000 * times_s[0]:.0f} to {1000 * times_s[-1]:.0f}"),
            at_least(
                "times faster than real time",
                LENGTH_S / median_s,
                BAR,
                note=f"quartiles {LENGTH_S / times_s[-1 - rounds // 4]:.0f} and {LENGTH_S / times_s[rounds // 4]:.0f}",
            ),
        ],
    )
