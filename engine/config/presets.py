"""The published Python way to say pool sizes: ConnectionPoolConfig and its three presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine.config.load import load_settings
from engine.config.published import PoolSettings
from engine.config.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ConnectionPoolConfig(PoolSettings):
    """Pool sizes, time-outs, batching: the published fields with the published defaults.

    The presets are recipes: what they do not name keeps its default.
    """

    @classmethod
    def high_throughput(cls) -> ConnectionPoolConfig:
        """Large pools and batches."""
        return cls(
            db_max_connections=50,
            redis_max_connections=30,
            model_pool_size=5,
            max_batch_size=16,
            batch_timeout_ms=50.0,
            worker_threads=8,
        )

    @classmethod
    def low_latency(cls) -> ConnectionPoolConfig:
        """One instance, no batches."""
        return cls(model_pool_size=1, max_batch_size=1, batch_timeout_ms=10.0, worker_threads=2)

    @classmethod
    def resource_constrained(cls) -> ConnectionPoolConfig:
        """Small pools, one instance, small batches."""
        return cls(
            db_max_connections=5, redis_max_connections=3, model_pool_size=1, max_batch_size=4, batch_timeout_ms=200.0
        )

    def to_settings(self, base: Settings | None = None) -> Settings:
        """`base` (unless given, the settings of this process) with the fields of this config that are not at default.

        Fields at default leave what the environment or the file says. Raises ConfigError for values out of bounds.
        """
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        return (load_settings() if base is None else base).changed(**values)
