"""What each way of decoding gives and costs, through Triton: word error rate on the samples, time on them in noise."""

import statistics
from functools import partial
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient

from benchmarks.beams import sender
from benchmarks.metrics import differences, read_metrics
from benchmarks.overhead import seconds
from benchmarks.result import Figure, Result
from benchmarks.speech import in_noise
from shrota_client import Client
from shrota_client.audio import read_audio
from shrota_client.manifest import read_manifest
from shrota_client.message import Parameter
from shrota_client.score import score_texts
from shrota_server import TritonServer

ROUNDS = 5
LOADS = 11
WAYS: dict[str, dict[str, Parameter]] = {
    "greedy": {},
    "beam of 100, no language model": {"beam_width": 100, "lm_weight": 0},
    "beam of 10": {"beam_width": 10},
    "beam of 100": {"beam_width": 100},
    "beam of 500": {"beam_width": 500},
}
"""Request parameters; language model and its weights are the defaults unless they say otherwise."""


def measure(repository: Path, manifest: Path, rounds: int = ROUNDS) -> Result:
    """Transcribes the samples, clean and in noise, in each way, and loads the language model with other weights."""
    utterances = read_manifest(manifest, need_text=True)
    clean = [read_audio(utterance.audio) for utterance in utterances]
    noisy = [in_noise(audio) for audio in clean]
    figures = []
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server, Client(server.grpc_url) as client:
        loading_s = time_of_loading(server.grpc_url)
        for name, parameters in WAYS.items():
            texts = [client.transcribe(audio, parameters=parameters).text for audio in clean]
            before = read_metrics(server.metrics_url)
            for _ in range(rounds):
                for audio in noisy:
                    client.transcribe(audio, parameters=parameters)
            grown = differences(before, read_metrics(server.metrics_url))
            audio_s = grown["shrota_decoded_audio_seconds_total"]
            words = score_texts([(str(each.text), text) for each, text in zip(utterances, texts, strict=True)]).words
            figures += [
                Figure(
                    f"{name}: word error rate",
                    100 * words.value,
                    "%",
                    note=f"{words.edits.errors} of {words.edits.reference_length}",
                ),
                Figure(
                    f"{name}: decoding, in noise",
                    1000 * grown["shrota_decode_seconds_total"] / audio_s,
                    "ms per s of audio",
                ),
            ]
    return Result(
        "Decoding: greedy, and beams with the bundled language model",
        f"The {len(clean)} files of `samples/` through `asr`, one after the other: as they are for the error rates, "
        f"and {rounds} times in white noise as loud as they are for the decoder's own time by its metrics, times and "
        "confidences of the words included (of the clean ones the checkpoint is too sure for honest beams). The "
        "weights of the language model are the defaults of `ctc_decoder/config.pbtxt`, not chosen by these files.",
        [
            *figures,
            Figure(
                "loading the language model for another pair of weights",
                1000 * statistics.median(loading_s),
                "ms",
                note=f"{1000 * loading_s[0]:.0f} to {1000 * loading_s[-1]:.0f}",
            ),
        ],
    )


def time_of_loading(grpc_url: str) -> list[float]:
    """Seconds that a request with new weights takes longer than one with the defaults, in ascending order.

    The defaults are loaded in each process from the start; which process is asked is Triton's choice.
    """
    frame = np.full((1, 68), -np.log(68), np.float32)
    longer_s = []
    with InferenceServerClient(grpc_url) as client:
        usual = sender(client, {"beam_width": 2})
        for number in range(LOADS):
            new = sender(client, {"beam_width": 2, "lm_weight": f"{1 + number / 100}"})
            usual_s = seconds(partial(usual, frame))
            longer_s.append(seconds(partial(new, frame)) - usual_s)
    return sorted(longer_s)
