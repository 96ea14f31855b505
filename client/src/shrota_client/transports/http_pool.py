"""Pools of HTTP connections that end at once, also under threads that wait for an answer.

urllib3 itself closes only those connections of a pool that are not in use.
"""

import contextlib
import socket
import threading
from typing import Any
from weakref import WeakSet

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class Sockets:
    """The open sockets of a pool; may be used by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._ended = False

    def add(self, connected: socket.socket) -> None:
        """Remembers a socket; one that comes after :meth:`end` is ended here and now."""
        with self._lock:
            self._sockets.add(connected)
            if self._ended:
                _end(connected)

    def end(self) -> None:
        """Ends all connections: who reads meets the end of the stream, who writes a broken pipe."""
        with self._lock:
            self._ended = True
            for each in self._sockets:
                _end(each)


def _end(connected: socket.socket) -> None:
    # not the method of a TLS socket: it takes the encryption off first, and a thread that is sending would go on in
    # clear text
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    """Tells ``sockets`` of every socket that it opens."""

    def __init__(self, *args: Any, sockets: Sockets, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sockets = sockets

    def connect(self) -> None:
        super().connect()
        self._sockets.add(self.sock)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same, encrypted."""


class Pool(urllib3.HTTPConnectionPool):
    """A pool whose option ``sockets`` takes the :class:`Sockets` that end its connections."""

    ConnectionCls = _Connection


class TlsPool(urllib3.HTTPSConnectionPool):
    """The same, encrypted."""

    ConnectionCls = _TlsConnection
