"""Addresses of servers, and which of them a load is for: one of this machine, unless somebody says it is theirs."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from engine.config import shown_address
from engine.errors import ConfigError, NotReady

_UNIX = "unix:"
_ROUTE = "/api/optimized/predict"


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where connections go. `address`: host and port, or the path of a Unix socket."""

    shown: str
    address: tuple[str, int] | str
    host: str  # as the Host header says
    path: str

    def connect(self, timeout_s: float) -> socket.socket:
        """Raises OSError."""
        if isinstance(self.address, tuple):
            connected = socket.create_connection(self.address, timeout=timeout_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connected
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(timeout_s)
        try:
            connected.connect(self.address)
        except OSError:
            connected.close()
            raise
        return connected


def place_of(url: str, *, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of an address that can be asked. Raises ConfigError for any other, and shows no password of it."""
    with contextlib.suppress(ValueError):
        place = urlsplit(url)
        host = (place.hostname or "").encode("idna")
        plain = url.isascii() and url.isprintable() and " " not in url and place.username is None
        if place.scheme in schemes and host and plain and place.port != 0:
            return place
    allowed = " or ".join(f"{scheme}://127.0.0.1:8001" for scheme in schemes)
    raise ConfigError(f"{shown_address(url) if '://' in url else url}: no address; one is {allowed}")


def target_of(url: str, *, allow_remote: bool) -> LoadTarget:
    """Of `http://host:port[/path]` or `unix:/path`. Raises ConfigError for anything else, and for another machine."""
    if url.startswith(_UNIX):
        return LoadTarget(url, url.removeprefix(_UNIX), "localhost", _ROUTE)
    place = place_of(url, schemes=("http",))
    host, port = place.hostname or "", place.port or 80
    if not allow_remote and not _is_here(host, port):
        raise ConfigError(
            f"{url} is not on this machine; a load takes all that a server has: with --allow-remote it goes there too"
        )
    path = _ROUTE if place.path in ("", "/") else place.path
    return LoadTarget(url, (host, port), place.netloc, f"{path}?{place.query}" if place.query else path)


def _is_here(host: str, port: int) -> bool:
    """Whether every address of the name is of the loopback interface. Raises NotReady for a name that is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotReady(f"{host}: {error.strerror or error}") from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
