"""Ports for the three services of a server: the ones asked for, or free ones."""

import random
import socket
from dataclasses import dataclass

from shrota_server.errors import PortInUseError, ServerError

# Below Linux's ephemeral range (32768 and up): no outgoing connection of anybody takes one of these between our look
# and Triton's bind, which comes only after the models are loaded.
FREE_RANGE = range(12000, 32000)
ATTEMPTS = 200
HIGHEST = 65535


@dataclass(frozen=True)
class Ports:
    """TCP ports of one server; 0 means any free one."""

    http: int = 0
    grpc: int = 0
    metrics: int = 0


@dataclass(frozen=True)
class Hosts:
    """Addresses that the three services of one server listen on."""

    http: str
    grpc: str
    metrics: str


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on ``port`` of ``host`` now.

    Raises:
        ServerError: ``host`` is no address of this machine, or the port needs more rights.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ServerError(f"--host {host!r} is not an address: {error.strerror}") from error
    with socket.socket(family, kind, protocol) as probe:
        # as Triton does: a port in TIME_WAIT is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # two sockets that share a port with SO_REUSEADDR can both bind; only one can listen
            probe.listen(1)
        except PermissionError as error:
            raise ServerError(f"port {port} needs root's rights: give one above 1023") from error
        except OSError as error:
            if error.errno == 99:  # noqa: PLR2004 - EADDRNOTAVAIL
                raise ServerError(f"--host {host!r} is not an address of this machine") from error
            return False
    return True


def choose(wanted: Ports, hosts: Hosts) -> Ports:
    """Checks the ports asked for and fills in free ones for those that are 0; no two services share one.

    Raises:
        PortInUseError: a port that was asked for is taken.
        ServerError: no port is free, a number is none of a port, or one is given twice.
    """
    given = {"--http-port": wanted.http, "--grpc-port": wanted.grpc, "--metrics-port": wanted.metrics}
    taken: set[int] = set()
    addresses = (hosts.http, hosts.grpc, hosts.metrics)
    for (option, port), host in zip(given.items(), addresses, strict=True):
        if port == 0:
            continue
        if not 0 < port <= HIGHEST:
            raise ServerError(f"{option} {port} is no port: give one of 1 to {HIGHEST}, or 0 for any free one")
        if port in taken:
            raise ServerError(f"{option} {port} is given twice: HTTP, gRPC and metrics need three ports")
        if not is_free(host, port):
            raise PortInUseError(port, host, option)
        taken.add(port)
    chosen = [port or _free(host, taken) for port, host in zip(given.values(), addresses, strict=True)]
    return Ports(*chosen)


def _free(host: str, taken: set[int]) -> int:
    for _ in range(ATTEMPTS):
        port = random.choice(FREE_RANGE)  # noqa: S311 - to stay clear of other servers, not of attackers
        if port not in taken and is_free(host, port):
            taken.add(port)
            return port
    raise ServerError(f"no free port found between {FREE_RANGE.start} and {FREE_RANGE.stop} on {host}")
