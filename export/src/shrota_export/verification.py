"""Compares an exported graph with the Hugging Face model and feature extractor, on speech."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from shrota_export.engines import Engine, Floats, run_rows
from shrota_export.errors import SpeechError, VerificationError
from shrota_export.progress import each
from shrota_export.speech import Utterance

TOLERANCE = 1e-3
"""Largest difference in log-probability between the graph and the checkpoint."""
INVARIANCE_TOLERANCE = 1e-4
"""Largest difference in log-probability between an utterance alone and the same one padded or in a batch."""

PADDING = 1234
"""Samples of noise behind the longest utterance, too."""
CASES = {"alone": "alone", "padded": "padded with noise", "batch": "in a batch with other lengths"}


def reference_log_probs(model: Any, extractor: Any, utterances: Sequence[Utterance]) -> list[Floats]:
    """What the checkpoint itself gives for each utterance alone: [F, V] each, natural log.

    Raises:
        SpeechError: if an utterance is too short for the model.
    """
    references = []
    for utterance in each(utterances, "checkpoint on speech"):
        features = extractor(utterance.samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        try:
            with torch.inference_mode():
                logits = model(features["input_values"]).logits[0]
        except RuntimeError as error:
            raise SpeechError(
                f"{utterance.name} is too short to verify with ({utterance.samples.size} samples)"
            ) from error
        references.append(torch.log_softmax(logits, dim=-1).numpy())
    return references


def verify(
    engine: Engine, utterances: Sequence[Utterance], references: Sequence[Floats], receptive_field: int
) -> dict[str, float]:
    """Runs every utterance alone, padded with noise, and in a batch with neighbours of other lengths.

    ``receptive_field`` is in samples: a row of one fewer must give no frame.

    Returns:
        The largest difference from ``references`` in each case, and as ``invariance`` the largest difference between
        an utterance alone and the same one elsewhere.

    Raises:
        VerificationError: if a difference is above its tolerance; it names the worst place.
    """
    names = [utterance.name for utterance in utterances]
    alone = [run_rows(engine, [utterance.samples])[0] for utterance in each(utterances, "graph, alone")]
    largest = {"alone": _check("alone", names, alone, references, TOLERANCE)}
    invariance = 0.0
    elsewhere = {
        "padded": _run_padded(engine, utterances),
        "batch": _run_batch(engine, utterances, receptive_field - 1),
    }
    for case, rows in elsewhere.items():
        largest[case] = _check(case, names, rows, references, TOLERANCE)
        invariance = max(invariance, _check(case, names, rows, alone, INVARIANCE_TOLERANCE, of="itself alone"))
    return {**largest, "invariance": invariance}


def _run_padded(engine: Engine, utterances: Sequence[Utterance]) -> list[Floats]:
    """Each utterance alone, with loud noise behind its end, which must not matter."""
    longest = max(utterance.samples.size for utterance in utterances)
    random = np.random.default_rng(0)
    rows = []
    for utterance in each(utterances, "graph, padded"):
        padding = random.normal(0.5, 0.5, longest + PADDING - utterance.samples.size).astype(np.float32)
        rows += run_rows(engine, [utterance.samples], behind=padding)
    return rows


def _run_batch(engine: Engine, utterances: Sequence[Utterance], too_short: int) -> list[Floats]:
    """All utterances in one batch, beside a row without samples and one of ``too_short`` samples for a frame."""
    empty = [np.zeros(0, np.float32), utterances[0].samples[:too_short]]
    rows = run_rows(engine, [*empty, *(utterance.samples for utterance in utterances)])
    for samples, row in zip(empty, rows, strict=False):
        if row.shape[0]:
            raise VerificationError(
                f"the graph gives {row.shape[0]} frames for {samples.size} samples; nothing was written"
            )
    return rows[len(empty) :]


def _check(
    case: str,
    names: Sequence[str],
    rows: Sequence[Floats],
    references: Sequence[Floats],
    tolerance: float,
    *,
    of: str = "the checkpoint",
) -> float:
    """The largest difference between rows and what they should be, each [F, V]; raises if it is above the tolerance."""
    largest = 0.0
    worst = ""
    for name, row, reference in zip(names, rows, references, strict=True):
        place = f"{name}, {CASES[case]}"
        if row.shape != reference.shape:
            raise VerificationError(
                f"the exported graph gives {len(row)} frames instead of {len(reference)}: {place}; nothing was written"
            )
        by_frame = np.abs(row - reference).max(axis=1)
        by_frame = np.where(np.isnan(by_frame), np.inf, by_frame)
        frame = int(by_frame.argmax())
        if by_frame[frame] >= largest:
            largest, worst = float(by_frame[frame]), f"{place}, frame {frame} of {len(reference)}"
    if largest > tolerance:
        raise VerificationError(
            f"the exported graph differs from {of} by {largest:.3g} in log-probability (at most {tolerance:g}): "
            f"{worst}; nothing was written"
        )
    return largest
