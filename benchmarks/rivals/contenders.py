"""Every server that is compared, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.rivals import programs
from benchmarks.rivals.contender import Contender
from benchmarks.rivals.ours import nightscan
from benchmarks.rivals.sizes import BATCH, INSTANCES, ROUTE, WINDOW_MS
from benchmarks.rivals.torchserve import torchserve
from benchmarks.rivals.triton import pytriton, triton

_PROCESSES = f"{INSTANCES} processes with the model, one thread each"
_BATCHES = f"{_PROCESSES}, batches of up to {BATCH} that wait for {WINDOW_MS} ms at most"
_TENSOR_ROUTE = "/v2/models/classify/infer"

RIVALS = (
    Contender("mosec", programs.mosec, _BATCHES, ROUTE),
    Contender("triton", triton, f"the server's own program, Python backend; {_BATCHES}", _TENSOR_ROUTE, "tensor"),
    Contender("litserve", programs.litserve, _BATCHES, ROUTE),
    Contender(
        "bentoml",
        programs.bentoml,
        f"{_PROCESSES}, adaptive batches of up to {BATCH}; the file in a form",
        ROUTE,
        "form",
    ),
    Contender("flask", programs.flask, f"gunicorn, gthread; {_PROCESSES}, 8 threads for requests, no batches", ROUTE),
    Contender("fastapi", programs.fastapi, f"uvicorn; {_PROCESSES}, no batches", ROUTE),
    Contender(
        "gunicorn-dirty", programs.dirty, f"a worker with 16 threads, {_PROCESSES} beside it, no batches", ROUTE
    ),
    Contender("ray", programs.ray, f"default proxy, optimised for throughput; {_BATCHES}", ROUTE),
    Contender(
        "mlserver", programs.mlserver, f"{_BATCHES}; the file as base64 in JSON", _TENSOR_ROUTE, "text_tensor"
    ),
    Contender("torchserve", torchserve, f"needs Java; {_BATCHES}", "/predictions/classify"),
    Contender(
        "pytriton",
        pytriton,
        f"Triton below one program that holds {INSTANCES} models, batches as of triton",
        _TENSOR_ROUTE,
        "tensor",
    ),
)


def contenders(names: Sequence[str], precisions: Sequence[str], states: Path) -> list[Contender]:
    """Those of these names, ours once for each precision; `states` is a folder for what ours keeps."""
    ours = [nightscan(precision, states) for precision in precisions if "nightscan" in names]
    return ours + [rival for rival in RIVALS if rival.name in names]
