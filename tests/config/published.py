"""The published names and defaults, written out a second time on purpose: they are a promise to others."""

from __future__ import annotations

POOL_DEFAULTS: dict[str, int | float] = {
    "db_min_connections": 5,
    "db_max_connections": 20,
    "db_connection_timeout": 10.0,
    "db_command_timeout": 30.0,
    "redis_min_connections": 3,
    "redis_max_connections": 15,
    "redis_connection_timeout": 5.0,
    "http_max_connections": 100,
    "http_connection_timeout": 10.0,
    "model_pool_size": 3,
    "model_warmup_requests": 5,
    "batch_timeout_ms": 100.0,
    "max_batch_size": 8,
    "request_queue_size": 1000,
    "worker_threads": 4,
}
SWITCHES = (
    "enabled",
    "enable_async_inference",
    "enable_batch_processing",
    "enable_model_pooling",
    "fallback_to_original",
)
PUBLISHED: dict[str, bool | int | float] = {**POOL_DEFAULTS, **dict.fromkeys(SWITCHES, True)}
PREFIX = "NIGHTSCAN_OPTIMIZED_SERVING__"

# The documented environment and file, value by value.
DOCUMENTED_ENVIRONMENT = {
    "DB_MIN_CONNECTIONS": "5",
    "DB_MAX_CONNECTIONS": "20",
    "DB_CONNECTION_TIMEOUT": "10.0",
    "REDIS_MIN_CONNECTIONS": "3",
    "REDIS_MAX_CONNECTIONS": "15",
    "REDIS_CONNECTION_TIMEOUT": "5.0",
    "MODEL_POOL_SIZE": "3",
    "MODEL_WARMUP_REQUESTS": "5",
    "BATCH_TIMEOUT_MS": "100.0",
    "MAX_BATCH_SIZE": "8",
    "REQUEST_QUEUE_SIZE": "1000",
    "ENABLE_ASYNC_INFERENCE": "true",
    "ENABLE_BATCH_PROCESSING": "true",
    "ENABLE_MODEL_POOLING": "true",
    "FALLBACK_TO_ORIGINAL": "true",
}
DOCUMENTED_FILE = {
    "optimized_serving": {
        "enabled": True,
        "db_min_connections": 5,
        "db_max_connections": 20,
        "redis_max_connections": 15,
        "model_pool_size": 3,
        "batch_timeout_ms": 100.0,
        "max_batch_size": 8,
        "enable_async_inference": True,
        "enable_batch_processing": True,
        "fallback_to_original": True,
    }
}
