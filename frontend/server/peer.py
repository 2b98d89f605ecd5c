"""Both ends of one connection, and on whose behalf a trusted proxy calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from frontend.server.trusted_proxies import TrustedProxies, plain_address

Address = tuple[str, int]

_SCHEMES = (b"http", b"https")


class HttpPeer:
    """As they are seen here; made when the connection is."""

    __slots__ = ("_proxies", "address", "client", "scheme", "server", "trusted")

    def __init__(self, transport: asyncio.BaseTransport, proxies: TrustedProxies) -> None:
        self._proxies = proxies
        self.client: Address | None = _address(transport.get_extra_info("peername"))  # None: a Unix socket
        own_name = transport.get_extra_info("sockname")
        own: tuple[str, int | None] | None = _address(own_name) or ((str(own_name), None) if own_name else None)
        self.server = own
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        # A Unix socket has no peer address; who may connect to it is decided by the file's permissions.
        self.trusted = self.client is None or self.client[0] in proxies
        self.address = "" if self.client is None else plain_address(self.client[0])

    def caller(self, headers: Mapping[str, str]) -> str:
        """The address of whoever has sent a request with these headers, its peer being trusted."""
        forwarded_for = headers.get("x-forwarded-for")
        return (self._proxies.client_of(forwarded_for) if forwarded_for else "") or self.address

    def caller_scheme(self, fields: Sequence[tuple[bytes, bytes]]) -> str:
        """By which scheme they have sent it."""
        told = [value.strip().lower() for name, value in fields if name == b"x-forwarded-proto"] if self.trusted else []
        return told[-1].decode() if told and told[-1] in _SCHEMES else self.scheme


def _address(name: Any) -> Address | None:
    """Of a socket's name: a tuple for the internet's families, a path or nothing for a Unix socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None
