"""A load generator: keep-alive connections that each send the next request as soon as the last one is answered.

    python -m benchmarks.generator http://127.0.0.1:8001/api/optimized/predict night.wav --connections 16 --seconds 4

What `nightscan bench` loads servers with, for bodies of every kind. Prints one JSON line. For servers on this machine;
several bodies are sent in turn, each with eight last bytes of its own, so that no cache knows
it; with `--same` they are sent as they are. `--envelope` says how they travel (`benchmarks/envelopes.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, cycle
from pathlib import Path

from benchmarks.envelopes import ENVELOPES, OWN_BYTES, Enveloped, raw
from engine.clock import now_ns
from frontend.cli.load import LoadRun
from frontend.cli.target import target_of


@dataclass(frozen=True)
class Load:
    """What came of a run. `errors`: statuses other than 200, and what happened to connections, by kind."""

    answers: int  # with 200
    duration_s: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]


def generate(
    url: str,
    bodies: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    same: bool = False,
    envelope: Callable[[bytes], Enveloped] = raw,
) -> Load:
    """Runs for `seconds`, then waits for what is under way. Raises NotReady when nobody listens."""
    requests = _requests(urllib.parse.urlsplit(url), list(map(envelope, bodies)), same=same)
    found = LoadRun(target_of(url, allow_remote=True), requests, connections).go(seconds)
    p50_ms, p99_ms = (found.percentile_ms(share) or 0.0 for share in (0.5, 0.99))
    return Load(len(found.latencies_ms), found.seconds, p50_ms, p99_ms, dict(found.others))


def _requests(where: urllib.parse.SplitResult, bodies: Sequence[Enveloped], *, same: bool) -> Iterator[bytes]:
    """All in turn, for ever; unless `same`, no two alike, in this run or in an earlier one against the same server."""
    heads = [_head(where, body) for body in bodies]
    if same:
        return cycle([head + body.body for head, body in zip(heads, bodies, strict=True)])
    parts = [
        (head + body.body[: body.own_at], body.own, body.body[body.own_at + OWN_BYTES :])
        for head, body in zip(heads, bodies, strict=True)
    ]
    numbered = zip(count(now_ns()), cycle(parts))
    return (before + own(number) + after for number, (before, own, after) in numbered)


def _head(where: urllib.parse.SplitResult, body: Enveloped) -> bytes:
    target = where.path + (f"?{where.query}" if where.query else "")
    headers = {"Host": where.netloc, **body.headers, "Content-Length": str(len(body.body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generator")
    parser.add_argument("url")
    parser.add_argument("bodies", nargs="+", type=Path, help="files that are posted in turn")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--same", action="store_true", help="post the files as they are, again and again")
    parser.add_argument("--envelope", choices=ENVELOPES, default="raw")
    options = parser.parse_args()
    bodies = [path.read_bytes() for path in options.bodies]
    run = {"connections": options.connections, "seconds": options.seconds, "same": options.same}
    envelope = ENVELOPES[options.envelope]
    print(json.dumps(asdict(generate(options.url, bodies, envelope=envelope, **run))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
