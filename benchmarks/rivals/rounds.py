"""Runs the servers in turn, each by itself, and keeps what was found."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.load import measure
from benchmarks.rivals.answers import WrongAnswer
from benchmarks.rivals.checking import Checker
from benchmarks.rivals.contender import Contender
from benchmarks.rivals.environments import Environments
from benchmarks.rivals.ours import wait_until_tuned
from benchmarks.rivals.results import Results, Row
from benchmarks.rivals.running import NotServing, Running, running
from benchmarks.workloads import Workload

_WARM_S = 1


class Comparison:
    """Some servers under one load. Whoever fails once is left out from then on, and its reason kept."""

    def __init__(
        self, results: Results, environments: Environments, *, seconds: int, concurrencies: Sequence[int], file: Path
    ) -> None:
        """`file` has the results after every run, so that an end before time leaves what there is."""
        self._results = results
        self._environments = environments
        self._seconds = seconds
        self._concurrencies = concurrencies
        self._file = file

    def run(self, contenders: Sequence[Contender], workloads: Sequence[Workload], rounds: int) -> None:
        """Looks first whether each server answers right, and lets ours be tuned; then round after round."""
        checkers = {workload.name: Checker(workload) for workload in workloads}
        for number in range(rounds + 1):
            for workload in workloads:
                for contender in contenders:
                    if f"{contender.name}@{workload.name}" not in self._results.left_out:
                        self._one(contender, workload, checkers[workload.name], number)

    def _one(self, contender: Contender, workload: Workload, checker: Checker, number: int) -> None:
        """Round 0 is not measured."""
        told = f"round {number}" if number else "look"
        print(f"{told}: {workload.name}, {contender.name}", end="", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            with running(contender, workload, self._environments) as server:
                if number:
                    self._measure(contender, workload, checker, server, number)
                else:
                    self._look(contender, workload, checker, server)
        except (NotServing, WrongAnswer) as error:
            self._results.left_out[f"{contender.name}@{workload.name}"] = str(error)
            print(f": {error}", end="", file=sys.stderr)
        finally:
            print(f" ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
            self._results.write(self._file)

    def _look(self, contender: Contender, workload: Workload, checker: Checker, server: Running) -> None:
        checker.check(contender, server.url)
        if not contender.ours:
            return
        began = time.monotonic()
        self._note_form(contender, workload, server)
        took_s = time.monotonic() - began
        first = f"first answer {server.first_200_s:.1f} s after its first start, tuned {took_s:.0f} s later"
        self._results.notes.append(f"{contender.name} on {workload.name}: {first}")
        checker.check(contender, server.url)

    def _note_form(self, contender: Contender, workload: Workload, server: Running) -> None:
        """Once for each form that it serves: more than one would be told of."""
        note = f"{contender.name} on {workload.name} {wait_until_tuned(server.url)}"
        if note not in self._results.notes:
            self._results.notes.append(note)

    def _measure(
        self, contender: Contender, workload: Workload, checker: Checker, server: Running, number: int
    ) -> None:
        if contender.ours:
            self._note_form(contender, workload, server)
        before = checker.check(contender, server.url)
        with _files(workload.bodies) as files:
            measure(server.url, files, concurrency=16, seconds=_WARM_S, envelope=contender.envelope)
            runs = {
                concurrency: measure(
                    server.url, files, concurrency=concurrency, seconds=self._seconds, envelope=contender.envelope
                )
                for concurrency in self._concurrencies
            }
        difference = max(before, checker.check(contender, server.url))
        for concurrency, measured in runs.items():
            where = (contender.name, workload.name, concurrency, number)
            self._results.rows.append(
                Row(*where, **asdict(measured), first_200_s=server.first_200_s, difference=difference)
            )


@contextlib.contextmanager
def _files(bodies: Sequence[bytes]) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="ns-compare-") as folder:
        files = [Path(folder) / f"{number}.wav" for number in range(len(bodies))]
        for file, body in zip(files, bodies, strict=True):
            file.write_bytes(body)
        yield files
