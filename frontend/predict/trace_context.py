"""The header `traceparent`, as W3C's Trace Context says it, by which a caller names its own trace."""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.observe.answered import TraceParent

_MOST_CHARACTERS = 256  # later versions may append to the 55 of the first one
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 1


def trace_of(headers: Mapping[str, str]) -> TraceParent | None:
    """What the caller says of its trace; None where it says nothing, or what is not allowed: that is as nothing."""
    given = headers.get("traceparent")
    if given is None or len(given) > _MOST_CHARACTERS:
        return None
    found = _FORM.fullmatch(given)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not (int(trace_id, 16) and int(span_id, 16)):
        return None
    return TraceParent(bytes.fromhex(trace_id), bytes.fromhex(span_id), bool(int(flags, 16) & _SAMPLED))
