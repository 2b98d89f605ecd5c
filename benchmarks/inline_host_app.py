"""The plain inline app of the rivals' comparison kit behind the same guards as `host_app`."""

from __future__ import annotations

import importlib

from benchmarks.guards import guard

application = guard(importlib.import_module("app").app)  # the kit's folder is on the path where this is served
