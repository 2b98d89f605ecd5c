"""`nightscan bench`: how much a running server answers, how fast, and where the time goes."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Sequence

import click

from engine.errors import BrokenError
from frontend.cli.bench_view import bench_view
from frontend.cli.command_end import CommandEnd
from frontend.cli.ending import end
from frontend.cli.http_client import own_url
from frontend.cli.load import LoadResult, LoadRun, requests_of
from frontend.cli.load_connection import LoadAnswer
from frontend.cli.printing import json_option, show
from frontend.cli.recordings import RECORDING, bytes_of
from frontend.cli.settings_here import settings_here
from frontend.cli.sounds import chirps
from frontend.cli.target import LoadTarget, target_of

MOST_CONNECTIONS, MOST_STEPS, MOST_SECONDS = 1024, 16, 600.0
_FIRST_S = 10.0  # the first answer; LAST_ANSWERS_S more, as for every other
_SPARE_DESCRIPTORS = 64


def _sweep(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Numbers by commas. Refuses what is not within the bounds, and says them."""
    parts = [part.strip() for part in value.split(",")]
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) < 6)
    within = all(1 <= number <= MOST_CONNECTIONS for number in numbers)
    if len(numbers) != len(parts) or len(parts) > MOST_STEPS or not within:
        allowed = f"1 to {MOST_STEPS} numbers from 1 to {MOST_CONNECTIONS}, as 1,4,16"
        raise click.BadParameter(f"{value}: {allowed}", ctx, parameter)
    return numbers


@click.command()
@click.argument("recordings", nargs=-1, type=RECORDING)
@click.option("--url", help="http://host:port or unix:/path/of.sock; default: the server of the settings.")
@click.option("--concurrency", callback=_sweep, default="1,2,4,8,16,32", show_default=True, help="Connections.")
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=3.0, show_default=True, help="Of each step.")
@click.option("--same", is_flag=True, help="Send recordings as they are, again and again: the cache answers.")
@click.option("--allow-remote", is_flag=True, help="Also a server of another machine. Be sure that it is yours.")
@json_option
def bench(
    recordings: tuple[str, ...],
    url: str | None,
    concurrency: tuple[int, ...],
    seconds: float,
    same: bool,
    allow_remote: bool,
    as_json: bool,
) -> None:
    """Measure a running server: requests a second and latency, for more and more connections.

    Without RECORDINGS three seconds of sound are sent that are made here, each time a little different, so that no
    cache answers. Says where the server spends its time, and whether this client was the limit.
    """
    if len(concurrency) * seconds > MOST_SECONDS:
        raise click.UsageError(f"{len(concurrency)} steps of {seconds:g} s: {MOST_SECONDS:.0f} s at most in all")
    target = target_of(url if url is not None else own_url(settings_here()), allow_remote=allow_remote)
    bodies = [bytes_of(path) for path in recordings] or [chirps()]
    results = measure(target, bodies, concurrency, seconds, same=same, tell=not as_json)
    show({"url": target.shown, "steps": [each.to_json() for each in results]}, bench_view(results), as_json=as_json)
    if any(each.others for each in results):
        end(CommandEnd.PARTLY)


def measure(
    target: LoadTarget, bodies: Sequence[bytes], steps: Sequence[int], seconds: float, *, same: bool, tell: bool
) -> list[LoadResult]:
    """One result for each number of connections. Raises NotReady, BrokenError with what the server says."""
    _allow_descriptors(max(steps))
    try_once(target, bodies[0])
    results = []
    for number in steps:
        if tell:
            click.echo(f"{number} connections, {seconds:g} s ...", err=True)
        results.append(LoadRun(target, requests_of(target, bodies, same=same), number).go(seconds))
    return results


def try_once(target: LoadTarget, body: bytes) -> None:
    """One request, which the server must answer. Raises NotReady, or BrokenError with the server's own words."""
    told: list[LoadAnswer] = []
    run = LoadRun(target, requests_of(target, [body], same=False), 1)
    run.on_answer = told.append
    result = run.go(_FIRST_S, most=1)
    if result.others:
        raise BrokenError(f"no prediction from {target.shown}: {', '.join(result.others)}{_words(told)}")


def _words(answers: list[LoadAnswer]) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
        return f": {json.loads(answers[0].body)['error']}"
    return "; is it a server of ours?"


def _allow_descriptors(connections: int) -> None:
    """More than the usual 1,024, where they are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted and (hard == resource.RLIM_INFINITY or hard >= wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
