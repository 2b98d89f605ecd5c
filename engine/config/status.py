"""Settings of the status server: where it listens, and under which names it may be asked."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.declaration import Rule, setting

_HOST = r"[A-Za-z0-9_.:\[\]-]+"


@dataclass(frozen=True, kw_only=True)
class StatusSettings:
    """Page, state, metrics and orders over HTTP, from the supervisor."""

    status_host: str = setting(
        "127.0.0.1",
        Rule(text="Address of the status server.", pattern=r"[^\s/]+", allowed="an address or a host name"),
    )
    status_port: int = setting(
        8002,
        Rule(
            text="Port of the status server; a taken one is a warning. 0: none, only status.sock in runtime_dir.",
            at_least=0,
            at_most=65_535,
        ),
    )
    status_hosts: str = setting(
        "",
        Rule(
            text="More names, comma separated, under which browsers may ask it: those of a proxy in front, say.",
            pattern=rf"|{_HOST}( *, *{_HOST})*",
            allowed="host names, comma separated, without ports",
        ),
    )
