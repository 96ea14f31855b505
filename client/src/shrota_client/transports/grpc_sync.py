"""gRPC, blocking."""

import grpc  # type: ignore[import-untyped]

from shrota_client.address import Address
from shrota_client.answer import Outputs, parse_grpc_answer
from shrota_client.exchange import Send
from shrota_client.failures import Failure
from shrota_client.settings import Timeouts, Tls
from shrota_client.transports.grpc_common import INFER, channel_options, credentials, failure_of


class GrpcTransport:
    """One channel, which gRPC lets all threads share."""

    def __init__(self, address: Address, tls: Tls, timeouts: Timeouts) -> None:
        options = channel_options(timeouts)
        if address.encrypted:
            self._channel = grpc.secure_channel(address.target, credentials(tls), options)
        else:
            self._channel = grpc.insecure_channel(address.target, options)
        self._infer = self._channel.unary_unary(INFER)

    def send(self, step: Send) -> Outputs | Failure:
        """Sends the request; the tensors of the answer, or what went wrong."""
        message = step.request.grpc_message(step.timeout_us)
        try:
            answer = self._infer(message, timeout=step.timeout_s)
        except grpc.RpcError as error:
            return failure_of(error)
        except ValueError as error:  # another thread has closed the channel
            return Failure("CANCELLED", str(error))
        return parse_grpc_answer(answer)

    def close(self) -> None:
        """Ends what still runs and closes the channel."""
        self._channel.close()
