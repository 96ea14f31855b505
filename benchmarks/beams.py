"""Many beam searches at once: what each width costs beside the large engine, and how searches share the cores."""

import hashlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

from benchmarks.log_probs import LogProbs, cut, log_probs_of
from benchmarks.metrics import differences, read_metrics
from benchmarks.overhead import bare_session, seconds
from benchmarks.result import Figure, Result, at_least, at_most
from benchmarks.speech import RATE, Audio
from shrota_server import TritonServer

WIDTHS = (1, 8, 16, 32, 64, 100, 500)
GREEDY_BAR, BEAM_BAR, SCALING_BAR = 1.0, 15.0, 0.8
CLIENTS = 16
PIECES = 64
FRAME_SECONDS = 0.02
PIECE_SECONDS = 10
ROUNDS = 7
ENGINE_SECONDS = 10
BLOCK = bytes(1_000_000)
IN_NOISE = "`samples/` in white noise as loud as they are (of the clean ones it is too sure for more than one reading)"
LOADS: dict[str, dict[str, Any]] = {
    "beam of 32": {"beam_width": 32},
    "beam of 500, no language model": {"beam_width": 500, "lm_weight": 0},
}


def measure(repository: Path, large: Path, manifest: Path, speech: Audio, rounds: int = ROUNDS) -> Result:
    """Widths and the large engine in turns, then loads of one and of ``CLIENTS`` requests at a time in turns."""
    pieces = cut(log_probs_of(repository, manifest), round(PIECE_SECONDS / FRAME_SECONDS), PIECES)
    with TritonServer(repository, models=["ctc_decoder"]) as server, InferenceServerClient(server.grpc_url) as client:
        figures = widths(
            server,
            client,
            pieces=pieces[:CLIENTS],
            engine=bare_session(large),
            audio=speech[: ENGINE_SECONDS * RATE],
            rounds=rounds,
        )
        for name, parameters in LOADS.items():
            figures += concurrency(name, sender(client, parameters), pieces, rounds)
    return Result(
        "Beam searches: their cost beside the large engine, and many at a time",
        f"Log-probabilities of the bundled checkpoint on {IN_NOISE}, in pieces of {PIECE_SECONDS} s, straight to "
        f"`ctc_decoder`. Widths: {CLIENTS} pieces one after the other, the decoder's own time by its metrics, with the "
        "bundled language model, times and confidences included; the large engine is the published architecture with "
        f"random weights, bare ONNX Runtime on all cores, {ENGINE_SECONDS} s of audio. At a time: {PIECES} pieces by "
        f"one client and by {CLIENTS}, on the clock. The control is native code that needs no lock, by one thread and "
        f"by {CLIENTS} in the same round: what the cores had to give. {rounds} rounds, all in turns; medians.",
        figures,
    )


def widths(
    server: TritonServer,
    client: InferenceServerClient,
    *,
    pieces: Sequence[LogProbs],
    engine: Callable[[Audio], object],
    audio: Audio,
    rounds: int,
) -> list[Figure]:
    """Milliseconds per second of audio for each beam width, and their share of the engine's."""
    costs: dict[int, list[float]] = {width: [] for width in WIDTHS}
    engine_ms = []
    senders = {width: sender(client, {"beam_width": width}) for width in WIDTHS}
    for number in range(rounds + 1):
        grown_ms = {}
        for width, send in senders.items():
            before = read_metrics(server.metrics_url)
            for piece in pieces:
                send(piece)
            grown = differences(before, read_metrics(server.metrics_url))
            seconds_decoded = grown["shrota_decoded_audio_seconds_total"]
            grown_ms[width] = 1000 * grown["shrota_decode_seconds_total"] / seconds_decoded
        one_s = seconds(lambda: engine(audio))
        if number:  # the first round loads and allocates
            engine_ms.append(1000 * one_s / ENGINE_SECONDS)
            for width, cost in grown_ms.items():
                costs[width].append(cost)
    return costs_beside(engine_ms, costs)


def costs_beside(engine_ms: Sequence[float], costs: Mapping[int, Sequence[float]]) -> list[Figure]:
    """Of the costs of each width in each round, and of the engine's in the same rounds, in ms per s of audio."""
    unit = "ms per s of audio"
    figures = [Figure("the large engine", statistics.median(engine_ms), unit, note=spread(engine_ms))]
    figures += [
        Figure(name_of(width), statistics.median(cost), unit, note=spread(cost)) for width, cost in costs.items()
    ]
    for width, bar in ((1, GREEDY_BAR), (32, BEAM_BAR)):
        shares = [100 * cost / alone for cost, alone in zip(costs[width], engine_ms, strict=True)]
        name = f"{name_of(width)} over the large engine"
        figures.append(at_most(name, statistics.median(shares), bar, "%", note=spread(shares)))
    return figures


def name_of(width: int) -> str:
    """What a beam of this width is called."""
    return "greedy" if width == 1 else f"beam of {width}"


def concurrency(name: str, send: Callable[[LogProbs], object], pieces: Sequence[LogProbs], rounds: int) -> list[Figure]:
    """How much more is decoded in the same time by ``CLIENTS`` at a time than one at a time, and the control."""
    times = []
    for number in range(rounds + 1):
        alone_s = seconds(lambda: run(send, pieces, 1))
        together_s = seconds(lambda: run(send, pieces, CLIENTS))
        control = seconds(lambda: run(digest, pieces, 1)) / seconds(lambda: run(digest, pieces, CLIENTS))
        if number:
            times.append((alone_s, together_s, control))
    return gains_of(name, times, len(pieces) * PIECE_SECONDS)


def gains_of(name: str, times: Sequence[tuple[float, float, float]], audio_s: float) -> list[Figure]:
    """Of (seconds one at a time, seconds ``CLIENTS`` at a time, gain of the control) of each round."""
    one_s, many_s, controls = zip(*times, strict=True)
    gains = [one / many for one, many, _ in times]
    shares = [one / many / control for one, many, control in times]
    rates = [[audio_s / each for each in taken] for taken in (one_s, many_s)]
    return [
        Figure(f"{name}, one at a time", statistics.median(rates[0]), "audio s/s", note=spread(rates[0])),
        Figure(f"{name}, {CLIENTS} at a time", statistics.median(rates[1]), "audio s/s", note=spread(rates[1])),
        Figure(f"{name}, {CLIENTS} at a time over one", statistics.median(gains), note=spread(gains)),
        Figure(f"{name}, the control", statistics.median(controls), note=spread(controls)),
        at_least(f"{name}, over the control", statistics.median(shares), SCALING_BAR, note=spread(shares)),
    ]


def sender(client: InferenceServerClient, parameters: dict[str, Any]) -> Callable[[LogProbs], object]:
    """Sends one piece to ``ctc_decoder``."""

    def send(piece: LogProbs) -> object:
        log_probs = InferInput("LOG_PROBS", [1, *piece.shape], "FP32")
        log_probs.set_data_from_numpy(piece[None])
        duration = InferInput("DURATION", [1, 1], "FP32")
        duration.set_data_from_numpy(np.array([[piece.shape[0] * FRAME_SECONDS]], np.float32))
        return client.infer("ctc_decoder", [log_probs, duration], parameters=parameters)

    return send


def digest(_: LogProbs) -> None:
    """Some milliseconds of native code that needs no lock of Python's."""
    hashlib.sha256(BLOCK).digest()


def run(send: Callable[[LogProbs], object], pieces: Sequence[LogProbs], clients: int) -> None:
    """Sends all pieces, so many at a time."""
    with ThreadPoolExecutor(clients) as pool:
        for _ in pool.map(send, pieces):
            pass


def spread(values: Sequence[float]) -> str:
    """The least and the most."""
    return " to ".join(f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in (min(values), max(values)))
