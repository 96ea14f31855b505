"""The decoder's weights on a development set, through a server: one run of its engine, then its decoder for each pair.

So what is measured is the server's own decoder with its language model, settings and limits.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shrota_client.alignment import Edits
from shrota_client.client import AsyncClient
from shrota_client.decoding import Decoding
from shrota_client.errors import AudioError, ManifestError, RequestError, ShrotaError
from shrota_client.log_probs import LogProbs
from shrota_client.manifest import Utterance
from shrota_client.results import in_order_async
from shrota_client.score import Score, UtteranceScore, score_utterance
from shrota_client.search import Found, edits_of, search
from shrota_client.text import normalize
from shrota_client.tuning_plan import Plan


@dataclass(frozen=True)
class UtteranceLogProbs:
    """An utterance of a manifest, and its log-probabilities."""

    utterance: Utterance
    log_probs: LogProbs


@dataclass(frozen=True)
class Pass:
    """One way to decode, and what it gave on the development set: all edits of words and of characters."""

    decoding: Decoding
    words: Edits
    characters: Edits


@dataclass(frozen=True)
class Tuning:
    """What a development set says about the decoder's weights.

    Attributes:
        plan: how was searched.
        duration: seconds of audio.
        greedy: the score of greedy decoding.
        without_lm: the score of the beam without language model.
        found: the pairs that were tried, and the best.
    """

    plan: Plan
    duration: float
    greedy: Score
    without_lm: Score
    found: Found

    def passes(self) -> list[Pass]:
        """All ways to decode: greedily, without the language model, then each pair in ascending order."""
        return [
            Pass(self.plan.greedy, *edits_of(self.greedy)),
            Pass(self.plan.decoding(None), *edits_of(self.without_lm)),
            *(Pass(self.plan.decoding(each.weights), each.words, each.characters) for each in self.found.trials),
        ]


def check_references(utterances: Sequence[Utterance], manifest: object) -> None:
    """Refuses a development set in which no word is said.

    Raises:
        ManifestError: no reference has a word.
    """
    if not any(normalize(each.text or "") for each in utterances):
        raise ManifestError(f'no "text" of {manifest} has a word: write what is said in the audio')


async def compute_log_probs(
    client: AsyncClient,
    utterances: Sequence[Utterance],
    concurrency: int,
    checks: Sequence[Decoding] = (),
    on_utterance: Callable[[], object] = lambda: None,
) -> tuple[list[UtteranceLogProbs], list[tuple[Utterance, ShrotaError]]]:
    """Runs the acoustic model over all utterances, once.

    Args:
        client: of the server.
        utterances: of the manifest.
        concurrency: requests on their way at once.
        checks: the first log-probabilities are decoded in each of these ways before the others are waited for,
            because a decoder that refuses one would only be met after all of them were computed.
        on_utterance: called behind each utterance.

    Returns:
        The log-probabilities, and the utterances whose audio is to blame with their errors, both in order.

    Raises:
        ShrotaError: the server cannot be reached or fails, or refuses one of the ``checks``.
    """

    async def one(utterance: Utterance) -> LogProbs | ShrotaError:
        try:
            return await client.log_probs(utterance.audio)
        except (AudioError, RequestError) as error:
            return error

    computed: list[UtteranceLogProbs] = []
    failed: list[tuple[Utterance, ShrotaError]] = []
    async with contextlib.aclosing(in_order_async(one, utterances, concurrency)) as answers:
        remaining = iter(utterances)
        async for answer in answers:
            utterance = next(remaining)
            if isinstance(answer, ShrotaError):
                failed.append((utterance, answer))
            else:
                for check in () if computed else checks:
                    await client.decode(answer, decoding=check)
                computed.append(UtteranceLogProbs(utterance, answer))
            on_utterance()
    return computed, failed


async def score_decoding(
    client: AsyncClient,
    utterances: Sequence[UtteranceLogProbs],
    decoding: Decoding,
    concurrency: int,
    on_utterance: Callable[[], object] = lambda: None,
) -> Score:
    """Decodes everything in one way, and compares it with the references.

    Raises:
        ShrotaError: the server cannot be reached, fails, or refuses the settings.
    """

    async def one(each: UtteranceLogProbs) -> UtteranceScore:
        transcript = await client.decode(each.log_probs, decoding=decoding)
        on_utterance()
        utterance = each.utterance
        return score_utterance(utterance.name, utterance.text or "", transcript.text, transcript.duration)

    async with contextlib.aclosing(in_order_async(one, utterances, concurrency)) as scores:
        return Score(tuple([score async for score in scores]))


async def tune(
    client: AsyncClient,
    utterances: Sequence[UtteranceLogProbs],
    plan: Plan,
    concurrency: int,
    on_utterance: Callable[[Decoding], object] = lambda _: None,
    *,
    on_pass: Callable[[Pass], object] = lambda _: None,
) -> Tuning:
    """Finds the weights with which the server's decoder makes the fewest errors.

    Args:
        client: of the server.
        utterances: the development set with its log-probabilities.
        plan: how to search.
        concurrency: requests on their way at once; each pair is decoded before the next, so that the server loads the
            language model once for it.
        on_utterance: called behind each utterance of each way to decode, with that.
        on_pass: called behind each way to decode, so that what was found is not lost where a later one fails.

    Raises:
        ShrotaError: as :func:`score_decoding`.
    """

    async def measure(decoding: Decoding) -> Score:
        score = await score_decoding(client, utterances, decoding, concurrency, lambda: on_utterance(decoding))
        on_pass(Pass(decoding, *edits_of(score)))
        return score

    greedy = await measure(plan.greedy)
    without_lm = await measure(plan.decoding(None))
    steps = search(plan)
    try:
        weights = next(steps)
        while True:
            weights = steps.send(await measure(plan.decoding(weights)))
    except StopIteration as end:
        found: Found = end.value
    duration = sum(each.log_probs.duration for each in utterances)
    return Tuning(plan, duration, greedy, without_lm, found)
