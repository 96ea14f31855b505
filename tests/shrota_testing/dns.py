"""A name server for one name, whose addresses a test changes. RFC 1035, as far as that goes."""

import socket
import struct
import threading
from types import TracebackType
from typing import Self

A, IN = 1, 1
RESPONSE = 0x8400
"""An answer, by the one who is in charge of the name."""


class NameServer:
    """Answers every question of an IPv4 address with ``addresses``, for no longer than now (TTL 0)."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                message, caller = self._socket.recvfrom(512)
            except OSError:
                return
            if not message:
                return
            self._socket.sendto(answer(message, self.addresses), caller)

    def __enter__(self) -> Self:
        """Starts it."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()


def answer(question: bytes, addresses: list[str]) -> bytes:
    """The answer to a message with one question."""
    end = question.index(b"\0", 12) + 5
    (kind,) = struct.unpack_from("!H", question, end - 4)
    given = addresses if kind == A else []
    header = question[:2] + struct.pack("!HHHHH", RESPONSE | (question[2] & 1) << 8, 1, len(given), 0, 0)
    # 0xC00C: the name that stands in the question
    records = b"".join(struct.pack("!HHHIH", 0xC00C, A, IN, 0, 4) + socket.inet_aton(one) for one in given)
    return header + question[12:end] + records
