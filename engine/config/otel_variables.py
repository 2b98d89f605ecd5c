"""What the variables of OpenTelemetry ask of traces, where it is not done: said once, lest somebody rely on it."""

from __future__ import annotations

from collections.abc import Mapping

# Variable -> the values that change nothing; none: any does. All others of traces are heeded, by us or by the library.
_UNHEEDED: Mapping[str, tuple[str, ...]] = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("http/protobuf",),
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": ("http/protobuf",),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": (),
    "OTEL_EXPORTER_OTLP_TIMEOUT": (),
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": (),
    "OTEL_PROPAGATORS": ("tracecontext", "tracecontext,baggage", "baggage,tracecontext"),
    "OTEL_SDK_DISABLED": ("false",),
    "OTEL_TRACES_EXPORTER": ("otlp",),
    "OTEL_TRACES_SAMPLER": (),
    "OTEL_TRACES_SAMPLER_ARG": (),
}
_OFF = (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"))


def who_wants_no_traces(environ: Mapping[str, str]) -> str:
    """The variable by which traces are off, whoever else asks for them; "" if there is none."""
    return next((name for name, off in _OFF if _value(environ, name) == off), "")


def unheeded(environ: Mapping[str, str], *, endpoint: str) -> list[str]:
    """A line if there is something to say. `endpoint`: of the collector; "" where traces go nowhere."""
    found = [name for name, same in _UNHEEDED.items() if (value := _value(environ, name)) and value not in same]
    if endpoint:
        does = "traces go to otel_endpoint over HTTP as protobuf, otel_requests_per_s of them"
    else:
        found = [name for name in found if name.endswith("_TRACES_ENDPOINT")]
        does = "no traces are sent; otel_endpoint, without the path, is what says where to"
    return [f"{', '.join(found)} (environment): ignored; {does}"] if found else []


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").replace(" ", "").lower()
