"""Settings of what an operator sees of a running engine: traces and logs."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.declaration import Rule, setting


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """Where traces go, and how many; what is in the logs."""

    log_level: str = setting(
        "info",
        Rule(
            text="Least important events that are logged: one line each, JSON unless the log is a terminal.",
            choices=("debug", "info", "warning", "error"),
        ),
    )
    access_log: str = setting(
        "errors",
        Rule(
            text="Answers over HTTP that are logged: none, those from 400 on (the same ones as a count), or each.",
            choices=("off", "errors", "all"),
        ),
    )
    slow_request_ms: int = setting(
        0,
        Rule(
            text="Predictions that take longer are logged, with where their time went; 0: none.",
            unit="ms",
            at_least=0,
            at_most=3_600_000,
        ),
    )

    otel_endpoint: str = setting(
        "",
        Rule(
            text="Address of an OpenTelemetry collector (HTTP, protobuf) that gets a trace of requests, `/v1/traces` "
            "is put behind it; empty: none does. Needs the extra `otel`.",
            pattern=r"|https?://[^\s/]+\S*",
            allowed="an http or https address",
            secret=True,
            bare_variable="OTEL_EXPORTER_OTLP_ENDPOINT",
            shared_variable=True,
        ),
    )
    otel_requests_per_s: int = setting(
        20,
        Rule(
            text="Most requests that are traced; those whose caller traces them come first. Each takes the supervisor "
            "half a millisecond.",
            unit="requests/s",
            at_least=1,
            at_most=10_000,
        ),
    )
