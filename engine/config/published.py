"""The published settings: pools, batching, switches. Their names and defaults never change.

So those that nothing acts on are accepted all the same: files that served the original system set them. The reference,
`nightscan config` and the log of the start say so (`Rule.no_effect`).
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.declaration import Rule, setting


def _connections(text: str, *, at_least: int = 1) -> Rule:
    return Rule(text=text, unit="connections", at_least=at_least, at_most=10_000)


def _seconds(text: str) -> Rule:
    return Rule(text=text, unit="s", at_least=0.01, at_most=3600)


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Sizes and time-outs of the connection pools, the model pool and the request queue."""

    db_min_connections: int = setting(5, _connections("Postgres connections kept open.", at_least=0))
    db_max_connections: int = setting(20, _connections("Most Postgres connections, over all processes together."))
    db_connection_timeout: float = setting(10.0, _seconds("Longest wait for a free Postgres connection."))
    db_command_timeout: float = setting(30.0, _seconds("Longest run of one Postgres command."))
    redis_min_connections: int = setting(
        3, _connections("Redis connections that each process keeps open, of those lent to it.", at_least=0)
    )
    redis_max_connections: int = setting(
        15, _connections("Most Redis connections, over all processes together (per node of a cluster).")
    )
    redis_connection_timeout: float = setting(
        5.0, _seconds("Longest attempt to connect to Redis, in the background; 2 s at most are used.")
    )
    http_max_connections: int = setting(100, _connections("Most connections to the original API."))
    http_connection_timeout: float = setting(10.0, _seconds("Longest wait for a connection to the original API."))
    model_pool_size: int = setting(
        3, Rule(text="Model instances of a deployment; on cpu never more than the cores.", at_least=1, at_most=256)
    )
    model_warmup_requests: int = setting(
        5,
        Rule(
            text="Runs of every batch size: one before an instance serves, the others while nobody waits.",
            unit="runs",
            at_least=0,
            at_most=1000,
        ),
    )
    batch_timeout_ms: float = setting(
        100.0,
        Rule(
            text="Upper bound on waiting for a fuller batch, which is done only where it has been seen to pay; a lone"
            " request never waits.",
            unit="ms",
            at_least=0,
            at_most=60_000,
        ),
    )
    max_batch_size: int = setting(
        8,
        Rule(text="Most items of one batch.", unit="items", at_least=1, at_most=1024, bare_variable="API_BATCH_SIZE"),
    )
    request_queue_size: int = setting(
        1000,
        Rule(text="Most items waiting over all frontends; beyond it 429.", unit="items", at_least=1, at_most=1_000_000),
    )
    worker_threads: int = setting(
        4, Rule(text="Threads of one frontend for decoding and views.", unit="threads", at_least=1, at_most=256)
    )


@dataclass(frozen=True, kw_only=True)
class SwitchSettings:
    """What may be turned off; see `engine.config.effective` for what each one then does."""

    enabled: bool = setting(True, Rule(text="Optimized serving at all; false leaves only the original API."))
    enable_async_inference: bool = setting(True, Rule(text="The fast lane; false serves everything by Flask views."))
    enable_batch_processing: bool = setting(True, Rule(text="Batches; false computes items one by one."))
    enable_model_pooling: bool = setting(True, Rule(text="Several instances; false starts one per deployment."))
    fallback_to_original: bool = setting(
        True, Rule(text="Ask the original API while the engine cannot serve; false answers 503.")
    )
