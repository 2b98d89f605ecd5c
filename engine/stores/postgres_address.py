"""What a Postgres address says, and what it cannot say: the bounds of a connection are ours.

Imports psycopg: only for processes in which a Postgres is configured.
"""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from engine.errors import ConfigError

CONNECT_TIMEOUT_S = 2  # the least that libpq knows
_ESCAPES = "in a password @ is written %40, / %2F, ? %3F, : %3A"
_AUTHORITY = re.compile(r"://([^/?]*)")  # splits an address into scheme, authority and the rest
_NAME = re.compile(r"[a-z_]{1,40}", re.IGNORECASE)
_DRIVER = re.compile(r"^(postgres(?:ql)?)(?:\+[a-z0-9_]+)?://", re.IGNORECASE)

# What a query may say: where, as whom, how encrypted, how its death is noticed. Any other name is refused, because
# what looks like a limit (`pool_size`, `connection_limit`) and does nothing is found by its outage.
_ALLOWED = frozenset(
    "host hostaddr port dbname user password passfile service application_name options target_session_attrs"
    " load_balance_hosts sslmode sslrootcert sslcert sslkey sslpassword sslcrl sslcrldir sslsni sslcompression"
    " sslnegotiation ssl_min_protocol_version ssl_max_protocol_version channel_binding require_auth gssencmode"
    " krbsrvname gsslib keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout".split()
)
_BOUNDS = {"connect_timeout": str(CONNECT_TIMEOUT_S), "client_encoding": "UTF8"}
# Negotiating with Kerberos costs a round trip, may ask other servers, and psycopg warns of it: only if asked for.
_DEFAULTS = {"application_name": "nightscan-engine", "gssencmode": "disable"}


def connection_parameters(address: str, *, setting: str = "database_url") -> dict[str, str]:
    """Parameters for psycopg by their names; `postgresql+driver://` is read as `postgresql://`.

    Raises ConfigError, which names `setting` and never quotes the address: a part of it is a secret, and where it
    cannot be parsed nobody knows which.
    """
    plain, count = _DRIVER.subn(lambda found: f"{found[1].lower()}://", address.strip(), count=1)
    if not count:
        raise ConfigError(f"{setting}: must begin with postgresql:// or postgres://")
    authority, rest = _AUTHORITY.split(plain, maxsplit=1)[1:]
    if authority.count("@") > 1 or "@" in rest:  # else a piece of a password becomes a host, and stands in messages
        raise ConfigError(f"{setting}: {_ESCAPES}")
    _check_names(rest.partition("?")[2], setting)
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(plain).items()}
    except (psycopg.Error, UnicodeError):  # what libpq says quotes the part that it stumbled over
        raise ConfigError(f"{setting}: no address of Postgres; {_ESCAPES}") from None
    if not all(port.isdecimal() for port in given.get("port", "").split(",") if port):
        raise ConfigError(f"{setting}: a port is a number; {_ESCAPES}")
    return {**_DEFAULTS, **given, **_BOUNDS}


def shown_place(parameters: dict[str, str]) -> str:
    """Host, port and database, for messages."""
    host = parameters.get("host") or parameters.get("hostaddr") or "the local socket"
    port, database = parameters.get("port", ""), parameters.get("dbname", "")
    return host + (f":{port}" if port else "") + (f"/{database}" if database else "")


def _check_names(query: str, setting: str) -> None:
    for part in filter(None, query.split("&")):
        name = part.partition("=")[0]
        if name not in _ALLOWED and name not in _BOUNDS:
            quoted = repr(name) if _NAME.fullmatch(name) else "what its query says"
            raise ConfigError(f"{setting}: {quoted} is no parameter of an address of Postgres")
