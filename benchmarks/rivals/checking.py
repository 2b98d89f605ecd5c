"""Compares what a server says with what the plain model says, one by one and while others ask too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.rivals.answers import Probabilities, WrongAnswer, difference, scores
from benchmarks.rivals.asking import Unreachable, ask
from benchmarks.rivals.contender import Contender
from benchmarks.rivals.plans import ROOT
from benchmarks.rivals.recordings import recordings
from benchmarks.workloads import WORKLOAD_VARIABLE, Workload

_REFERENCE_S = 120


class Checker:
    """The recordings of one workload, and what the model says of them."""

    def __init__(self, workload: Workload) -> None:
        """Computes them in a process of its own."""
        self._bodies = recordings(workload)
        self._model = _reference(workload, self._bodies)

    def check(self, contender: Contender, url: str) -> float:
        """The largest difference of a probability. Raises WrongAnswer, with the first reason."""

        def one(number: int) -> float:
            found = _scores(url, self._bodies[number], contender.envelope)
            return difference(found, self._model[number], contender.tolerance)

        numbers = range(len(self._bodies))
        alone = [one(number) for number in numbers[:2]]
        with ThreadPoolExecutor(len(self._bodies)) as pool:
            return max(*alone, *pool.map(one, numbers))


def _scores(url: str, wav: bytes, envelope: str) -> dict[str, float]:
    try:
        status, body = ask(url, wav, envelope)
    except Unreachable as error:
        raise WrongAnswer(str(error)) from error
    if status != 200:
        raise WrongAnswer(f"{status} {body[:200]!r}")
    return scores(body)


def _reference(workload: Workload, bodies: Sequence[bytes]) -> list[Probabilities]:
    with tempfile.TemporaryDirectory(prefix="ns-compare-") as folder:
        files = [Path(folder) / f"{number}.wav" for number in range(len(bodies))]
        for file, body in zip(files, bodies, strict=True):
            file.write_bytes(body)
        command = [sys.executable, "-m", "benchmarks.rivals.reference", *map(str, files)]
        variables = {**os.environ, WORKLOAD_VARIABLE: workload.name, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, env=variables, cwd=folder, check=True, capture_output=True, text=True, timeout=_REFERENCE_S
        )
    said: list[Probabilities] = json.loads(done.stdout)
    return said
