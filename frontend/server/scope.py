"""What an ASGI application is told of a request: the scope, and on whose behalf a trusted proxy calls."""

from __future__ import annotations

import asyncio
import functools
import urllib.parse
from typing import Any

import httptools

from frontend.server.head import RequestHead
from frontend.server.transport_state import TransportState
from frontend.server.trusted_proxies import TrustedProxies

Address = tuple[str, int]

_KNOWN_TARGET_BYTES = 256  # of the longest target that is remembered


class Peer:
    """Both ends of one connection, as they are seen here."""

    __slots__ = ("client", "scheme", "server", "trusted")

    def __init__(self) -> None:
        self.client: Address | None = None  # None: a Unix socket
        self.server: tuple[str, int | None] | None = None
        self.scheme = "http"
        self.trusted = False  # whether it may say on whose behalf it calls

    @classmethod
    def of(cls, transport: asyncio.BaseTransport, trusted_proxies: TrustedProxies) -> Peer:
        """The ends of an open connection."""
        peer = cls()
        peer.client = _address(transport.get_extra_info("peername"))
        own_name = transport.get_extra_info("sockname")
        peer.server = _address(own_name) or ((str(own_name), None) if own_name else None)
        peer.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        # A Unix socket has no peer address; who may connect to it is decided by the file's permissions.
        peer.trusted = peer.client is None or peer.client[0] in trusted_proxies
        return peer


def scope_of(head: RequestHead, method: bytes, version: str, peer: Peer, state: TransportState) -> dict[str, Any]:
    """The ASGI scope. Raises httptools.HttpParserInvalidURLError for a target that is none."""
    url = head.url
    raw_path, path, query = _known_target(url) if len(url) <= _KNOWN_TARGET_BYTES else _target(url)
    client, scheme = peer.client, peer.scheme
    if peer.trusted and (head.forwarded_for or head.forwarded_proto):
        client, scheme = _forwarded(head, peer, state.trusted_proxies)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": method.decode("ascii"),
        "server": peer.server,
        "client": client,
        "scheme": scheme,
        "root_path": "",
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": head.fields,
        "state": state.app_state.copy(),
        "extensions": {},
    }


def path_of(head: RequestHead) -> str:
    """The path that a head asks for, as far as it has come; empty for a target that is none."""
    try:
        parsed = httptools.parse_url(head.url)
    except httptools.HttpParserInvalidURLError:
        return ""
    return urllib.parse.unquote((parsed.path or b"").decode("ascii"))


def _target(url: bytes) -> tuple[bytes, str, bytes]:
    """Raw path, path and query."""
    parsed = httptools.parse_url(url)
    raw_path = parsed.path or b"/"
    path = raw_path.decode("ascii")
    return raw_path, urllib.parse.unquote(path) if "%" in path else path, parsed.query or b""


_known_target = functools.lru_cache(maxsize=256)(_target)  # clients ask for the same few over and over


def _forwarded(head: RequestHead, peer: Peer, trusted_proxies: TrustedProxies) -> tuple[Address | None, str]:
    client, scheme = peer.client, peer.scheme
    if head.forwarded_for:
        address = trusted_proxies.client_of(b",".join(head.forwarded_for).decode("latin-1"))
        client = (address, 0) if address else client
    if head.forwarded_proto in (b"http", b"https"):
        scheme = head.forwarded_proto.decode()
    return client, scheme


def _address(name: Any) -> Address | None:
    """Of a socket's name: a tuple for the internet's families, a path or nothing for a Unix socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None
