"""HTTP in which the whole of an answer has a bound, its time and its size.

The timeouts of requests are for each read of a socket, and for each address of a host: whoever
sends a byte now and then could hold a function for longer than it lives, and nothing bounds how
much they send.
"""

import io
import time
from http.client import HTTPResponse
from socket import socket
from typing import Any, override

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Timeout

MAX_BYTES = 64 * 1024
"""Of one answer, as it is sent and as it is read. Chapa's longest have two thousand."""


class TooLong(OSError):
    """What is sent has no end that we would wait for."""


class _Reader(io.RawIOBase):
    """What comes from a socket, until its timeout is over as a whole or it has sent too much."""

    def __init__(self, raw: io.RawIOBase, sock: socket) -> None:
        self._raw = raw
        self._sock = sock
        self._until = time.monotonic() + (sock.gettimeout() or 0)
        self._left = MAX_BYTES

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise TooLong
        return count

    @override
    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Answer


class _SecureConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class BoundedAdapter(HTTPAdapter):
    @override
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    @override
    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        connect, read = kwargs["timeout"]
        kwargs["timeout"] = Timeout(connect=connect, read=read, total=connect + read)
        return super().send(request, *args, **kwargs)


def content_of(reply: requests.Response) -> bytes:
    """All of an answer that was asked for as a stream. Raises TooLong, or what requests raises."""
    content = b""
    for part in reply.iter_content(MAX_BYTES):
        content += part
        if len(content) > MAX_BYTES:
            raise TooLong
    return content
