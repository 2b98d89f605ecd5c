"""The plain inline app behind the same guards as `host_app`."""

from __future__ import annotations

from benchmarks.guards import guard
from benchmarks.inline_app import application as inline

application = guard(inline)
