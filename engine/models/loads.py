"""Whether a model loads and computes here: `python -m engine.models.loads`, which nobody has to trust.

Reads a ModelSpec as JSON from standard input, and writes what came of it there as one line of JSON: `description`, or
the `error`. What foreign code prints goes to standard error. Memory that runs out is taken from this process first.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from engine.clock import NS_PER_MS, now_ns
from engine.errors import EngineError
from engine.models.catalogue import load_model
from engine.spec import ModelSpec

_FIRST_TO_GO = "1000"  # proc(5), oom_score_adj
_NICE = 10  # what serves goes first


def main() -> int:
    """0 if it loads, else 1."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    os.nice(_NICE)
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what foreign code writes past Python, too
    found = _found(ModelSpec.from_json(json.load(sys.stdin)))
    print(json.dumps(found), file=told, flush=True)
    return 1 if "error" in found else 0


def _found(spec: ModelSpec) -> dict[str, Any]:
    began_ns = now_ns()
    try:
        description = load_model(spec).description
    except EngineError as error:
        return {"error": str(error)}
    return {
        "model_version": description.model_version,
        "classes": description.classes,
        "labels": len(description.labels),
        "sample_rate_hz": description.sample_rate_hz,
        "segment_s": description.segment_s,
        "took_ms": round((now_ns() - began_ns) / NS_PER_MS),
    }


if __name__ == "__main__":
    sys.exit(main())
