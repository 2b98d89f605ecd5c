"""What one request costs a frontend, and one batch an instance, in steps: calls, locks, system calls, wake-ups.

    python -m benchmarks.steps [--by-function] [--json FILE] [--checkout DIR] [--concurrency 1 16] [--seconds 3]
    python -m benchmarks.steps --in-order

Counted in a running server (`nightscan serve`, tiny model, shipped defaults), so that counts of two checkouts can be
compared on machines whose times cannot. Three runs for each concurrency, since counting one thing changes the others:
one left alone, for wake-ups; one under strace; one under a profiler. What a server does without being asked, some
dozen calls twenty times a second, is in the counts.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import sys
import tempfile
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.counting import Call, CallCount, CallOrder, Calls, Roles, SystemCallCount, roles, wake_ups
from benchmarks.load import load
from benchmarks.processes import adopt_orphans
from benchmarks.servers import ROOT, engine_of, running
from benchmarks.workloads import WORKLOADS

_WARM_S = 1
_LEAST = 0.02  # calls a request below which a function is not listed


@dataclass(frozen=True)
class FunctionSteps:
    """Of one function, per unit. `made`: calls out of it of functions that are not written in Python."""

    place: str
    name: str
    calls: float
    made: dict[str, float]

    @property
    def package(self) -> str:
        """Where it is from; `<string>`: made by `NamedTuple` or `dataclass`."""
        return self.place.lstrip("/").partition("/")[0].partition(":")[0]


@dataclass
class Steps:
    """Of one kind of process at one concurrency; every figure is per `unit`."""

    role: str
    unit: str
    concurrency: int
    units: int  # under the profiler
    batch_size: float  # under the profiler
    batch_size_alone: float
    python_calls: float
    native_calls: float
    lock_takes: float
    flocks: float
    wake_ups: float
    system_calls: float | None
    by_system_call: dict[str, float] = field(default_factory=dict)
    functions: list[FunctionSteps] = field(default_factory=list)


@dataclass(frozen=True)
class Done:
    """What a server did while it was loaded."""

    requests: int
    batches: int

    @property
    def batch_size(self) -> float:
        return self.requests / max(1, self.batches)

    def units(self, role: str) -> int:
        return max(1, self.requests if role == "frontend" else self.batches)


class Course:
    """One server under load, counted in turn."""

    def __init__(self, url: str, body: Path, folder: Path, root: Path, seconds: int) -> None:
        self._url = url
        self._body = body
        self._folder = folder
        self._root = root
        self._seconds = seconds
        self._processes: Roles = roles()

    def warm(self) -> None:
        load(self._url, [self._body], concurrency=16, seconds=_WARM_S)

    def steps(self, concurrency: int) -> list[Steps]:
        """Of frontends and instances."""
        by_role = {"frontend": self._processes.frontends, "instance": self._processes.instances}
        before = {role: wake_ups(pids) for role, pids in by_role.items()}
        alone = self._run(concurrency, contextlib.nullcontext())
        woken = {role: wake_ups(pids) - before[role] for role, pids in by_role.items()}
        profiled = CallCount(self._folder, [pid for pids in by_role.values() for pid in pids], self._root)
        under_profile = self._run(concurrency, profiled.running())
        return [
            _steps(
                role,
                concurrency,
                alone,
                woken[role],
                under_profile,
                profiled.collect(pids),
                self._system_calls(role, pids, concurrency),
            )
            for role, pids in by_role.items()
        ]

    def _system_calls(self, role: str, pids: list[int], concurrency: int) -> dict[str, float]:
        if not SystemCallCount.is_possible():
            return {}
        count = SystemCallCount(pids, self._folder / "strace.txt")
        units = self._run(concurrency, count.running()).units(role)
        return {name: calls / units for name, calls in count.collect().most_common()}

    def calls_of_one_request(self) -> list[Call]:
        """In frontends and instances; its connection is open already."""
        where = urllib.parse.urlsplit(self._url)
        order = CallOrder(self._folder, [*self._processes.frontends, *self._processes.instances], self._root)
        with contextlib.closing(http.client.HTTPConnection(where.netloc, timeout=10)) as connection:
            self._request_once(connection, where.path)
            with order.running():
                self._request_once(connection, where.path)
        return order.collect()

    def _request_once(self, connection: http.client.HTTPConnection, path: str) -> None:
        connection.request("POST", path, self._body.read_bytes(), {"Content-Type": "audio/wav"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{answer.status} {answer.read()!r}")
        answer.read()

    def _run(self, concurrency: int, counting: contextlib.AbstractContextManager[None]) -> Done:
        before = self._batches()
        with counting:
            loaded = load(self._url, [self._body], concurrency=concurrency, seconds=self._seconds)
        if loaded.errors:
            raise SystemExit(f"requests without an answer, so nothing to count: {loaded.errors}")
        return Done(loaded.answers, self._batches() - before)

    def _batches(self) -> int:
        where = urllib.parse.urlsplit(self._url)
        with urllib.request.urlopen(f"http://{where.netloc}/api/optimized/stats", timeout=10) as answer:
            found = json.load(answer)["batch_processing"]
        return sum(int(counted.get("total_batches", 0)) for counted in found.values())


def _steps(
    role: str, concurrency: int, alone: Done, woken: int, profiled: Done, calls: Calls, system: dict[str, float]
) -> Steps:
    units = profiled.units(role)
    return Steps(
        role=role,
        unit="request" if role == "frontend" else "batch",
        concurrency=concurrency,
        units=units,
        batch_size=profiled.batch_size,
        batch_size_alone=alone.batch_size,
        python_calls=calls.python / units,
        native_calls=calls.native / units,
        lock_takes=calls.lock_takes / units,
        flocks=calls.flocks / units,
        wake_ups=woken / alone.units(role),
        system_calls=sum(system.values()) if system else None,
        by_system_call=system,
        functions=[
            FunctionSteps(
                function.place,
                function.name,
                function.calls / units,
                {name: made / units for name, made in function.made.most_common()},
            )
            for function in calls.functions
        ],
    )


def print_table(found: list[Steps]) -> None:
    counts = "Python calls  native calls  lock takes  flock calls  system calls  wake-ups"
    print(f"process   per       c  batch of  {counts}")
    for row in found:
        system = "no strace" if row.system_calls is None else f"{row.system_calls:.2f}"
        print(
            f"{row.role:8s}  {row.unit:7s} {row.concurrency:3d}  {row.batch_size:8.2f}  {row.python_calls:12.1f}  "
            f"{row.native_calls:12.1f}  {row.lock_takes:10.2f}  {row.flocks:11.2f}  {system:>12s}  {row.wake_ups:8.2f}"
        )


def print_functions(row: Steps) -> None:
    """What is called, most first, and what each function calls that is not written in Python."""
    print(f"\n{row.role}, per {row.unit}, concurrency {row.concurrency}, counted over {row.units}")
    print(f"system calls: {_list(row.by_system_call) or 'strace is not installed'}")
    ordered = sorted(row.functions, key=lambda function: (-round(function.calls, 1), function.place))
    python = [function for function in ordered if function.place]
    packages: dict[str, float] = defaultdict(float)
    for function in python:
        packages[function.package] += function.calls
    print(f"Python functions by package: {_list(packages)}")
    for function in python:
        if function.calls >= _LEAST:
            print(f"{function.calls:8.2f}  {function.place} {function.name}  [{_list(function.made)}]")
    print(f"native functions: {_list({function.name: function.calls for function in ordered if not function.place})}")


def print_calls(calls: list[Call]) -> None:
    """What each process calls, nested; what is begun in the background meanwhile is among it."""
    for call in calls:
        print(f"{call.pid}  {'  ' * max(0, call.depth)}{call.place} {call.name}")


def _list(counts: Mapping[str, float]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{_short(name)} {calls:.2f}" for name, calls in ordered if calls >= _LEAST)


def _short(name: str) -> str:
    """`<method 'append' of 'list' objects>` as `list.append`, `<built-in method builtins.len>` as `len`."""
    words = name.strip("<>").replace("'", "").split()
    if words[:1] == ["method"]:
        return f"{words[3]}.{words[1]}"
    return words[2].removeprefix("builtins.") if words[:2] == ["built-in", "method"] else name


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    workload, found = WORKLOADS["tiny"], []
    with tempfile.TemporaryDirectory(prefix="ns-steps-") as name:
        folder = Path(name)
        body = folder / "tiny.wav"
        body.write_bytes(workload.bodies[0])
        with running(engine_of(options.checkout, counted_in=folder), workload) as (url, _):
            course = Course(url, body, folder, options.checkout, options.seconds)
            course.warm()
            if options.in_order:
                print_calls(course.calls_of_one_request())
                return 0
            for concurrency in options.concurrency:
                found += course.steps(concurrency)
    print_table(found)
    if options.by_function:
        for row in found:
            print_functions(row)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=1))
    return 0


def _checkout(text: str) -> Path:
    return Path(text).resolve()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--by-function", action="store_true", help="list what is called, most first")
    parser.add_argument("--in-order", action="store_true", help="only list what one request calls, in all processes")
    parser.add_argument("--json", type=Path, help="write everything there too")
    parser.add_argument("--checkout", type=_checkout, default=ROOT, help="serve from another checkout of this project")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--seconds", type=int, default=3, help="of each run under load")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
