"""The bundled checkpoint through Triton: the same log-probabilities and text alone, in any company, and in PyTorch."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
import torch
import tritonclient.grpc
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoModelForCTC

from benchmarks.speech import in_noise
from shrota_client import Client
from shrota_client.audio import read_audio
from shrota_client.manifest import read_manifest
from shrota_client.score import score_texts
from shrota_server import TritonServer
from shrota_testing.repository import ROOT

pytestmark = pytest.mark.triton
RATE = 16000
Audio = NDArray[np.float32]
LogProbs = NDArray[np.float32]


@pytest.fixture(scope="module")
def small_server(small_repository: Path) -> Iterator[TritonServer]:
    """Serves the bundled checkpoint."""
    with TritonServer(small_repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


@pytest.fixture(scope="module")
def utterances() -> list[Audio]:
    """Speech of 0.3 to 19.8 s, cut from the longest sample."""
    passage = read_audio(ROOT / "samples" / "passage.wav")
    lengths = [0.3, 1.0, 2.2, 3.1, 3.2, 4.7, 6.0, 7.9, 8.0, 10.0, 12.5, 14.0, 17.3, 19.8]
    ends = np.cumsum([round(length * RATE) for length in lengths])
    return np.split(passage[: ends[-1]], ends[:-1])


def log_probs(server: TritonServer, audio: Audio) -> LogProbs:
    """LOG_PROBS [F, V] of ``acoustic``."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        tensor = tritonclient.grpc.InferInput("AUDIO", [1, audio.size], "FP32")
        tensor.set_data_from_numpy(audio[None])
        answer: LogProbs = client.infer("acoustic", [tensor]).as_numpy("LOG_PROBS")[0]
    return answer


def test_log_probs_are_the_same_alone_and_in_any_batch(small_server: TritonServer, utterances: list[Audio]) -> None:
    alone = [log_probs(small_server, audio) for audio in utterances]
    with ThreadPoolExecutor(len(utterances)) as pool:
        for _ in range(2):
            together = list(pool.map(lambda audio: log_probs(small_server, audio), utterances))
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_allclose(other, one, rtol=0, atol=1e-4)


def test_log_probs_are_those_of_the_hugging_face_model(small_server: TritonServer, utterances: list[Audio]) -> None:
    folder = ROOT / "models" / "hindi-small"
    model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    for audio in utterances[::3]:
        inputs = extractor(audio, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            expected = torch.log_softmax(model(**inputs).logits[0], dim=-1).numpy()
        np.testing.assert_allclose(log_probs(small_server, audio), expected, rtol=0, atol=1e-3)


def test_texts_are_the_same_alone_and_in_any_batch(small_server: TritonServer, utterances: list[Audio]) -> None:
    with Client(small_server.grpc_url) as client, ThreadPoolExecutor(len(utterances)) as pool:
        alone = [client.transcribe(audio) for audio in utterances]
        together = list(pool.map(client.transcribe, utterances))
    assert [transcript.text for transcript in together] == [transcript.text for transcript in alone]
    assert sum(bool(transcript.text) for transcript in alone) >= len(utterances) - 1


def test_a_beam_with_the_checkpoints_own_language_model_hears_more_words_right(small_server: TritonServer) -> None:
    samples = read_manifest(ROOT / "samples" / "manifest.jsonl", need_text=True)
    noisy = [in_noise(read_audio(sample.audio)) for sample in samples]  # of the clean ones it gets nearly all right

    def errors(**parameters: int) -> int:
        with Client(small_server.grpc_url, parameters=parameters) as client:
            heard = [client.transcribe(audio).text for audio in noisy]
        pairs = [(str(sample.text), text) for sample, text in zip(samples, heard, strict=True)]
        return score_texts(pairs).words.edits.errors

    greedy = errors()
    assert greedy > 60  # of 323: enough to compare; a checkpoint that makes fewer needs louder noise here
    assert 0 < errors(beam_width=50) < 0.8 * greedy
    assert abs(errors(beam_width=50, lm_weight=0) - greedy) <= 0.05 * greedy


def test_a_beam_gives_the_same_alone_and_beside_others(small_server: TritonServer, utterances: list[Audio]) -> None:
    with Client(small_server.grpc_url, parameters={"beam_width": 50}) as client:
        alone = [client.transcribe(audio) for audio in utterances]
        with ThreadPoolExecutor(len(utterances)) as pool:
            together = list(pool.map(client.transcribe, utterances))
    assert [transcript.text for transcript in together] == [transcript.text for transcript in alone]


@pytest.mark.parametrize("beam_width", [1, 50])
def test_words_of_long_audio_lie_in_order_within_it(small_server: TritonServer, beam_width: int) -> None:
    with Client(small_server.grpc_url, parameters={"beam_width": beam_width}) as client:
        transcript = client.transcribe(ROOT / "samples" / "passage.wav")
    edges = [time for word in transcript.words for time in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= transcript.duration
    assert transcript.duration == pytest.approx(122.25)
    assert edges[-1] > transcript.duration - 5


@pytest.mark.parametrize("beam_width", [1, 50])
def test_words_have_the_times_across_windows_that_they_have_alone(small_server: TritonServer, beam_width: int) -> None:
    """Sentences one behind the other, many windows long: each word is where its own recording says, to some frames."""
    sentences = [read_audio(ROOT / "samples" / f"sentence-{number}.wav") for number in (1, 2, 3, 4)]
    with Client(small_server.grpc_url, parameters={"beam_width": beam_width}) as client:
        alone = [client.transcribe(audio).words for audio in sentences]
        joined = client.transcribe(np.concatenate(sentences * 5))
    assert joined.duration > 80
    starts = np.cumsum([0, *(audio.size for audio in sentences * 5)]) / RATE
    expected = [
        (word.word, word.start + start, word.end + start)
        for start, words in zip(starts, alone * 5, strict=False)
        for word in words
    ]
    heard = [(word.word, word.start, word.end) for word in joined.words]
    matcher = SequenceMatcher(None, [each[0] for each in expected], [each[0] for each in heard], autojunk=False)
    pairs = [
        (expected[block.a + index], heard[block.b + index])
        for block in matcher.get_matching_blocks()
        for index in range(block.size)
    ]
    # another window may change a word here and there
    assert len(pairs) > 0.9 * len(expected)
    for own, found in pairs:
        np.testing.assert_allclose(found[1:], own[1:], rtol=0, atol=0.1)
