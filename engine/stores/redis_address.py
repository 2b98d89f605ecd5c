"""Where Redis is, as `redis_url` says: servers, credentials, TLS, and nothing that would change our bounds.

`redis://[user[:password]@]host[:port][,host[:port]...][/database]`, `rediss://` the same over TLS, and
`unix://[user[:password]@]/path`. Of a query only `QUERY` is heeded: redis-py would take any limit of ours from it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from engine.config import Settings, shown_address
from engine.errors import ConfigError

DEFAULT_PORT = 6379
BARE_SOURCE = "environment REDIS_URL"
CREDENTIALS = ("username", "password", "db")
TLS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
QUERY = (*CREDENTIALS, *TLS)
_CERT_REQS = ("none", "optional", "required")

_log = logging.getLogger(__name__)


class RedisNode(NamedTuple):
    """One server: a TCP address, or the path of a Unix socket (then the port is 0)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


@dataclass(frozen=True)
class RedisAddress:
    """What `redis_url` says."""

    nodes: tuple[RedisNode, ...]
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    tls: Mapping[str, str] | None = None  # arguments of redis-py's SSLConnection; None: no TLS


def redis_address(settings: Settings) -> RedisAddress | None:
    """Where Redis is; None where none is set.

    Raises ConfigError for what is no address of Redis. From the variable that others use too it is ignored instead,
    with one line in the log.
    """
    if not settings.redis_url:
        return None
    try:
        return parsed(settings.redis_url)
    except ConfigError as error:
        if settings.sources["redis_url"] != BARE_SOURCE:
            raise
        _log.warning("%s (%s); ignored", error, BARE_SOURCE)
        return None


def parsed(url: str) -> RedisAddress:
    """Raises ConfigError, whose text has no secret in it."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "unix"):
        raise ConfigError("redis_url: a redis, rediss or unix address is wanted")
    rest, _, query = rest.partition("?")
    given = _heeded(query, url)
    credentials, _, place = rest.rpartition("@")
    username, _, password = (unquote(part) for part in credentials.partition(":"))
    nodes: tuple[RedisNode, ...] = (RedisNode(_path(place, url), 0),) if scheme == "unix" else ()
    hosts, _, database = place.partition("/") if not nodes else ("", "", "")
    nodes = nodes or tuple(_node(host, url) for host in hosts.split(","))
    return RedisAddress(
        nodes,
        given.get("username", username),
        given.get("password", password),
        _database(given.get("db") or database, url, cluster=len(nodes) > 1),
        _tls(given, url) if scheme == "rediss" else None,
    )


def _heeded(query: str, url: str) -> dict[str, str]:
    """What of the query we know; says once that there is more."""
    found = dict(parse_qsl(query.partition("#")[0]))
    unknown = len(found.keys() - set(QUERY))
    if unknown:  # not named: half of a password could stand there
        _log.warning("redis_url=%s: %d parameters are ignored, for our own bounds hold", shown_address(url), unknown)
    return {name: value for name, value in found.items() if name in QUERY}


def _refusal(url: str, what: str) -> ConfigError:
    return ConfigError(f"redis_url={shown_address(url)}: {what}")


def _path(place: str, url: str) -> str:
    path = unquote(place)
    if not path.startswith("/") or "\0" in path:
        raise _refusal(url, "the path of the socket must begin with /")
    return path


def _node(text: str, url: str) -> RedisNode:
    """One of `host`, `host:port`, `[v6]:port`."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise _refusal(url, "a host is not understood")
    else:
        host, colon, port = text.partition(":")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise _refusal(url, "a port is a number from 1 to 65535")
    return RedisNode(unquote(host) or "localhost", int(port) if colon else DEFAULT_PORT)


def _database(text: str, url: str, *, cluster: bool) -> int:
    text = text.strip("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _refusal(url, "the database is a small number")
    if cluster and int(text):
        raise _refusal(url, "a cluster has database 0 alone")
    return int(text)


def _tls(given: Mapping[str, str], url: str) -> dict[str, str]:
    tls = {name: given[name] for name in TLS if name in given}
    if tls.get("ssl_cert_reqs", "required") not in _CERT_REQS:
        raise _refusal(url, f"ssl_cert_reqs is one of {', '.join(_CERT_REQS)}")
    return tls
