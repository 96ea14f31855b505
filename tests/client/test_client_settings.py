"""Addresses, time-outs and retries: what is accepted, and what is refused with a remedy."""

import pytest

from shrota_client import AddressError, ParameterError, Retry, Timeouts
from shrota_client.address import Address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8001", Address("grpc", "127.0.0.1", 8001)),
        ("speech", Address("grpc", "speech", 8001)),
        ("grpcs://speech.example:443", Address("grpcs", "speech.example", 443)),
        ("http://localhost", Address("http", "localhost", 8000)),
        ("https://speech.example:443/triton/", Address("https", "speech.example", 443, "/triton")),
        ("[::1]:8001", Address("grpc", "::1", 8001)),
    ],
)
def test_addresses(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected
    assert Address.parse(str(expected)) == expected


def test_an_ipv6_target_has_brackets() -> None:
    assert Address.parse("[::1]:8001").target == "[::1]:8001"


@pytest.mark.parametrize(
    "text",
    ["", "ftp://speech:21", "speech:port", "speech:99999", "speech:0", "grpc://a/path", "http://a?b=c", "a b", "u@a:1"],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AddressError, match=r"write it like 127\.0\.0\.1:8001"):
        Address.parse(text)


def test_the_longest_wait_doubles_up_to_its_limit() -> None:
    retry = Retry(attempts=9, first_delay_s=0.1, max_delay_s=1.0, draw=lambda: 1.0)
    assert [retry.delay_s(attempt) for attempt in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert retry.delay_s(5000) == 1.0


def test_the_wait_is_drawn_evenly_below_the_longest() -> None:
    assert Retry(first_delay_s=0.2, draw=lambda: 0.25).delay_s(1) == pytest.approx(0.05)
    assert Retry(draw=lambda: 0.0).delay_s(4) == 0.0


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"first_delay_s": -1.0}, {"max_delay_s": -0.1}])
def test_impossible_retries(settings: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        Retry(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_impossible_time_outs(seconds: float) -> None:
    with pytest.raises(ParameterError, match="must be a positive number of seconds"):
        Timeouts(request_s=seconds)
    with pytest.raises(ParameterError, match="connect_s"):
        Timeouts(connect_s=seconds)


def test_a_request_may_wait_for_ever() -> None:
    assert Timeouts(request_s=None).request_s is None
