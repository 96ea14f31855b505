"""HTTP, blocking."""

from typing import Any

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from shrota_client.address import Address
from shrota_client.answer import Outputs
from shrota_client.exchange import Send
from shrota_client.failures import NO_CONNECTION, Failure
from shrota_client.settings import Timeouts, Tls
from shrota_client.transports.http_common import HEADER_LENGTH, headers, infer_path, read_answer, ssl_context
from shrota_client.transports.http_pool import Pool, Sockets, TlsPool

MAX_CONNECTIONS = 64
"""Connections that are kept for the next request; more are opened where more threads send."""


class HttpTransport:
    """A pool of connections, which urllib3 lets all threads share."""

    def __init__(self, address: Address, tls: Tls, timeouts: Timeouts) -> None:
        self._address = address
        self._connect_s = timeouts.connect_s
        self._sockets = Sockets()
        self._pool: Pool | TlsPool
        options: dict[str, Any] = {"maxsize": MAX_CONNECTIONS, "sockets": self._sockets}
        if address.encrypted:
            self._pool = TlsPool(address.host, address.port, ssl_context=ssl_context(tls), **options)
        else:
            self._pool = Pool(address.host, address.port, **options)

    def send(self, step: Send) -> Outputs | Failure:
        """Sends the request; the tensors of the answer, or what went wrong."""
        header = step.request.http_header(step.timeout_us)
        left_s = step.timeout_s
        # sent one after the other: nothing is copied; urllib3 takes any buffer, though its types say otherwise
        body: Any = [header, *step.request.bodies]
        connect_s = self._connect_s if left_s is None else min(self._connect_s, left_s)
        try:
            answer = self._pool.urlopen(
                "POST",
                infer_path(step, self._address),
                body=body,
                headers=headers(step, header),
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=connect_s, read=left_s),
            )
        except ReadTimeoutError as error:
            return Failure("DEADLINE_EXCEEDED", str(error))
        except (NewConnectionError, ConnectTimeoutError, SSLError) as error:
            return Failure(NO_CONNECTION, str(error))
        except (ProtocolError, HTTPError) as error:
            return Failure("UNAVAILABLE", str(error))
        return read_answer(answer.status, answer.headers.get(HEADER_LENGTH), answer.data)

    def close(self) -> None:
        """Ends what still runs and closes the connections; one that is only being made ends once it is."""
        self._sockets.end()
        self._pool.close()
