"""What a start is refused for: an address of a store that can never be used.

`python -m engine.stores.preconditions` looks at that of Postgres, in a process of its own: to understand it takes
psycopg, which is for the supervisor's memory and for no frontend's.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys

from engine.config import Settings, load_settings
from engine.errors import ConfigError
from engine.stores.redis_address import BARE_SOURCE, redis_address

_LOOK_S = 20.0  # for an interpreter to start, on a machine that is busy
_REFUSED = 3  # arbitrary: the exit status of `main` for an address that is none
_SHARED_SOURCE = "environment DATABASE_URL"

_log = logging.getLogger(__name__)


def check_redis_address(settings: Settings) -> None:
    """Raises ConfigError; not for what others use too, which is ignored where it is no address of ours."""
    if settings.sources["redis_url"] != BARE_SOURCE:
        redis_address(settings)


def check_store_addresses(settings: Settings) -> None:
    """Both. Raises ConfigError."""
    check_redis_address(settings)
    is_ours = settings.database_url and settings.sources["database_url"] != _SHARED_SOURCE
    if not is_ours or settings.journal != "on":
        return
    command = [sys.executable, "-m", "engine.stores.preconditions"]
    environment = {**os.environ, **settings.to_environment()}
    try:
        ended = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LOOK_S
        )
    except subprocess.TimeoutExpired:  # no reason to serve nobody: the supervisor finds out, and status says so
        _log.warning("the address of Postgres could not be checked within %g s: the start goes on", _LOOK_S)
        return
    if ended.returncode == _REFUSED:
        raise ConfigError(ended.stdout.strip())


def main() -> int:
    """Says on standard output what is wrong with the address of Postgres."""
    # Imported here: who starts a server has an engine to start first, and needs nothing of a database for it.
    from engine.stores.journal_database import database_of

    settings = load_settings()
    try:
        database_of(settings)
    except ConfigError as error:
        print(error)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
