"""HTTP, asynchronous."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp

from shrota_client.address import Address
from shrota_client.answer import Outputs
from shrota_client.exchange import Send
from shrota_client.failures import NO_CONNECTION, Failure
from shrota_client.settings import Timeouts, Tls
from shrota_client.transports.http_common import HEADER_LENGTH, headers, infer_path, read_answer, ssl_context

SLICE_BYTES = 1 << 20
"""So much is handed to the socket at once; the event loop runs in between."""


class AsyncHttpTransport:
    """A session, made in the event loop that first sends."""

    def __init__(self, address: Address, tls: Tls, timeouts: Timeouts) -> None:
        self._address = address
        self._connect_s = timeouts.connect_s
        self._context: ssl.SSLContext | bool = ssl_context(tls) if address.encrypted else True
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # no limit of connections: whoever calls decides how many requests are on their way
            connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    async def send(self, step: Send) -> Outputs | Failure:
        """Sends the request; the tensors of the answer, or what went wrong."""
        header = step.request.http_header(step.timeout_us)
        url = f"{self._address.scheme}://{self._address.target}{infer_path(step, self._address)}"
        timeout = aiohttp.ClientTimeout(total=step.timeout_s, sock_connect=self._connect_s)
        try:
            async with self._open().post(
                url,
                data=_slices(header, step.request.bodies),
                headers=headers(step, header),
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                return read_answer(answer.status, answer.headers.get(HEADER_LENGTH), await answer.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Failure(NO_CONNECTION, str(error))
        except TimeoutError as error:
            return Failure("DEADLINE_EXCEEDED", str(error))
        except (aiohttp.ClientError, OSError) as error:
            return Failure("UNAVAILABLE", f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Ends what still runs and closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _slices(header: bytes, bodies: list[memoryview]) -> AsyncIterator[bytes | memoryview]:
    yield header
    for body in bodies:
        for start in range(0, body.nbytes, SLICE_BYTES):
            yield body[start : start + SLICE_BYTES]
            await asyncio.sleep(0)
