"""Whether the servers that the settings name can be reached: `python -m engine.stores.reached`.

A process of its own, because a name may take a minute to be resolved, and because psycopg and redis-py are for whoever
needs them. Writes one line of JSON: for each of `redis`, `database` and `http` what is wrong, "" where nothing is, null
where none is configured. No address stands in it with its credentials.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from urllib.parse import urlsplit

from engine.clock import Deadline
from engine.config import Settings, load_settings
from engine.errors import EngineError, StoreUnavailable
from engine.stores.journal_database import RemoteJournal, database_of
from engine.stores.redis_address import redis_address

WITHIN_S = 4.0  # for each

_LOOK_S = 0.2


def redis_trouble(settings: Settings) -> str | None:
    """Of the first node that does not answer."""
    address = redis_address(settings)
    if address is None:
        return None
    from engine.stores.redis_link import RedisLink  # only who has a Redis pays for redis-py

    deadline = Deadline.after_s(WITHIN_S)
    for node in address.nodes:
        link = RedisLink(node, address, deadline)
        try:
            link.greet(deadline)
        finally:
            link.close()
    return ""


def database_trouble(settings: Settings) -> str | None:
    """Raises what the journal would meet."""
    database = database_of(settings)
    if database is None:
        return None
    deadline = Deadline.after_s(WITHIN_S)
    database.open()
    try:
        while not _is_ready(database):
            if deadline.expired:
                raise StoreUnavailable(f"Postgres does not answer within {WITHIN_S:.0f} s")
    finally:
        database.close()
    return ""


def _is_ready(database: RemoteJournal) -> bool:
    """False while nobody knows. Raises StoreUnavailable as soon as it is known to be away."""
    try:
        database.wait_ready(_LOOK_S)
    except StoreUnavailable:
        database.check()
        return False
    return True


def http_trouble(settings: Settings) -> str | None:
    """Of the original API: whether its port is open."""
    if not settings.original_api_url:
        return None
    place = urlsplit(settings.original_api_url)
    port = place.port or (443 if place.scheme == "https" else 80)
    with contextlib.closing(socket.create_connection((place.hostname or "", port), timeout=WITHIN_S)):
        return ""


def main() -> int:
    """0 if all that is configured answers."""
    settings = load_settings()
    found: dict[str, str | None] = {}
    for name, trouble in (("redis", redis_trouble), ("database", database_trouble), ("http", http_trouble)):
        try:
            found[name] = trouble(settings)
        except EngineError as error:
            found[name] = str(error)
        except OSError as error:
            found[name] = error.strerror or str(error)
    print(json.dumps(found))
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
