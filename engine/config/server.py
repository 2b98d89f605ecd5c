"""Settings of the HTTP side: listening, limits on connections, the original API."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.cores import cores_of
from engine.config.declaration import Rule, computed, setting

_FEWEST_DEFAULT_WORKERS = 2
_MOST_DEFAULT_WORKERS = 8
_HEADER = r"(\*|[A-Za-z0-9!#$%&'^_`|~+.-]+)"
_RATE = r"[0-9]+ ?(per|/) ?([0-9]+ ?)?(second|minute|hour|day|month|year)s?"


def default_workers() -> int:
    """Half of the cores this process may use, at least 2, at most 8.

    With a single one the engine stands still whenever that one waits: measured in `benchmarks/README.md`.
    """
    return max(_FEWEST_DEFAULT_WORKERS, min(_MOST_DEFAULT_WORKERS, cores_of().count // 2))


def _seconds(text: str) -> Rule:
    return Rule(text=text, unit="s", at_least=0.05, at_most=3600)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Listening socket, frontends, and how long a peer may take."""

    bind_host: str = setting(
        "127.0.0.1", Rule(text="Address to listen on.", pattern=r"[^\s/]+", allowed="an address or a host name")
    )
    port: int = setting(
        8001, Rule(text="Port to listen on; 0: any free one, named in the log.", at_least=0, at_most=65_535)
    )
    workers: int = computed(
        default_workers,
        Rule(
            text="Frontend processes.",
            unit="processes",
            at_least=1,
            at_most=64,
            default_text="half the cores, at least 2, at most 8",
        ),
    )
    fast_lane: str = setting(
        "auto",
        Rule(
            text="Answer on the event loop; auto: for an unchanged app made by create_app(), or as an app's code says.",
            pattern="auto|off",
            allowed="auto or off; only code opens the lane of another app: fast_lane(app, guard=...) or enabled=True",
        ),
    )
    start_engine: bool = setting(
        True, Rule(text="Frontends start an engine where none runs; false: another service does, and they wait for it.")
    )
    attach_s: float = setting(
        10.0,
        _seconds(
            "Longest wait of a starting frontend for its lanes where systemd holds its socket; then it answers 503, or "
            "asks the original API, until it has them."
        ),
    )
    graceful_timeout_s: float = setting(4.0, _seconds("Longest a leaving frontend waits for unfinished requests."))
    drain_s: float = setting(1.0, _seconds("How long a leaving frontend still reads idle connections."))
    keepalive_s: int = setting(
        75, Rule(text="Idle time of a connection; above a proxy's own.", unit="s", at_least=1, at_most=3600)
    )
    header_timeout_s: float = setting(10.0, _seconds("Longest wait for complete request headers."))
    body_idle_timeout_s: float = setting(
        30.0, _seconds("Longest pause within a request's body, and of a client that does not read its answer.")
    )
    min_body_bytes_per_s: int = setting(
        1000,
        Rule(
            text="Slowest body, and slowest reading of an answer, over any body_idle_timeout_s; 0: no limit.",
            unit="bytes/s",
            at_least=0,
            at_most=10**9,
        ),
    )
    max_inflight_bytes: int = setting(
        256 * 1024 * 1024,
        Rule(
            text="Most memory for request bodies in one frontend, and for decoding what is long; never less than one "
            "max_upload_bytes. Beyond it reading pauses. As much again for what compressed ones unpack to.",
            unit="bytes",
            at_least=1024 * 1024,
            at_most=2**36,
        ),
    )
    inflight_wait_s: float = setting(
        10.0, _seconds("Longest a body, or its decoding, waits for such memory; then 503.")
    )
    max_connections: int = setting(
        1000, Rule(text="Most open connections of one frontend.", unit="connections", at_least=1, at_most=100_000)
    )
    max_requests: int = setting(
        0,
        Rule(text="Requests after which a frontend is replaced; 0: never.", unit="requests", at_least=0, at_most=10**9),
    )


@dataclass(frozen=True, kw_only=True)
class OriginalApiSettings:
    """What the original API was told by its environment, and where it is."""

    original_api_url: str = setting(
        "",
        Rule(
            text="The original API, asked while the engine cannot serve.",
            pattern=r"|https?://[^\s/]+\S*",
            allowed="an http or https address",
            secret=True,
        ),
    )
    predict_log_file: str = setting(
        "", Rule(text="File that gets one JSON line per answer.", bare_variable="PREDICT_LOG_FILE")
    )
    api_cors_origins: str = setting(
        "", Rule(text="Origins, comma separated, that browsers may call from.", bare_variable="API_CORS_ORIGINS")
    )
    api_cors_headers: str = setting(
        "Authorization, Cache-Control, Content-Encoding, Content-Type, Pragma, X-API-Key, X-File-Name, X-Request-ID, "
        "X-Request-Timeout-Ms, X-Requested-With",
        Rule(
            text="Request headers, comma separated, that pages of those origins may send; `*` for all.",
            pattern=rf"|{_HEADER}( *, *{_HEADER})*",
            allowed="names of headers, comma separated",
        ),
    )
    api_rate_limit: str = setting(
        "",
        Rule(
            text="Most requests of one client; empty: no limit.",
            no_effect="requests are not counted by client in this version; limit them in front, by nginx say",
            pattern=rf"|{_RATE}([,;] ?{_RATE})*",
            allowed='a rate such as "60 per minute"',
            bare_variable="API_RATE_LIMIT",
        ),
    )
