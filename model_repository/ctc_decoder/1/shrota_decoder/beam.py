"""CTC prefix beam search with a language model and hotwords, by the C++ library ``ctc-beam-decoder``.

The library does what pyctcdecode does, without Python's lock; one decoder serves any number of threads. It is asked for
here in such a way that

* special tokens count as the blank, as in greedy decoding: no reading has one;
* frames that cannot change anything are left out: where no token but the blank may extend a beam, the second and all
  further frames in a row only add the same number to every beam. That number is added at the end, so a score changes by
  rounding alone, less than 0.001, and only readings that are no further apart can change places;
* in a reading no word but the first begins with a combining mark: the rule of ``marks.py`` is applied to the texts that
  the search has found, and texts that become one reading are one, of the sum of their weights. Language model and
  hotwords have weighed the words as they were before;
* with a language model, what ends in a delimiter or says nothing is not charged for an empty unknown word, as the
  library would: behind the last frame whose best token is a letter a delimiter counts as the blank;
* with a language model, where no frame's best token is a letter, nothing is said, and nothing is searched: the only
  reading is the empty one, and its score is the log of the probability of all paths without a letter. The library's own
  score of the empty text holds the charge for an unknown word, which any known word would undercut.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.errors import RequestRefusedError, SettingsError
from shrota_decoder.language_model import LanguageModel
from shrota_decoder.marks import attach_marks
from shrota_decoder.parameters import Parameters
from shrota_decoder.settings import Settings
from shrota_decoder.vocabulary import Vocabulary

try:
    import ctc_beam_decoder
except ImportError:  # NVIDIA's container has none; greedy decoding needs none
    ctc_beam_decoder = None

LEAST_LOG_PROB = -50.0
"""Impossible tokens are all but impossible: the library cannot count with minus infinity."""
BLANK, DELIMITER = 0, 1
"""The first columns that the library gets; the letters follow."""


@dataclass(frozen=True)
class Reading:
    """What may have been said, and the natural log of its weight in the search."""

    words: tuple[str, ...]
    score: float


class _Loaded:
    """A decoder of the library's, None until it has been loaded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoder: Any = None


class BeamSearch:
    """Beam searches with one vocabulary and, where there is one, one language model; safe in several threads."""

    def __init__(self, vocabulary: Vocabulary, language_model: LanguageModel | None, settings: Settings) -> None:
        self.language_model = language_model
        self._vocabulary = vocabulary
        self._settings = settings
        self._letter_ids = np.array(sorted(vocabulary.letters.values()), np.int64)
        self._silent_ids = np.array(sorted(vocabulary.special_ids), np.int64)
        self._labels = ["", " ", *(vocabulary.tokens[index] for index in self._letter_ids)]
        self._decoders: OrderedDict[tuple[float, float] | None, _Loaded] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def can_load_language_model(self) -> bool:
        """Whether there is one, and the library to load it."""
        return self.language_model is not None and ctc_beam_decoder is not None

    def prepare(self, parameters: Parameters) -> Any:
        """Loads what a search with these parameters needs, and gives it: the library's decoder.

        Whoever holds it can search with it though other weights have taken its place among those that are kept.

        Raises:
            RequestRefusedError: The library is not installed, or the request weighs a language model and none is there.
            SettingsError: The library cannot work with the vocabulary or the language model.
        """
        if ctc_beam_decoder is None:
            raise RequestRefusedError(
                "parameter `beam_width` above 1 needs a library that this server lacks: "
                "`pip install ctc-beam-decoder` into the server's Python, or leave it out"
            )
        if self.language_model is None and parameters.asks_for_lm:
            raise RequestRefusedError(
                "parameters `lm_weight` and `word_score` need a language model, and this server has none: "
                "install one with `shrota export lm FILE`, or leave them out"
            )
        return self._decoder(parameters)

    def search(
        self,
        log_probs: NDArray[np.float32],
        parameters: Parameters,
        hotwords: Mapping[str, float],
        prepared: Any = None,
    ) -> list[Reading]:
        """The best readings, the best one first; none where the search finds nothing.

        Where hotwords have different weights, a search runs for each weight with the words of at least that, and all
        readings are then weighed with each word's own.

        Args:
            log_probs: Natural log of the token probabilities, [frames, vocabulary], at least one frame.
            parameters: ``beam_width``, ``lm_weight``, ``word_score`` and ``n_best`` count here.
            hotwords: Words as the vocabulary spells them, and what each adds to a reading, above 0.
            prepared: What ``prepare`` gave for these parameters; without it, it is looked up, or loaded again.
        """
        decoder = self._decoder(parameters) if prepared is None else prepared
        has_lm = self._has_lm(parameters)
        columns = self._columns(log_probs)
        if has_lm:
            letters = np.flatnonzero(np.isin(log_probs.argmax(axis=1), self._letter_ids))
            silent_from = int(letters[-1]) + 1 if letters.size else 0
            fold_delimiters(columns[silent_from:])
            if silent_from == 0:
                return [Reading((), float(columns[:, BLANK].sum(dtype=np.float64)))]
        kept, constant = thin(columns, self._settings.token_min_log_prob)
        scores: dict[str, float] = {}
        for weight in sorted(set(hotwords.values())) or [0.0]:
            words = [word for word, boost in hotwords.items() if boost >= weight]
            beams = decoder.decode_beams(
                kept,
                beam_width=parameters.beam_width,
                beam_prune_logp=self._settings.beam_min_log_prob,
                token_min_logp=self._settings.token_min_log_prob,
                hotwords=words,
                hotword_weight=weight,
            )
            for text, _, _, _, score in beams:
                found = [hotwords[word] for word in text.split(" ") if word in hotwords]
                corrected = score + sum(boost - (weight if boost >= weight else 0.0) for boost in found)
                scores[text] = max(scores.get(text, -np.inf), corrected)
        weights: dict[tuple[str, ...], float] = {}
        for text, score in scores.items():
            spoken = attach_marks(text.split(" ") if text else ())
            weights[spoken] = float(np.logaddexp(weights.get(spoken, -np.inf), score))
        ranked = sorted(weights.items(), key=lambda item: -item[1])[: parameters.n_best]
        return [Reading(spoken, score + constant) for spoken, score in ranked]

    def _has_lm(self, parameters: Parameters) -> bool:
        return self.language_model is not None and parameters.lm_weight > 0

    def _columns(self, log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised log-probabilities of blank, delimiter and letters, [frames, 2 + letters]."""
        finite = np.maximum(log_probs, LEAST_LOG_PROB)
        columns = np.full((log_probs.shape[0], len(self._labels)), LEAST_LOG_PROB, np.float32)
        columns[:, BLANK] = log_sum_exp(finite[:, self._silent_ids])[:, 0]
        if self._vocabulary.delimiter_id is not None:
            columns[:, DELIMITER] = finite[:, self._vocabulary.delimiter_id]
        columns[:, 2:] = finite[:, self._letter_ids]
        normalized: NDArray[np.float32] = columns - log_sum_exp(columns)
        return normalized

    def _decoder(self, parameters: Parameters) -> Any:
        """The library's decoder for the weights, loaded if it is not there; the least recently used one makes room.

        The library fixes the weights when it loads the language model, so each pair of them is a copy of it. In
        memory are the ``lm_copies`` that are kept, and others for as long as a search or its caller holds them.
        """
        key = (parameters.lm_weight, parameters.word_score) if self._has_lm(parameters) else None
        with self._lock:
            loaded = self._decoders.setdefault(key, _Loaded())
            self._decoders.move_to_end(key)
        with loaded.lock:  # others with the same weights wait; those with other weights go on
            if loaded.decoder is None:
                try:
                    loaded.decoder = self._load(key)
                except BaseException:  # those that work keep their places
                    with self._lock:
                        if self._decoders.get(key) is loaded:
                            del self._decoders[key]
                    raise
        with self._lock:
            with_lm = [each for each, copy in self._decoders.items() if each is not None and copy.decoder is not None]
            for oldest in with_lm[: -self._settings.lm_copies]:
                del self._decoders[oldest]
        return loaded.decoder

    def _load(self, weights: tuple[float, float] | None) -> Any:
        if weights is not None and self.language_model is not None and self.language_model.was_replaced():
            raise SettingsError(
                f"{self.language_model.path} was replaced: restart the server, or load ctc_decoder again"
            )
        try:
            if weights is None or self.language_model is None:
                return ctc_beam_decoder.BeamSearchDecoder(self._labels)
            return ctc_beam_decoder.BeamSearchDecoder(
                self._labels,
                kenlm_model_path=self.language_model.path,
                unigrams=self.language_model.words,
                alpha=weights[0],
                beta=weights[1],
                unk_score_offset=self._settings.unknown_word_log10_prob,
            )
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split()) or repr(error)
            raise SettingsError(f"the beam search cannot be set up: {reason}") from error


def log_sum_exp(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The log of the sum of each row's exponentials, [rows, 1]; several times as fast as ``np.logaddexp.reduce``."""
    highest = values.max(axis=1, keepdims=True)
    sums: NDArray[np.float32] = highest + np.log(np.exp(values - highest).sum(axis=1, keepdims=True))
    return sums


def fold_delimiters(columns: NDArray[np.float32]) -> None:
    """Makes the delimiter count as the blank, in place, in columns of [frames, 2 + letters]."""
    columns[:, BLANK] = np.logaddexp(columns[:, BLANK], columns[:, DELIMITER])
    columns[:, DELIMITER] = LEAST_LOG_PROB


def thin(columns: NDArray[np.float32], token_min_log_prob: float) -> tuple[NDArray[np.float32], float]:
    """Leaves out the frames that add the same to every beam.

    Args:
        columns: Normalised log-probabilities, [frames, columns], the blank's first.
        token_min_log_prob: What a token needs to extend a beam, unless it is the frame's best.

    Returns:
        The other frames, and the sum of the blank's log-probabilities of those left out.
    """
    blank_only = (columns[:, BLANK] > columns[:, 1:].max(axis=1)) & (columns[:, 1:] < token_min_log_prob).all(axis=1)
    left_out = np.r_[False, blank_only[1:] & blank_only[:-1]]
    return columns[~left_out], float(columns[left_out, BLANK].sum(dtype=np.float64))
