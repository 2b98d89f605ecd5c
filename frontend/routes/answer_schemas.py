"""JSON Schemas of what succeeds. Closed: a key that is not here fails the tests that compare answers with them."""

from __future__ import annotations

from frontend.predict.operation import JsonSchema

_TEXT: JsonSchema = {"type": "string"}
_NUMBER: JsonSchema = {"type": "number"}
_COUNT: JsonSchema = {"type": "integer", "minimum": 0}
_YES_OR_NO: JsonSchema = {"type": "boolean"}
_ANY_OBJECT: JsonSchema = {"type": "object"}
_PROBABILITY: JsonSchema = {"type": "number", "description": "0 to 1 where the model answers probabilities"}
_SECONDS: JsonSchema = {"type": "number", "minimum": 0, "description": "seconds"}


def closed(properties: JsonSchema, *, optional: tuple[str, ...] = ()) -> JsonSchema:
    """An object with these keys, all but `optional` always there, and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def array_of(items: JsonSchema) -> JsonSchema:
    return {"type": "array", "items": items}


_RANKED = array_of(closed({"class_index": _COUNT, "label": _TEXT, "probability": _PROBABILITY}))
_HEARD = {
    "anyOf": [{"const": "mean"}, {"type": "integer", "minimum": 1}],
    "description": "which channel the model heard, from 1; of a recording of several",
}

PREDICTION = closed(
    {
        "request_id": _TEXT,
        "deployment_id": _TEXT,
        "model_version": _TEXT,
        "predicted_class": _COUNT,
        "predicted_label": _TEXT,
        "confidence": _PROBABILITY,
        "top_predictions": _RANKED,
        "segments": array_of(
            closed({"index": _COUNT, "start_s": _SECONDS, "end_s": _SECONDS, "top_predictions": _RANKED})
        ),
        "audio": closed(
            {
                "duration_s": _SECONDS,
                "sample_rate_hz": _COUNT,
                "channels": _COUNT,
                "channel_used": _HEARD,
                "format": _TEXT,
            },
            optional=("channel_used",),
        ),
        "inference_method": {"const": "batch"},
        "batch_size": {"type": "integer", "minimum": 1},
        "latency": _SECONDS,
        "cache_hit": _YES_OR_NO,
    }
)

ORIGINAL_PREDICTION = array_of(
    closed(
        {
            "segment": _TEXT,
            "time": _SECONDS,
            "predictions": array_of(closed({"label": _TEXT, "probability": _PROBABILITY})),
        }
    )
)

HEALTH = closed({"status": {"const": "healthy"}, "service": _TEXT, "timestamp": _TEXT, "version": _TEXT})

READINESS = closed(
    {
        "status": {"enum": ["ready", "not_ready"]},
        "checks": closed(
            {name: _YES_OR_NO for name in ("model_loaded", "disk_space", "memory", "gpu_available", "cache")}
        ),
        "cache": closed({"enabled": _YES_OR_NO, "ttl_s": {"type": ["integer", "null"]}, "l1": _TEXT, "l2": _TEXT}),
        "timestamp": _TEXT,
    }
)

_NOT_READY: JsonSchema = {"const": "not_ready"}
ENGINE_HEALTH = closed(
    {
        "status": {"enum": ["healthy", "degraded"]},
        "initialized": {"const": True},
        "timestamp": _NUMBER,
        "model_pools": _COUNT,
        "active_connections": closed({"database": _YES_OR_NO, "redis": _YES_OR_NO}),
        "reasons": array_of(_TEXT),
    }
)
ENGINE_NOT_READY = closed({"status": _NOT_READY, "initialized": {"const": False}, "timestamp": _NUMBER})

STATISTICS = closed(
    {
        name: _ANY_OBJECT
        for name in (
            "connection_pools", "cache", "journal", "model_pools", "batch_processing", "performance_metrics",
            "system_resources", "tuning",
        )
    }
)  # fmt: skip

OPENAPI: JsonSchema = {"type": "object", "required": ["openapi", "info", "paths", "components"]}
