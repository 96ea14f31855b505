"""What is compared: an engine, with what is known of it."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from shrota_export.engines import Engine, open_engine, run_rows
from shrota_export.errors import GraphError
from shrota_export.paths import FRONTEND, VOCABULARY
from shrota_export.precision.emulation import emulate
from shrota_export.precision.graphs import load_graph, session_source
from shrota_export.precision.kinds import Precision, precision_of
from shrota_export.vocabulary import Vocabulary

MOST_RECEPTIVE = 16000
"""Samples; no extractor of the family sees more for one frame."""


@dataclass(frozen=True)
class Subject:
    """An engine under comparison.

    Attributes:
        name: for messages.
        engine: runs batches.
        precision: decides the default thresholds.
        model: its graph, where it is one, to find the first tensor that departs.
        vocabulary: its tokens; None where they are not known.
        sample_rate: Hz.
        note: what the reader of a result must know of how it was run.
    """

    name: str
    engine: Engine
    precision: Precision
    model: onnx.ModelProto | None = None
    vocabulary: Vocabulary | None = None
    sample_rate: int = 16000
    note: str = ""

    def beside(
        self, name: str, engine: Engine, precision: Precision, model: onnx.ModelProto | None = None
    ) -> "Subject":
        """Another engine for the same tokens and sample rate."""
        return replace(self, name=name, engine=engine, precision=precision, model=model, note="")

    @cached_property
    def receptive_field(self) -> int:
        """The fewest samples that give a frame, found by bisection.

        Raises:
            GraphError: even a second gives none.
        """
        too_few, enough = 0, MOST_RECEPTIVE
        if not self._frames(enough):
            raise GraphError(f"{self.name} gives no frame for {enough} samples: it is no engine for audio")
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            too_few, enough = (too_few, middle) if self._frames(middle) else (middle, enough)
        return enough

    def _frames(self, num_samples: int) -> int:
        silence = np.zeros(num_samples, np.float32)
        return len(run_rows(self.engine, [silence], width=MOST_RECEPTIVE)[0])


def open_subject(path: Path, *, vocabulary: Path | None = None, fuse: bool = True) -> Subject:
    """An ONNX graph, with the tokens and the sample rate of the model repository that it lies in.

    Half precision is emulated, see :mod:`shrota_export.precision.emulation`.

    Args:
        path: the graph.
        vocabulary: a ``vocab.json``, if not the repository's.
        fuse: whether ONNX Runtime may fuse nodes.

    Raises:
        GraphError: the file is no graph of an engine that ONNX Runtime runs, or a file beside it is broken.
    """
    model = load_graph(path)
    repository = path.resolve().parents[2] if len(path.resolve().parents) > 2 else path.parent  # noqa: PLR2004
    frontend = _read_json(repository / FRONTEND) or {}
    return make_subject(
        str(path),
        model,
        vocabulary=_read_vocabulary(vocabulary or repository / VOCABULARY, needed=vocabulary is not None),
        sample_rate=int(frontend.get("sample_rate", 16000)),
        fuse=fuse,
    )


def make_subject(
    name: str,
    model: onnx.ModelProto,
    *,
    vocabulary: Vocabulary | None = None,
    sample_rate: int = 16000,
    fuse: bool = True,
) -> Subject:
    """A graph in memory, see :func:`open_subject`.

    Raises:
        GraphError: ONNX Runtime does not load it.
    """
    precision = precision_of(model)
    runnable = emulate(model)
    try:
        with session_source(runnable) as source:
            engine = open_engine(source, fuse=fuse)
        if precision is Precision.FP16:
            with session_source(model) as source:
                open_engine(source)  # what is emulated must load as well
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        reason = " ".join(str(error).split())[:300]
        raise GraphError(f"{name} is not loaded by ONNX Runtime: {reason}") from error
    note = f"{precision} emulated: float32 arithmetic, every low tensor rounded" if precision.is_half else ""
    return Subject(name, engine, precision, runnable, vocabulary, sample_rate, note)


def _read_vocabulary(path: Path, *, needed: bool) -> Vocabulary | None:
    content = _read_json(path)
    if content is None:
        if needed:
            raise GraphError(f"there is no vocabulary at {path}")
        return None
    try:
        return Vocabulary(
            list(content["tokens"]), content["blank"], content["word_delimiter"], list(content["special_tokens"])
        )
    except (KeyError, TypeError) as error:
        raise GraphError(f"{path} is no vocab.json of an export ({error!r} is missing)") from error


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise GraphError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise GraphError(f"{path} does not hold a JSON object")
    return content
