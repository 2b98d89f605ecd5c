"""How a collector is talked to: whatever it answers costs a few kilobytes and some seconds.

The library reads an answer to its end, however long that is and however slowly it comes, unpacked; and a redirection,
which it does not follow, it takes for a success.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from engine.clock import Deadline
from engine.stores.cutting import cut_after

_FIRST_OTHER = 300
_FIRST_REFUSAL = 400
_MOST_ANSWER_BYTES = 4096  # up to here a connection is used again
_HEAD_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 2.0  # once its head is there


class CollectorSession(requests.Session):
    """`said`: what came of the last sending, in words without an address; "" while nothing has."""

    said = ""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Raises requests.RequestException, for a redirection too."""
        try:
            response = super().request(*arguments, **{**options, "stream": True, "allow_redirects": False})
        except requests.RequestException as error:
            self.said = type(error).__name__
            raise
        _read(response)
        self.said = f"HTTP {response.status_code}"
        if _FIRST_OTHER <= response.status_code < _FIRST_REFUSAL:
            raise requests.HTTPError(f"{self.said}: redirections are not followed")
        return response


class _PromptResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._socket = sock

    def begin(self) -> None:
        """Reads the head. Raises TimeoutError for one that comes byte by byte: each read has a time of its own."""
        with cut_after(self._socket, _HEAD_WITHIN_S):
            super().begin()


class _HttpConnection(urllib3.connection.HTTPConnection):
    response_class = _PromptResponse


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    response_class = _PromptResponse


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _read(response: requests.Response) -> None:
    """To the end of a short answer; the connection of any other is closed."""
    until = Deadline.after_s(_ANSWER_WITHIN_S)
    with response, contextlib.suppress(urllib3.exceptions.HTTPError):  # it breaks off: what it says is known already
        for _ in range(_MOST_ANSWER_BYTES):
            # Byte by byte: a longer read would wait for all of it, as often as the peer sends some.
            if until.expired or not response.raw.read(1):
                return
