"""The five parts of the demo: one prediction, batches, pools, a benchmark, and the server to try by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from frontend.cli.http_client import get_json, post_audio
from frontend.cli.load import LoadResult, LoadRun, requests_of
from frontend.cli.load_connection import LoadAnswer
from frontend.cli.printing import WIDTH
from frontend.cli.sounds import chirps
from frontend.cli.tables import table
from frontend.cli.target import target_of
from frontend.cli.view import prediction_view

LONGEST_S = 60.0  # of a benchmark
_BATCH_REQUESTS, _BATCH_AT_ONCE = 64, 16
_POOLS = (("database", "Postgres"), ("redis", "Redis"), ("http", "original API"))
_ROUTES = (
    ("POST", "/api/optimized/predict", "curl -F file=@recording.wav {url}/api/optimized/predict"),
    ("POST", "/api/predict", "curl -F file=@recording.wav {url}/api/predict"),
    ("GET", "/api/optimized/health", "curl {url}/api/optimized/health"),
    ("GET", "/api/optimized/stats", "curl {url}/api/optimized/stats"),
    ("GET", "/metrics", "curl {url}/metrics"),
)


@dataclass(frozen=True, slots=True)
class DemoPart:
    """What a part has shown: for people, and for programs."""

    name: str
    title: str
    text: str
    data: dict[str, Any]


def parts(url: str) -> Iterator[DemoPart]:
    """All of them, each when it has been seen."""
    yield _single(url)
    yield _batches(url)
    yield _pools(url)
    yield benchmark(url, 100, 10)
    yield _server(url)


def _single(url: str) -> DemoPart:
    audio = chirps(pitch_hz=1250)  # not the sound that was waited with: a cache knows that
    answer = post_audio(url, audio, timeout_s=LONGEST_S)
    text = f"{prediction_view(answer)}answered in {answer['latency'] * 1000:.1f} ms"
    return DemoPart("single", "Single prediction: three seconds of chirps, made here", text, answer)


def _batches(url: str) -> DemoPart:
    sizes: Counter[int] = Counter()

    def count(answer: LoadAnswer) -> None:
        if answer.status == 200:
            sizes[int(json.loads(answer.body)["batch_size"])] += 1

    result = _load(url, _BATCH_REQUESTS, _BATCH_AT_ONCE, count)
    told = ", ".join(f"{number} in batches of {size}" for size, number in sorted(sizes.items()))
    text = f"{result.rate:.1f} requests/s; {told or 'none was answered'}"
    data = {"batch_sizes": {str(size): number for size, number in sorted(sizes.items())}, **result.to_json()}
    return DemoPart("batches", f"Batches: {_BATCH_REQUESTS} requests, {_BATCH_AT_ONCE} at once", text, data)


def _pools(url: str) -> DemoPart:
    stats = get_json(f"{url}/api/optimized/stats")
    pools, cache = stats["connection_pools"], stats["cache"]
    rows = [(name, str(pools[pool]["state"]), _used(pools[pool])) for pool, name in _POOLS]
    rows += [(f"cache {level.upper()}", str(cache[level]["state"]), "") for level in ("l1", "l2")]
    text = "\n".join(table(("what", "state", "connections"), rows, width=WIDTH))
    left = "\nTo have them: redis_url, database_url, original_api_url. The demo leaves a Postgres alone."
    return DemoPart("pools", "Connection pools and cache", text + left, {"connection_pools": pools, "cache": cache})


def _used(pool: dict[str, Any]) -> str:
    return "" if pool.get("in_use") is None else f"{pool['in_use']} in use, {pool['idle']} idle"


def benchmark(url: str, requests: int, concurrency: int) -> DemoPart:
    """So many requests, each with a sound of its own."""
    result = _load(url, requests, concurrency, bool)
    median, most = result.percentile_ms(0.5), result.percentile_ms(0.95)
    text = "nothing was answered"
    if median is not None and most is not None:
        text = (
            f"{len(result.latencies_ms)} requests, {concurrency} at a time: {result.rate:.1f} requests/s, "
            f"median {median:.1f} ms, 95 % within {most:.1f} ms"
        )
    if result.others:
        text += f"; not answered: {dict(result.others)}"
    return DemoPart("benchmark", "Benchmark; of your own server: nightscan bench", text, result.to_json())


def _load(url: str, requests: int, concurrency: int, on_answer: Callable[[LoadAnswer], object]) -> LoadResult:
    target = target_of(url, allow_remote=False)
    run = LoadRun(target, requests_of(target, [chirps()], same=False), min(concurrency, requests))
    run.on_answer = on_answer
    return run.go(LONGEST_S, most=requests)


def _server(url: str) -> DemoPart:
    health = get_json(f"{url}/api/optimized/health")
    lines = [f"it is {health['status']}, and has these routes among others; to try them: nightscan demo --mode server"]
    lines += [f"  {command.format(url='http://localhost:8001')}" for _, _, command in _ROUTES]
    routes = [{"method": method, "path": path} for method, path, _ in _ROUTES]
    return DemoPart("server", "The Flask server", "\n".join(lines), {"health": health, "routes": routes})
