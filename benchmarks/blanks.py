"""What leaving frames that are surely blank out of a beam search saves of it."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.beams import CLIENTS, FRAME_SECONDS, IN_NOISE, LOADS, PIECE_SECONDS, spread
from benchmarks.log_probs import LogProbs, cut, log_probs_of, read_decoder
from benchmarks.result import Figure, Result
from shrota_decoder import beam
from shrota_decoder.decoder import Decoder

ROUNDS = 15


def measure(repository: Path, manifest: Path, rounds: int = ROUNDS) -> Result:
    """Searches with and without those frames in turns, without Triton."""
    pieces = cut(log_probs_of(repository, manifest), round(PIECE_SECONDS / FRAME_SECONDS), CLIENTS)
    return Result(
        "Beam searches: frames left out",
        f"Log-probabilities of the bundled checkpoint on {IN_NOISE}, {CLIENTS} pieces of {PIECE_SECONDS} s. The search "
        "alone, without Triton, with and without the frames that are surely blank; processor time, which neighbours "
        f"disturb less than the time on the clock; {rounds} rounds in turns; medians, and the median of the savings of "
        "the rounds.",
        left_out(read_decoder(repository), pieces, rounds),
    )


def left_out(decoder: Decoder, pieces: Sequence[LogProbs], rounds: int) -> list[Figure]:
    """The share of frames that the search does not get, and what that saves with each load."""
    figures = [Figure("frames left out of the search", share_left_out(decoder, pieces), "%")]
    for name, values in LOADS.items():
        parameters = decoder.read_parameters(values)
        decoder.prepare(parameters)

        def search_ms(parameters: Any = parameters) -> float:
            started = time.thread_time()
            for piece in pieces:
                decoder.beams.search(piece, parameters, {})
            return 1000 * (time.thread_time() - started) / (sum(map(len, pieces)) * FRAME_SECONDS)

        search_ms()
        pairs = []
        for _ in range(rounds):
            with thinned_by(keep_all):
                whole_ms = search_ms()
            pairs.append((whole_ms, search_ms()))
        figures += savings(name, pairs)
    return figures


def savings(name: str, pairs: Sequence[tuple[float, float]]) -> list[Figure]:
    """Of (time with all frames, time without the surely blank ones) of each round."""
    saved = [100 * (1 - thinned / whole) for whole, thinned in pairs]
    whole, thinned = (statistics.median(times) for times in zip(*pairs, strict=True))
    unit = "ms per s of audio"
    return [
        Figure(f"{name}: search of all frames", whole, unit),
        Figure(f"{name}: search without surely blank ones", thinned, unit),
        Figure(f"{name}: time of the search saved", statistics.median(saved), "%", note=spread(saved)),
    ]


def share_left_out(decoder: Decoder, pieces: Sequence[LogProbs]) -> float:
    """Per cent of the frames."""
    frames = {"all": 0, "kept": 0}
    original = beam.thin

    def count(columns: LogProbs, token_min_log_prob: float) -> tuple[LogProbs, float]:
        kept, constant = original(columns, token_min_log_prob)
        frames["all"] += len(columns)
        frames["kept"] += len(kept)
        return kept, constant

    parameters = decoder.read_parameters({"beam_width": 2})
    decoder.prepare(parameters)
    with thinned_by(count):
        for piece in pieces:
            decoder.beams.search(piece, parameters, {})
    return 100 * (1 - frames["kept"] / frames["all"])


def keep_all(columns: LogProbs, token_min_log_prob: float) -> tuple[LogProbs, float]:  # noqa: ARG001 - thin's
    """Leaves nothing out."""
    return columns, 0.0


@contextmanager
def thinned_by(thin: Any) -> Iterator[None]:
    """Puts another function in the place of ``beam.thin``."""
    original = beam.thin
    beam.thin = thin
    try:
        yield
    finally:
        beam.thin = original
