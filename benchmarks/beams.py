"""Many beam searches at once: what each width costs beside the large engine, and how searches share the cores."""

import hashlib
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

from benchmarks.log_probs import LogProbs, Spoken, cut, log_probs_of, read_decoder
from benchmarks.metrics import differences, read_metrics
from benchmarks.overhead import bare_session, seconds
from benchmarks.result import Figure, Result, at_most
from benchmarks.speech import RATE, Audio
from shrota_server import TritonServer

WIDTHS = (1, 8, 16, 32, 64, 100)
GREEDY_BAR, BEAM_BAR = 1.0, 15.0
CLIENTS = 16
PIECES = 64
FRAME_SECONDS = 0.02
PIECE_SECONDS = 10
ROUNDS = 7
ENGINE_SECONDS = 10
BLOCK = bytes(1_000_000)
LOADS: dict[str, dict[str, Any]] = {
    "beam of 32": {"beam_width": 32},
    "beam of 500, no language model": {"beam_width": 500, "lm_weight": 0},
}


def measure(repository: Path, large: Path, manifest: Path, speech: Audio, rounds: int = ROUNDS) -> Result:
    """Widths and the large engine in turns, then loads of one and of ``CLIENTS`` requests at a time in turns."""
    spoken = log_probs_of(repository, manifest)
    pieces = cut(spoken, round(PIECE_SECONDS / FRAME_SECONDS), PIECES)
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
    figures += left_out(repository, spoken, rounds)
    return Result(
        "Beam searches: their cost beside the large engine, and many at a time",
        f"Log-probabilities of the bundled checkpoint on `samples/`, in pieces of {PIECE_SECONDS} s, straight to "
        f"`ctc_decoder`. Widths: {CLIENTS} pieces one after the other, the decoder's own time by its metrics, with the "
        "bundled language model, times and confidences included; the large engine is the published architecture with "
        f"random weights, bare ONNX Runtime on all cores, {ENGINE_SECONDS} s of audio. At a time: {PIECES} pieces by "
        f"one client and by {CLIENTS}, on the clock. The control is native code that needs no lock, by one thread and "
        f"by {CLIENTS} in the same round: what the cores had to give. Left out: the search without Triton, with and "
        f"without the frames that are surely blank. {rounds} rounds, all in turns; medians.",
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
    unit = "ms per s of audio"
    figures = [Figure("the large engine", statistics.median(engine_ms), unit, note=spread(engine_ms))]
    for width in WIDTHS:
        name = "greedy" if width == 1 else f"beam of {width}"
        figures.append(Figure(name, statistics.median(costs[width]), unit, note=spread(costs[width])))
    for width, bar in ((1, GREEDY_BAR), (32, BEAM_BAR)):
        shares = [100 * cost / alone for cost, alone in zip(costs[width], engine_ms, strict=True)]
        name = "greedy" if width == 1 else f"beam of {width}"
        figures.append(
            at_most(f"{name} over the large engine", statistics.median(shares), bar, "%", note=spread(shares))
        )
    return figures


def concurrency(name: str, send: Callable[[LogProbs], object], pieces: Sequence[LogProbs], rounds: int) -> list[Figure]:
    """How much more is decoded in the same time by ``CLIENTS`` at a time than one at a time, and the control."""
    one_s, many_s, gains, controls = [], [], [], []
    for number in range(rounds + 1):
        alone = seconds(lambda: run(send, pieces, 1))
        together = seconds(lambda: run(send, pieces, CLIENTS))
        control = seconds(lambda: run(digest, pieces, 1)) / seconds(lambda: run(digest, pieces, CLIENTS))
        if number:
            one_s.append(alone)
            many_s.append(together)
            gains.append(alone / together)
            controls.append(control)
    audio_s = len(pieces) * PIECE_SECONDS
    rates = [[audio_s / each for each in times] for times in (one_s, many_s)]
    return [
        Figure(f"{name}, one at a time", statistics.median(rates[0]), "audio s/s", note=spread(rates[0])),
        Figure(f"{name}, {CLIENTS} at a time", statistics.median(rates[1]), "audio s/s", note=spread(rates[1])),
        Figure(f"{name}, {CLIENTS} at a time over one", statistics.median(gains), note=spread(gains)),
        Figure(f"{name}, the control", statistics.median(controls), note=spread(controls)),
    ]


def left_out(repository: Path, spoken: Sequence[Spoken], rounds: int) -> list[Figure]:
    """What leaving out surely blank frames saves of the search alone, with a beam of 32 and the language model."""
    from shrota_decoder import beam  # noqa: PLC0415 - found by benchmarks.log_probs

    decoder = read_decoder(repository)
    parameters = decoder.read_parameters({"beam_width": 32})
    decoder.prepare(parameters)
    original = beam.thin
    counts = {"all": 0, "kept": 0}

    def counted(columns: LogProbs, token_min_log_prob: float) -> tuple[LogProbs, float]:
        kept, constant = original(columns, token_min_log_prob)
        counts["all"] += columns.shape[0]
        counts["kept"] += kept.shape[0]
        return kept, constant

    def search() -> None:
        for each in spoken:
            decoder.beams.search(each.log_probs, parameters, {})

    beam.thin = counted
    search()
    times: dict[str, list[float]] = {"with": [], "without": []}
    try:
        for _ in range(rounds):
            beam.thin = original
            times["with"].append(seconds(search))
            beam.thin = lambda columns, token_min_log_prob: (columns, 0.0)  # noqa: ARG005 - thin's names
            times["without"].append(seconds(search))
    finally:
        beam.thin = original
    audio_s = sum(each.seconds for each in spoken)
    saved = [100 * (1 - short / whole) for short, whole in zip(times["with"], times["without"], strict=True)]
    unit = "ms per s of audio"
    return [
        Figure("frames left out of the search", 100 * (1 - counts["kept"] / counts["all"]), "%"),
        Figure("search of all frames", 1000 * statistics.median(times["without"]) / audio_s, unit),
        Figure("search without those left out", 1000 * statistics.median(times["with"]) / audio_s, unit),
        Figure("time of the search saved", statistics.median(saved), "%", note=spread(saved)),
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
    return f"{min(values):.3g} to {max(values):.3g}"
