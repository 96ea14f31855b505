"""The four transports against servers in this process: each must behave like every other."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shrota_client import (
    AsyncClient,
    AudioError,
    CertificateError,
    Client,
    Decoding,
    ParameterError,
    QueueFullError,
    RequestError,
    RequestTimeoutError,
    Result,
    Retry,
    ServerError,
    ServerUnavailableError,
    ShrotaError,
    Timeouts,
    Tls,
    Transcript,
)
from shrota_client.exchange import Audio
from shrota_client.message import Parameter
from shrota_client.transports.http_pool import Sockets
from shrota_testing.fake_triton import QUEUE_FULL, QUEUE_TIMEOUT, Answer, FakeTriton, Seen, TlsFiles, serve

TLS = Path(__file__).parent / "tls"
SERVER_TLS = TlsFiles(TLS / "server.pem", TLS / "server.key")
AUDIO = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)
QUICK = Retry(attempts=4, first_delay_s=0.01)


class Blocking:
    """The blocking client."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._open = partial(Client, url, **settings)

    def transcribe(
        self,
        audio: Audio = AUDIO,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
    ) -> Transcript:
        """One transcript."""
        with self._open() as client:
            return client.transcribe(audio, parameters=parameters, decoding=decoding)

    def many(self, items: Iterable[Audio], concurrency: int, decoding: Decoding | None = None) -> list[Result]:
        """All results."""
        with self._open() as client:
            return list(client.transcribe_many(items, concurrency=concurrency, decoding=decoding))


class Awaiting:
    """The asynchronous client, in an event loop of its own."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._open = partial(AsyncClient, url, **settings)

    def transcribe(
        self,
        audio: Audio = AUDIO,
        parameters: Mapping[str, Parameter] | None = None,
        decoding: Decoding | None = None,
    ) -> Transcript:
        """One transcript."""

        async def run() -> Transcript:
            async with self._open() as client:
                return await client.transcribe(audio, parameters=parameters, decoding=decoding)

        return asyncio.run(run())

    def many(self, items: Iterable[Audio], concurrency: int, decoding: Decoding | None = None) -> list[Result]:
        """All results."""

        async def run() -> list[Result]:
            async with self._open() as client:
                results = client.transcribe_many(items, concurrency=concurrency, decoding=decoding)
                return [result async for result in results]

        return asyncio.run(run())


Kind = type[Blocking] | type[Awaiting]


@pytest.fixture(params=["grpc", "http"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[Blocking, Awaiting])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def once(*answers: Answer) -> Callable[[Seen], Answer]:
    """Gives the answers one after the other, the last one for ever."""
    remaining = list(answers)
    return lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def test_the_samples_and_parameters_arrive_and_the_text_comes_back(scheme: str, kind: Kind) -> None:
    fake = FakeTriton(once("मेरा नाम राम है"))
    parameters: dict[str, Parameter] = {"engine": "acoustic_trt", "beam_width": 32, "lm_weight": 0.5, "flag": True}
    with serve(scheme, fake) as url:
        transcript = kind(url, parameters={"n_best": 3, "beam_width": 8}).transcribe(AUDIO, parameters)
    assert transcript.text == "मेरा नाम राम है"
    assert [word.word for word in transcript.words] == ["मेरा", "नाम", "राम", "है"]
    assert transcript.duration == pytest.approx(0.1)
    assert transcript.elapsed_s > 0
    assert transcript.real_time_factor == pytest.approx(transcript.elapsed_s / 0.1)
    (seen,) = fake.seen
    assert seen.model == "asr"
    assert seen.shape == [1, 1600]
    np.testing.assert_array_equal(seen.samples, AUDIO)
    # the request's own time-out travels with it, in microseconds
    timeout_us = seen.parameters.pop("timeout")
    assert 299e6 < timeout_us <= 300e6
    assert seen.parameters == {**parameters, "n_best": 3}
    assert seen.parameters["flag"] is True


DECODING = Decoding(
    beam_width=32, lm_weight=0.1, word_score=-1, hotwords=["राम", ("सीता राम", 3)], n_best=4, words=True
)
DECODING_PARAMETERS: dict[str, Parameter] = {
    "beam_width": 32,
    "lm_weight": 0.1,
    "word_score": -1.0,
    "hotwords": '["राम", ["सीता राम", 3.0]]',
    "n_best": 4,
    "words": True,
}


def test_settings_of_the_decoder_arrive_with_their_types(scheme: str, kind: Kind) -> None:
    """The client's in every request, those of a call over them in its own, or in all of many."""
    fake = FakeTriton(once("राम"))
    with serve(scheme, fake) as url:
        client = kind(url, timeouts=Timeouts(request_s=None), decoding=DECODING)
        client.transcribe()
        client.transcribe(decoding=Decoding(hotword_weight=2, words=False))
        client.many([AUDIO, AUDIO], 1, Decoding(beam_width=8))
    of_client, of_call, *of_many = [seen.parameters for seen in fake.seen]
    assert of_client == DECODING_PARAMETERS
    assert {name: type(value) for name, value in of_client.items()} == {
        name: type(value) for name, value in DECODING_PARAMETERS.items()
    }
    assert of_call == {**DECODING_PARAMETERS, "hotword_weight": 2.0, "words": False}
    assert of_call["words"] is False
    assert of_many == [{**DECODING_PARAMETERS, "beam_width": 8}] * 2


def test_settings_that_do_not_go_together_are_not_sent(scheme: str, kind: Kind) -> None:
    fake = FakeTriton(once("राम"))
    with serve(scheme, fake) as url:
        client = kind(url, decoding=Decoding(beam_width=2))
        with pytest.raises(ParameterError, match="n_best is 3, but a search with beam_width 2"):
            client.transcribe(decoding=Decoding(n_best=3))
        (result,) = client.many([AUDIO], 1, Decoding(n_best=3))
        assert isinstance(result.error, ParameterError)
    assert fake.seen == []


def test_no_time_out_is_sent_where_none_is_set(scheme: str, kind: Kind) -> None:
    fake = FakeTriton(once("हाँ"))
    with serve(scheme, fake) as url:
        kind(url, timeouts=Timeouts(request_s=None)).transcribe()
    assert fake.seen[0].parameters == {}


def test_a_full_queue_is_tried_again_until_it_has_room(scheme: str, kind: Kind) -> None:
    fake = FakeTriton(once(QUEUE_FULL, QUEUE_FULL, "हाँ"))
    with serve(scheme, fake) as url:
        assert kind(url, retry=QUICK).transcribe().text == "हाँ"
    assert len(fake.seen) == 3
    np.testing.assert_array_equal(fake.seen[2].samples, AUDIO)


def test_a_queue_that_stays_full_is_given_up(scheme: str, kind: Kind) -> None:
    fake = FakeTriton(once(QUEUE_FULL))
    with serve(scheme, fake) as url, pytest.raises(QueueFullError, match="is full: send fewer requests at once"):
        kind(url, retry=QUICK).transcribe()
    assert len(fake.seen) == 4


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("INVALID_ARGUMENT", "unknown engine 'x': use acoustic_onnx"), RequestError),
        (("INTERNAL", "CUDA out of memory"), ServerError),
        (("INTERNAL", "Stub process 'asr_0_0' is not healthy."), ServerUnavailableError),
        (("UNAVAILABLE", "the engine is being reloaded"), ServerUnavailableError),
        (("NOT_FOUND", "Request for unknown model: 'asr' is not found"), ServerUnavailableError),
        (QUEUE_TIMEOUT, RequestTimeoutError),
    ],
)
def test_every_other_refusal_is_raised_at_once(
    scheme: str, kind: Kind, answer: Answer, expected: type[Exception]
) -> None:
    fake = FakeTriton(once(answer))
    with serve(scheme, fake) as url, pytest.raises(expected):
        kind(url, retry=QUICK).transcribe()
    assert len(fake.seen) == 1


def test_the_message_of_a_refusal_is_the_servers(scheme: str, kind: Kind) -> None:
    message = "unknown engine 'x': use acoustic_onnx"
    fake = FakeTriton(once(("INVALID_ARGUMENT", message)))
    with serve(scheme, fake) as url, pytest.raises(RequestError) as caught:
        kind(url).transcribe()
    assert str(caught.value) == message


def test_an_answer_that_takes_too_long_is_a_time_out(scheme: str, kind: Kind) -> None:
    release = threading.Event()

    def slow(_: Seen) -> Answer:
        release.wait(10)
        return "zu spät"

    with serve(scheme, FakeTriton(slow)) as url:
        start = time.monotonic()
        with pytest.raises(RequestTimeoutError, match=r"within 0\.2 s"):
            kind(url, timeouts=Timeouts(request_s=0.2)).transcribe()
        assert time.monotonic() - start < 5
        release.set()


@pytest.mark.parametrize("prefix", ["grpc", "http", "grpcs", "https"])
def test_no_server_is_one_line_that_says_how_to_start_one(prefix: str, kind: Kind) -> None:
    with pytest.raises(ServerUnavailableError) as caught:
        kind(f"{prefix}://127.0.0.1:9", timeouts=Timeouts(connect_s=2)).transcribe()
    assert str(caught.value).startswith("no server at 127.0.0.1:9: start one with `shrota serve`")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("listening", "spoken"), [("grpc", "http"), ("http", "grpc")])
def test_the_other_protocols_port_is_recognised(listening: str, spoken: str, kind: Kind) -> None:
    with serve(listening, FakeTriton(once("हाँ"))) as url:
        wrong = url.replace(listening, spoken)
        with pytest.raises(ServerUnavailableError, match="something else listens there; by default gRPC is HOST:8001"):
            kind(wrong, timeouts=Timeouts(connect_s=2, request_s=10)).transcribe()


def test_many_keep_their_order_and_one_failure_costs_no_other(scheme: str, kind: Kind) -> None:
    def answer(seen: Seen) -> Answer:
        # the longest is the slowest and comes first
        time.sleep(seen.samples.size / 10000)
        return ("INVALID_ARGUMENT", "too short") if seen.samples.size == 3 else str(seen.samples.size)

    sizes = [2000, 5, 4, 3, 2, 1, 500, 7]
    items = [np.zeros(size, np.float32) for size in sizes]
    with serve(scheme, FakeTriton(answer)) as url:
        results = kind(url).many([*items, "no such file.wav"], concurrency=4)
    texts = [result.transcript.text if result.transcript else None for result in results]
    assert texts == ["2000", "5", "4", None, "2", "1", "500", "7", None]
    assert isinstance(results[3].error, RequestError)
    assert isinstance(results[8].error, AudioError)
    assert results[6].source is items[6]
    with pytest.raises(RequestError, match="too short"):
        results[3].unwrap()


def test_one_blocking_client_serves_many_threads(scheme: str) -> None:
    with serve(scheme, FakeTriton(lambda seen: str(seen.samples.size))) as url, Client(url) as client:
        texts: dict[int, str] = {}

        def work(size: int) -> None:
            texts[size] = client.transcribe(np.zeros(size, np.float32)).text

        threads = [threading.Thread(target=work, args=(size,)) for size in range(1, 17)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == {size: str(size) for size in range(1, 17)}


def test_tls_with_the_right_authority(scheme: str, kind: Kind) -> None:
    with serve(scheme, FakeTriton(once("हाँ")), SERVER_TLS) as url:
        assert url.startswith(f"{scheme}s://")
        assert kind(url, tls=Tls(TLS / "authority.pem")).transcribe().text == "हाँ"


def test_tls_with_an_unknown_authority_is_refused(scheme: str, kind: Kind) -> None:
    fake = FakeTriton(once("हाँ"))
    with serve(scheme, fake, SERVER_TLS) as url:
        for tls in (Tls(TLS / "other_authority.pem"), Tls()):
            with pytest.raises(
                ServerUnavailableError, match=r"the encrypted connection failed .* check the port, --ca-cert"
            ):
                kind(url, tls=tls, timeouts=Timeouts(connect_s=2, request_s=10)).transcribe()
    assert fake.seen == []


def test_tls_with_a_client_certificate(scheme: str, kind: Kind) -> None:
    mutual = TlsFiles(SERVER_TLS.certificate, SERVER_TLS.key, client_authority=TLS / "authority.pem")
    with serve(scheme, FakeTriton(once("हाँ")), mutual) as url:
        tls = Tls(TLS / "authority.pem", TLS / "client.pem", TLS / "client.key")
        assert kind(url, tls=tls).transcribe().text == "हाँ"
        with pytest.raises(ServerUnavailableError):
            kind(url, tls=Tls(TLS / "authority.pem"), timeouts=Timeouts(connect_s=2, request_s=10)).transcribe()


def test_tls_files_that_are_no_certificates(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"cannot read the TLS file .*missing\.pem"):
        Tls(tmp_path / "missing.pem")
    broken = tmp_path / "broken.pem"
    broken.write_text("hello", encoding="utf-8")
    with pytest.raises(CertificateError, match="is not PEM"):
        Tls(broken)
    with pytest.raises(CertificateError, match="belong together"):
        Tls(client_certificate=TLS / "client.pem")


def test_a_grpc_server_that_goes_away_in_the_middle(kind: Kind) -> None:
    arrived, release = threading.Event(), threading.Event()

    def hang(_: Seen) -> Answer:
        arrived.set()
        release.wait(10)
        return "never"

    caught: list[ServerUnavailableError] = []

    def work(url: str) -> None:
        try:
            kind(url, timeouts=Timeouts(request_s=20)).transcribe()
        except ServerUnavailableError as error:
            caught.append(error)

    with serve("grpc", FakeTriton(hang)) as url:
        thread = threading.Thread(target=work, args=(url,))
        thread.start()
        assert arrived.wait(5)
        # the server is stopped now; its handler may end a little later
        threading.Timer(0.3, release.set).start()
    thread.join(5)
    assert "went away or cannot answer now" in str(caught[0])


def test_an_http_server_that_goes_away_in_the_middle(kind: Kind) -> None:
    def drop(_: Seen) -> Answer:
        raise ConnectionResetError

    fake = FakeTriton(drop)
    with serve("http", fake) as url, pytest.raises(ServerUnavailableError, match="went away or cannot answer now"):
        kind(url, retry=QUICK).transcribe()
    # it may have been working on the request: nobody knows, so it is not sent again
    assert len(fake.seen) == 1


def test_files_are_read_and_resampled_on_the_way(scheme: str, kind: Kind, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.flac", np.zeros((8000, 2)), 8000)
    fake = FakeTriton(lambda seen: str(seen.samples.size))
    with serve(scheme, fake) as url:
        assert kind(url).transcribe(tmp_path / "a.flac").text == "16000"


def test_a_client_outlives_a_restart_of_its_server(scheme: str) -> None:
    with serve(scheme, FakeTriton(once("एक"))) as url:
        client = Client(url, timeouts=Timeouts(connect_s=2))
        assert client.transcribe(AUDIO).text == "एक"
    with pytest.raises(ServerUnavailableError):
        client.transcribe(AUDIO)
    with serve(scheme, FakeTriton(once("दो")), port=client.address.port):
        # gRPC waits a little between two attempts to connect
        deadline = time.monotonic() + 5
        while True:
            try:
                assert client.transcribe(AUDIO).text == "दो"
                break
            except ServerUnavailableError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    client.close()


def test_a_closed_client_says_so(scheme: str) -> None:
    client = Client(f"{scheme}://127.0.0.1:9")
    client.close()
    with pytest.raises(ShrotaError, match="this client is closed: make another one"):
        client.transcribe(AUDIO)


@dataclass
class Hanging:
    """A server that keeps every request which is longer than one sample."""

    arrived: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def __call__(self, seen: Seen) -> Answer:
        """Answers short requests at once, the others when it is released."""
        if seen.samples.size > 1:
            self.arrived.set()
            self.release.wait(20)
        return "endlich"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    server = Hanging()
    yield server
    server.release.set()


CLOSED = "^this client is closed: make another one$"


@pytest.mark.parametrize("tls", [None, SERVER_TLS], ids=["plain", "tls"])
def test_closing_ends_a_blocking_request_at_once(scheme: str, tls: TlsFiles | None, hanging: Hanging) -> None:
    with serve(scheme, FakeTriton(hanging), tls) as url, ThreadPoolExecutor(1) as executor:
        client = Client(url, tls=None if tls is None else Tls(TLS / "authority.pem"))
        request = executor.submit(client.transcribe, AUDIO)
        assert hanging.arrived.wait(5)
        client.close()
        with pytest.raises(ShrotaError, match=CLOSED):
            request.result(timeout=5)
        hanging.release.set()


@pytest.mark.parametrize("tls", [None, SERVER_TLS], ids=["plain", "tls"])
async def test_closing_ends_an_awaited_request_at_once(scheme: str, tls: TlsFiles | None, hanging: Hanging) -> None:
    with serve(scheme, FakeTriton(hanging), tls) as url:
        client = AsyncClient(url, tls=None if tls is None else Tls(TLS / "authority.pem"))
        request = asyncio.create_task(client.transcribe(AUDIO))
        assert await asyncio.to_thread(hanging.arrived.wait, 5)
        await client.close()
        with pytest.raises(ShrotaError, match=CLOSED):
            await asyncio.wait_for(request, 5)
        hanging.release.set()


async def test_a_task_that_is_cancelled_stays_so_when_its_client_closes(scheme: str, hanging: Hanging) -> None:
    with serve(scheme, FakeTriton(hanging)) as url:
        client = AsyncClient(url)
        request = asyncio.create_task(client.transcribe(AUDIO))
        assert await asyncio.to_thread(hanging.arrived.wait, 5)
        request.cancel()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(request, 5)
        hanging.release.set()


def test_closing_ends_the_wait_for_room_in_a_queue(scheme: str) -> None:
    patient = Retry(first_delay_s=1000, max_delay_s=1000, draw=lambda: 1.0)
    fake = FakeTriton(once(QUEUE_FULL))
    with serve(scheme, fake) as url, ThreadPoolExecutor(1) as executor:
        client = Client(url, retry=patient, timeouts=Timeouts(request_s=None))
        request = executor.submit(client.transcribe, AUDIO)
        while not fake.seen:
            time.sleep(0.01)
        client.close()
        with pytest.raises(ShrotaError, match=CLOSED):
            request.result(timeout=5)


def test_who_takes_no_more_results_waits_for_no_other(scheme: str, hanging: Hanging) -> None:
    """The interpreter joins the threads before it ends."""
    items = [np.zeros(1, np.float32), AUDIO, AUDIO]
    with serve(scheme, FakeTriton(hanging)) as url:
        with Client(url) as client:
            results = client.transcribe_many(items, concurrency=3)
            assert next(results).unwrap().text == "endlich"
            assert hanging.arrived.wait(5)
            del results
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("shrota")]
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)
        hanging.release.set()


def test_a_socket_that_comes_after_the_end_is_ended() -> None:
    sockets = Sockets()
    sockets.end()
    here, there = socket.socketpair()
    with here, there:
        sockets.add(here)
        assert there.recv(1) == b""


def test_certificates_without_encryption_are_a_mistake(scheme: str) -> None:
    with pytest.raises(CertificateError, match="is not encrypted: certificates are for grpcs:// and https://"):
        Client(f"{scheme}://127.0.0.1:9", tls=Tls(TLS / "authority.pem"))
