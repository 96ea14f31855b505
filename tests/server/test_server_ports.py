"""Ports: those asked for are checked, the others are free."""

import socket
from collections.abc import Iterator

import pytest

from shrota_server.errors import PortInUseError, ServerError
from shrota_server.ports import FREE_RANGE, Hosts, Ports, choose, is_free

HOST = "127.0.0.1"
HOSTS = Hosts(HOST, HOST, HOST)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_free_ports_differ_and_lie_below_the_ephemeral_range() -> None:
    ports = choose(Ports(), HOSTS)
    numbers = {ports.http, ports.grpc, ports.metrics}
    assert len(numbers) == 3
    assert all(port in FREE_RANGE and is_free(HOST, port) for port in numbers)


def test_ports_asked_for_are_kept() -> None:
    wanted = choose(Ports(), HOSTS)
    assert choose(wanted, HOSTS) == wanted


def test_a_taken_port_is_named_with_its_option(taken_port: int) -> None:
    assert not is_free(HOST, taken_port)
    with pytest.raises(PortInUseError, match=rf"port {taken_port} of 127\.0\.0\.1 is in use.*--grpc-port"):
        choose(Ports(grpc=taken_port), HOSTS)


@pytest.mark.parametrize(
    ("wanted", "host", "text"),
    [
        (Ports(http=70000), HOST, "--http-port 70000 is no port"),
        (Ports(metrics=-1), HOST, "--metrics-port -1 is no port"),
        (Ports(http=18999, grpc=18999), HOST, "--grpc-port 18999 is given twice"),
        (Ports(), "203.0.113.7", "is not an address of this machine"),
        (Ports(), "no such host", "is not an address"),
    ],
)
def test_what_cannot_be_listened_on_is_said(wanted: Ports, host: str, text: str) -> None:
    with pytest.raises(ServerError, match=text):
        choose(wanted, Hosts(host, host, host))
