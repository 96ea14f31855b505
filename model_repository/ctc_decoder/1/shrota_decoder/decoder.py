"""One utterance's log-probabilities to its result, greedily or with a beam."""

import heapq
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shrota_decoder import greedy
from shrota_decoder.alignment import align, frames_needed, token_ids
from shrota_decoder.beam import BeamSearch, Reading
from shrota_decoder.errors import RequestCancelledError
from shrota_decoder.hotwords import weigh
from shrota_decoder.language_model import LanguageModel
from shrota_decoder.marks import attach_marks
from shrota_decoder.parameters import Parameters, check_names, read_parameters
from shrota_decoder.result import Alternative, Result
from shrota_decoder.segments import segment_starts
from shrota_decoder.settings import Settings
from shrota_decoder.vocabulary import Vocabulary


class Decoder:
    """Decodes utterances; safe in several threads."""

    def __init__(self, vocabulary: Vocabulary, language_model: LanguageModel | None, settings: Settings) -> None:
        self._vocabulary = vocabulary
        self._settings = settings
        self.beams = BeamSearch(vocabulary, language_model, settings)
        self._longest = max(1, int(settings.segment_seconds / vocabulary.frame_seconds))

    def prepare(self, parameters: Parameters) -> Any:
        """Loads what decoding with these parameters needs, and gives it, None for greedy decoding.

        Errors are those of ``BeamSearch.prepare``.
        """
        return self.beams.prepare(parameters) if parameters.beam_width > 1 else None

    def preload(self) -> None:
        """Loads the language model with the default weights, so that the first request need not wait for it.

        Raises:
            RequestRefusedError: Beams are the default, and the library for them is not installed.
            SettingsError: The language model cannot be loaded.
        """
        self.prepare(self._settings.defaults)
        if self.beams.can_load_language_model:
            self.beams.prepare(self._settings.defaults)

    def read_parameters(self, values: Mapping[str, object]) -> Parameters:
        """A request's parameters, checked as in ``parameters.check_names`` and ``parameters.read_parameters``."""
        check_names(values, self._settings.other_parameters)
        return read_parameters(values, self._settings.defaults, self._settings.limits)

    def decode(
        self,
        log_probs: NDArray[np.float32],
        duration: float,
        parameters: Parameters,
        is_cancelled: Callable[[], bool] = lambda: False,
        prepared: Any = None,
    ) -> Result:
        """One utterance's transcript.

        Args:
            log_probs: Natural log of the token probabilities, [frames, vocabulary]; no frame at all is allowed.
            duration: Seconds of audio.
            parameters: What the request asks for; it has been prepared for.
            is_cancelled: Whether nobody waits for it any more; asked before each segment of a beam search.
            prepared: What ``prepare`` gave for these parameters; all segments are searched with it.

        Raises:
            RequestCancelledError: It was cancelled.
            RequestRefusedError: A hotword cannot be spelled with the vocabulary.
        """
        if parameters.beam_width == 1:
            return greedy.decode(log_probs, duration, self._vocabulary)
        hotwords = weigh(parameters.hotwords, parameters.hotword_weight, self._vocabulary)
        if log_probs.shape[0] == 0:
            return greedy.decode(log_probs, duration, self._vocabulary)
        prepared = self.prepare(parameters) if prepared is None else prepared
        starts = segment_starts(log_probs, self._longest, self._vocabulary)
        segments = [log_probs[start:end] for start, end in itertools.pairwise([*starts, log_probs.shape[0]])]
        readings = []
        for segment in segments:
            if is_cancelled():
                raise RequestCancelledError("the request was cancelled")
            readings.append(self.beams.search(segment, parameters, hotwords, prepared) or [Reading((), 0.0)])
        path = self._align(segments, [each[0].words for each in readings])
        result = greedy.describe(log_probs, path, duration, self._vocabulary)
        if parameters.n_best == 1:
            return result
        joined = join(readings, parameters.n_best, spaced=self._vocabulary.delimiter_id is not None)
        alternatives = tuple(Alternative(" ".join(each.words), each.score) for each in joined)
        return Result(result.confidence, result.duration, result.words, alternatives)

    def _align(self, segments: list[NDArray[np.float32]], words: list[tuple[str, ...]]) -> NDArray[np.int64]:
        """The most probable path of each segment's words, joined, [frames]; a delimiter parts the segments."""
        paths = []
        for index, (segment, spoken) in enumerate(zip(segments, words, strict=True)):
            tokens = token_ids(spoken, self._vocabulary)
            delimiter = self._vocabulary.delimiter_id
            if tokens and delimiter is not None and any(words[index + 1 :]):
                parted = [*tokens, delimiter]
                tokens = parted if frames_needed(parted) <= segment.shape[0] else tokens
            paths.append(align(segment, tokens, self._vocabulary))
        return np.concatenate(paths)


def join(segments: list[list[Reading]], n_best: int, *, spaced: bool) -> list[Reading]:
    """The best readings of a whole out of those of its segments, best first; marks are joined across segments too.

    Args:
        segments: At least one reading for each segment, best first.
        n_best: How many to give at most.
        spaced: Whether a new segment begins a new word; without delimiters the whole is one word.
    """
    joined = [Reading((), 0.0)]
    for segment in segments:
        scores: dict[tuple[str, ...], float] = {}
        for left, right in itertools.product(joined, segment):
            words = attach_marks((*left.words, *right.words))
            scores[words] = max(scores.get(words, -np.inf), left.score + right.score)
        best = heapq.nlargest(n_best, scores.items(), key=lambda item: item[1])
        joined = [Reading(words, score) for words, score in best]
    if spaced:
        return joined
    return [Reading(("".join(each.words),) if each.words else (), each.score) for each in joined]
