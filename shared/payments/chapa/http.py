"""HTTP exchanges with a limit on the time and the size of the whole answer.

The timeouts of requests apply to each read of a socket and to each address of a host. A server that
sends one byte now and then could keep a function busy until Lambda stops it, and requests has no
limit on the size.
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
"""The limit of one answer, before and after decompression. Chapa's longest have 2,000 bytes."""


class TooLong(OSError):
    """The answer is larger than MAX_BYTES."""


class _Reader(io.RawIOBase):
    """Reads a socket: at most MAX_BYTES, and its timeout applies to all reads together."""

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


class _BoundedResponse(HTTPResponse):
    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _BoundedResponse


class _SecureConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class BoundedAdapter(HTTPAdapter):
    """Wants `timeout` as a pair: seconds to connect, and to read the answer."""

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
    """The whole body of a streamed response. Raises TooLong or a RequestException."""
    content = b""
    for part in reply.iter_content(MAX_BYTES):
        content += part
        if len(content) > MAX_BYTES:
            raise TooLong
    return content
