"""gRPC, asynchronous."""

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]

from shrota_client.address import Address
from shrota_client.answer import Outputs, parse_grpc_answer
from shrota_client.exchange import Send
from shrota_client.failures import Failure
from shrota_client.settings import Timeouts, Tls
from shrota_client.transports.grpc_common import INFER, channel_options, credentials, failure_of


class AsyncGrpcTransport:
    """One channel, made in the event loop that first sends."""

    def __init__(self, address: Address, tls: Tls, timeouts: Timeouts) -> None:
        self._address = address
        self._options = channel_options(timeouts)
        self._credentials = credentials(tls) if address.encrypted else None
        self._channel: grpc.aio.Channel | None = None

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            target = self._address.target
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(target, self._options)
            else:
                self._channel = grpc.aio.secure_channel(target, self._credentials, self._options)
        return self._channel

    async def send(self, step: Send) -> Outputs | Failure:
        """Sends the request; the tensors of the answer, or what went wrong."""
        infer = self._open().unary_unary(INFER)
        try:
            answer = await infer(step.request.grpc_message(step.timeout_us), timeout=step.timeout_s)
        except grpc.RpcError as error:
            return failure_of(error)
        return parse_grpc_answer(answer)

    async def close(self) -> None:
        """Ends what still runs and closes the channel."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
