"""``ctc_decoder`` by itself inside a real Triton server."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from benchmarks.metrics import differences, read_metrics
from shrota_client import AsyncClient, Client, Decoding, LogProbs, ParameterError, RequestError
from shrota_decoder.decoder import Decoder
from shrota_decoder.language_model import find_language_model
from shrota_decoder.settings import read_settings
from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.language_models import write_arpa
from shrota_testing.log_probs import log_probs_of
from shrota_testing.repository import make_repository
from shrota_testing.triton import infer, tensor
from shrota_testing.utterances import VOCABULARY, expected_text, noise

pytestmark = pytest.mark.triton

REFUSED = r"StatusCode\.INVALID_ARGUMENT:"
WORDS = {"काम": -1.0, "नाम": -3.0, "घास": -2.0}
"""of the language model, log10"""


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Serves the decoder with a language model, and the whole way from audio."""
    repository = make_repository(tmp_path_factory.mktemp("decoder") / "model_repository")
    write_arpa(repository / "ctc_decoder" / "1" / "lm.arpa", WORDS)
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


def decode(
    server: TritonServer, log_probs: NDArray[np.float32], duration: float, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """RESULT of each row of [rows, frames, vocabulary]; TRANSCRIPT must be its text."""
    durations = np.full((log_probs.shape[0], 1), duration, np.float32)
    inputs = [tensor("LOG_PROBS", log_probs), tensor("DURATION", durations)]
    outputs = infer(server.grpc_url, "ctc_decoder", inputs, ["RESULT", "TRANSCRIPT"], parameters=parameters)
    results, transcripts = (output[:, 0] for output in outputs)
    decoded = [json.loads(result) for result in results]
    assert [transcript.decode("utf-8") for transcript in transcripts] == [result["text"] for result in decoded]
    return decoded


def log_probs_of_noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """What the tiny engine gives for noise, [1, frames, vocabulary]."""
    return tiny_log_probs(noise(seconds, seed))[None].astype(np.float32)


def test_requests_of_different_lengths_get_their_own_texts_and_are_counted(decoder: TritonServer) -> None:
    lengths = [0.5, 1.0, 2.0, 3.3, 7.0, 1.0]
    before = read_metrics(decoder.metrics_url)
    with ThreadPoolExecutor(len(lengths)) as pool:
        futures = [
            pool.submit(decode, decoder, log_probs_of_noise(seconds, seed), seconds)
            for seed, seconds in enumerate(lengths)
        ]
    texts = [future.result()[0]["text"] for future in futures]
    assert texts == [expected_text(noise(seconds, seed)) for seed, seconds in enumerate(lengths)]
    grown = differences(before, read_metrics(decoder.metrics_url))
    assert grown["shrota_decoded_audio_seconds_total"] == pytest.approx(sum(lengths), rel=1e-3)
    assert grown["shrota_decode_seconds_total"] > 0


def test_rows_are_utterances_and_no_frame_is_an_empty_text(decoder: TritonServer) -> None:
    rows = np.concatenate([log_probs_of_noise(1.0, 1), log_probs_of_noise(1.0, 2)])
    assert [row["text"] for row in decode(decoder, rows, 1.0)] == [expected_text(noise(1.0, seed)) for seed in (1, 2)]
    assert decode(decoder, np.zeros((1, 0, 68), np.float32), 0.01)[0] == {
        "text": "", "confidence": 0.0, "duration": 0.01, "words": [], "alternatives": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("log_probs", "duration", "parameters", "message"),
    [
        (np.zeros((1, 5, 67), np.float32), 1.0, None, r"vocab\.json has 68 tokens"),
        (np.full((1, 5, 68), np.nan, np.float32), 1.0, None, "LOG_PROBS holds NaN"),
        (np.zeros((1, 5, 68), np.float32), float("nan"), None, "DURATION must be seconds"),
        (np.zeros((1, 5, 68), np.float32), 1.0, {"beam_width": 501}, "`beam_width` must be .* from 1 to 500, not 501"),
        (np.zeros((1, 5, 68), np.float32), 1.0, {"beam_width": 8, "hotwords": "["}, "`hotwords` is no JSON list"),
        (np.zeros((1, 5, 68), np.float32), 1.0, {"beam_width": 8, "hotwords": "x"}, "'x' cannot be spelled"),
    ],
)
def test_what_cannot_be_decoded_is_an_invalid_argument(
    decoder: TritonServer,
    log_probs: NDArray[np.float32],
    duration: float,
    parameters: dict[str, Any] | None,
    message: str,
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        decode(decoder, log_probs, duration, parameters)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_beam_search_weighs_the_language_model_and_hotwords_as_the_request_says(decoder: TritonServer) -> None:
    log_probs = log_probs_of("_1_ा_म_|_घ_ा_स_", _1="नक")[None]
    assert decode(decoder, log_probs, 1.0)[0]["text"] == "नाम घास"
    (result,) = decode(decoder, log_probs, 1.0, {"beam_width": 50, "n_best": 2})
    assert result["text"] == "काम घास"
    assert [each["text"] for each in result["alternatives"]] == ["काम घास", "नाम घास"]
    assert result["alternatives"][0]["score"] > result["alternatives"][1]["score"]
    assert [(word["word"], word["start"], word["end"]) for word in result["words"]] == [
        ("काम", 0.02, 0.12), ("घास", 0.18, 0.28),
    ]  # fmt: skip
    texts = [
        decode(decoder, log_probs, 1.0, {"beam_width": 50, **parameters})[0]["text"]
        for parameters in ({"lm_weight": "0"}, {"lm_weight": "0", "hotwords": '["काम:5"]'}, {"hotwords": "नाम"})
    ]
    assert texts == ["नाम घास", "काम घास", "नाम घास"]


def test_words_can_be_left_out_of_the_result(decoder: TritonServer) -> None:
    log_probs = log_probs_of("_क_ा_म_")[None]
    for beam_width in (1, 10):
        (result,) = decode(decoder, log_probs, 1.0, {"words": False, "beam_width": beam_width})
        assert (result["text"], result["words"]) == ("काम", [])
        assert result["confidence"] > 0.9


def test_the_parameters_reach_the_decoder_through_the_ensemble(decoder: TritonServer) -> None:
    audio = noise(2.0, 7)
    written = Decoder(VOCABULARY, find_language_model(decoder.repository / "ctc_decoder" / "1"), read_settings({}))
    parameters = {"beam_width": 20, "lm_weight": "0.25", "n_best": 3, "hotwords": "काम:3"}
    read = written.read_parameters(parameters)
    written.prepare(read)
    expected = written.decode(tiny_log_probs(audio).astype(np.float32), 2.0, read)
    transcript, result = infer(
        decoder.grpc_url, "asr", [tensor("AUDIO", audio[None])], ["TRANSCRIPT", "RESULT"], parameters=parameters
    )
    assert expected.text != expected_text(audio)
    assert transcript[0, 0].decode("utf-8") == expected.text
    assert [each["text"] for each in json.loads(result[0, 0])["alternatives"]] == [
        each.text for each in expected.alternatives
    ]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_clients_settings_are_what_the_decoder_takes(decoder: TritonServer, protocol: str) -> None:
    url = {"grpc": f"grpc://{decoder.grpc_url}", "http": f"http://{decoder.http_url}"}[protocol]
    decoding = Decoding(
        beam_width=20,
        lm_weight=0.25,
        word_score=1,
        hotwords=["राम", ("नई काम", 3.5)],
        hotword_weight=4,
        n_best=3,
        words=False,
    )
    with Client(url) as client:
        greedy = client.transcribe(noise(2.0, 7))
        transcript = client.transcribe(noise(2.0, 7), decoding=decoding)
    assert (greedy.text, greedy.alternatives) == (expected_text(noise(2.0, 7)), ())
    assert greedy.words
    assert transcript.words == ()
    assert next(each.text for each in transcript.alternatives) == transcript.text != greedy.text
    scores = [each.score for each in transcript.alternatives if each.score is not None]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_client_decodes_what_the_acoustic_model_heard_as_the_ensemble_does(
    decoder: TritonServer, protocol: str
) -> None:
    url = {"grpc": f"grpc://{decoder.grpc_url}", "http": f"http://{decoder.http_url}"}[protocol]
    audio = noise(2.0, 7)
    with Client(url) as client:
        heard = client.log_probs(audio)
        np.testing.assert_allclose(heard.values, tiny_log_probs(audio), rtol=0, atol=1e-4)
        assert heard.duration == 2.0
        texts = []
        for decoding in (Decoding(), Decoding(beam_width=20, lm_weight=0), Decoding(beam_width=20, lm_weight=2)):
            decoded = client.decode(heard, decoding=decoding)
            whole = client.transcribe(audio, decoding=decoding)
            assert (decoded.text, decoded.words, decoded.duration) == (whole.text, whole.words, 2.0)
            texts.append(decoded.text)
        assert len(set(texts)) == 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_audio_without_a_frame_has_log_probs_without_one(decoder: TritonServer, protocol: str) -> None:
    url = {"grpc": f"grpc://{decoder.grpc_url}", "http": f"http://{decoder.http_url}"}[protocol]
    with Client(url) as client:
        heard = client.log_probs(noise(0.001))
        assert heard.values.shape == (0, 68)
        assert client.decode(heard, decoding=Decoding(beam_width=20)).text == ""


async def test_the_asynchronous_client_decodes_the_same(decoder: TritonServer) -> None:
    decoding = Decoding(beam_width=20)
    async with AsyncClient(decoder.grpc_url, decoding=decoding) as client:
        heard = await client.log_probs(noise(2.0, 7))
        assert (await client.decode(heard)).text == (await client.transcribe(noise(2.0, 7))).text
        with pytest.raises(ParameterError, match=r"shape \[1, 100, 68\]: give \[frames, vocabulary\]"):
            await client.decode(LogProbs(np.zeros((1, 100, 68), np.float32), 2.0))
        with pytest.raises(RequestError, match=r"\[1, 100, 67\], but vocab.json has 68 tokens"):
            await client.decode(LogProbs(np.zeros((100, 67), np.float32), 2.0))


def test_bad_requests_and_long_searches_harm_no_neighbour(decoder: TritonServer) -> None:
    """Requests sent together, over and over: each gets its own answer, whoever is decoded beside it."""
    good = log_probs_of("_1_ा_म_", _1="नक")[None]
    kinds: list[tuple[dict[str, Any], str]] = [
        ({}, "नाम"),
        ({"beam_width": 50}, "काम"),
        ({"beam_width": "x"}, rf"{REFUSED} .*must be a whole number.*"),
        ({"beam_width": 50, "lm_weight": -1}, rf"{REFUSED} .*must be a number from 0 to 10.*"),
        ({"beam_width": 50, "hotwords": "राम,क2"}, rf"{REFUSED} hotword 'क2' cannot be spelled.*"),
        ({"hotwords": "नाम"}, rf"{REFUSED} .*no effect on greedy decoding.*"),
    ]

    def answer(parameters: dict[str, Any]) -> str:
        try:
            text: str = decode(decoder, good, 1.0, parameters)[0]["text"]
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        return text

    with ThreadPoolExecutor(16) as pool:
        slow = pool.submit(decode, decoder, log_probs_of_noise(60.0), 60.0, {"beam_width": 100})
        asked = [(pool.submit(answer, parameters), expected) for _ in range(20) for parameters, expected in kinds]
        for answered, expected in asked:
            assert re.fullmatch(expected, answered.result())
        assert slow.result()[0]["text"]
