"""Settings of what is kept: cache, journal, and the servers that keep it for longer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from engine.config.declaration import Rule, computed, setting


def default_state_dir(environ: Mapping[str, str] = os.environ) -> str:
    """What systemd gives (`$STATE_DIRECTORY`, the first of several), else `nightscan` where XDG keeps state."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if os.path.isabs(given):
        return given
    base = environ.get("XDG_STATE_HOME", "")
    home = environ.get("HOME", "") or os.path.expanduser("~")
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".local", "state"), "nightscan")


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """Where answers are kept, for how long, and how much of them."""

    redis_url: str = setting(
        "",
        Rule(
            text="Redis that caches answers for all machines; several nodes of a cluster are separated by commas.",
            pattern=r"|(rediss?|unix)://\S+",
            allowed="a redis, rediss or unix address",
            bare_variable="REDIS_URL",
            shared_variable=True,
            secret=True,
        ),
    )
    database_url: str = setting(
        "",
        Rule(
            text="Postgres that keeps the journal of answers.",
            pattern=r"|postgres(ql)?(\+[a-z0-9_]+)?://\S+",
            allowed="a postgresql address",
            bare_variable="DATABASE_URL",
            shared_variable=True,
            secret=True,
        ),
    )
    cache_l1_mb: int = setting(
        16,
        Rule(
            text="Memory of the cache that all frontends of this machine share; 0: none.",
            unit="MB",
            at_least=0,
            at_most=65_536,
        ),
    )
    cache_ttl_s: int = setting(
        3600,
        Rule(text="How long a cached answer is used.", unit="s", at_least=1, at_most=31_536_000),
    )
    state_dir: str = computed(
        default_state_dir,
        Rule(
            text="Folder of the journal and of what is learnt of models, mode 0700; several engines may share it.",
            pattern=r"/[^\0\n]{0,999}",
            allowed="an absolute path of at most 1000 characters",
            default_text="$STATE_DIRECTORY, else nightscan in $XDG_STATE_HOME or ~/.local/state",
        ),
    )
    journal: str = setting("on", Rule(text="Keep one row for every answer.", choices=("on", "off")))
    journal_retention_days: int = setting(
        30,
        Rule(
            text="How long rows are kept; 0: for ever.", unit="days", at_least=0, at_most=36_500
        ),
    )
    journal_max_mb: int = setting(
        2048,
        Rule(
            text="Most that the journal takes of the disk; the oldest rows go first, those not yet in Postgres last.",
            unit="MB",
            at_least=16,
            at_most=16_777_216,
        ),
    )
