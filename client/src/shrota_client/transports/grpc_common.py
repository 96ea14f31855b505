"""What the two gRPC transports share: channel options, credentials, the method and the reading of an error."""

import grpc  # type: ignore[import-untyped]

from shrota_client.failures import Failure
from shrota_client.settings import Timeouts, Tls, read_pem

INFER = "/inference.GRPCInferenceService/ModelInfer"
ROUND_ROBIN = '{"loadBalancingConfig": [{"round_robin": {}}]}'
"""https://github.com/grpc/grpc/blob/master/doc/service_config.md"""


def channel_options(timeouts: Timeouts) -> list[tuple[str, int | str]]:
    """Messages of any length; connecting ends after ``connect_s`` and is tried again soon.

    Requests go in turn to all addresses that the name of the server has: by itself gRPC would use one of them only.
    """
    return [
        ("grpc.service_config", ROUND_ROBIN),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # gRPC gives an attempt to connect as long as the shortest pause between two attempts
        ("grpc.min_reconnect_backoff_ms", max(1, round(timeouts.connect_s * 1000))),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # or a failed connection of one client would be the other clients' too
        ("grpc.use_local_subchannel_pool", 1),
    ]


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """TLS credentials of a channel."""
    files = (tls.root_certificates, tls.client_key, tls.client_certificate)
    return grpc.ssl_channel_credentials(*(None if path is None else read_pem(path) for path in files))


def failure_of(error: grpc.RpcError) -> Failure:
    """Status and message of a failed call."""
    return Failure(error.code().name, error.details() or "")
