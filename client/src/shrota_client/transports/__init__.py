"""How bytes travel: gRPC and HTTP, blocking and asynchronous. A transport sends one request once and judges nothing."""

from typing import Protocol

from shrota_client.address import Address
from shrota_client.answer import Outputs
from shrota_client.exchange import Send
from shrota_client.failures import Failure
from shrota_client.settings import Timeouts, Tls


class Transport(Protocol):
    """A blocking transport; its methods may be called from several threads at once."""

    def send(self, step: Send) -> Outputs | Failure:
        """Sends the request; the tensors of the answer, or what went wrong."""
        ...

    def close(self) -> None:
        """Ends what still runs and closes the connections."""
        ...


class AsyncTransport(Protocol):
    """An asynchronous transport; it belongs to the event loop in which it first sends."""

    async def send(self, step: Send) -> Outputs | Failure:
        """Sends the request; the tensors of the answer, or what went wrong."""
        ...

    async def close(self) -> None:
        """Ends what still runs and closes the connections."""
        ...


# Only the library of the transport in use is imported: they take most of the time that a short command needs.
# ruff: noqa: PLC0415


def open_transport(address: Address, tls: Tls, timeouts: Timeouts) -> Transport:
    """The blocking transport for the address; it connects when it first sends."""
    if address.is_grpc:
        from shrota_client.transports.grpc_sync import GrpcTransport

        return GrpcTransport(address, tls, timeouts)
    from shrota_client.transports.http_sync import HttpTransport

    return HttpTransport(address, tls, timeouts)


def open_async_transport(address: Address, tls: Tls, timeouts: Timeouts) -> AsyncTransport:
    """The asynchronous transport for the address; it connects when it first sends."""
    if address.is_grpc:
        from shrota_client.transports.grpc_async import AsyncGrpcTransport

        return AsyncGrpcTransport(address, tls, timeouts)
    from shrota_client.transports.http_async import AsyncHttpTransport

    return AsyncHttpTransport(address, tls, timeouts)
