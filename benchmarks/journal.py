"""What the journal costs a request and the store thread, by the processor's clock, and how fast a backlog drains.

    python -m benchmarks.journal [--rows 20000] [--rounds 5] [--windows 1] [--classes 6] [--database URL]

`record` is all that a frontend does for one answer: ranking its windows, encoding the row, appending it. `move` is
spool to SQLite in batches as they come at `--batch` rows in 0.2 s, `drain` a backlog at once. `send` needs a Postgres
that may be written to: rows of the past, which stay there.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from engine.core.retention import RetentionPolicy
from engine.shm.process_row import ProcessRow
from engine.spec import ModelDescription
from engine.stores.mover import Mover
from engine.stores.spool import JournalWriter
from frontend.predict.dialect import Prediction
from frontend.predict.journal_entry import JournalEntries
from frontend.predict.parameters import Parameters
from frontend.server.message import HttpRequest, Upload

_FOR_EVER = RetentionPolicy(0, 1 << 50)


def main() -> None:
    """Prints medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 20_000), ("rounds", 5), ("windows", 1), ("classes", 6), ("batch", 600)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    measured: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, value in _round(options).items():
            measured.setdefault(name, []).append(value)
    for name, values in measured.items():
        print(f"{name:28} {statistics.median(values):10.1f}   ({min(values):.1f} to {max(values):.1f})")


def _round(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="ns-journal-") as folder:
        state_dir, row = Path(folder), ProcessRow.private()
        writer = JournalWriter(state_dir, row, max_bytes=1 << 50)
        mover = Mover(state_dir, _FOR_EVER, row, is_sent=False)
        answer = _answerer(writer, options.windows, options.classes)
        record_s = move_s = 0.0
        for _ in range(options.rows // options.batch):
            record_s += _cpu_s(lambda: [answer() for _ in range(options.batch)])
            move_s += _cpu_s(mover.move)
        rows = options.rows // options.batch * options.batch
        for _ in range(options.rows):
            answer()
        began_s = time.perf_counter()
        drain_s = _cpu_s(lambda: _drain(mover))
        elapsed_s = time.perf_counter() - began_s
        writer.close()
        mover.close()
        row.close()
        return {
            "record, us a row": record_s / rows * 1e6,
            "move in batches, us a row": move_s / rows * 1e6,
            "drain to SQLite, us a row": drain_s / options.rows * 1e6,
            "drain to SQLite, rows/s": options.rows / elapsed_s,
        }


def _answerer(writer: JournalWriter, windows: int, classes: int) -> Callable[[], None]:
    """What records one answer of a model with so many classes about a recording of so many windows."""
    entries = JournalEntries("optimized", lambda: writer)
    description = ModelDescription(
        model_version="0123456789ab",
        input_shape=(176_400,),
        classes=classes,
        labels=tuple(f"species_{k}" for k in range(classes)),
        sample_rate_hz=22_050,
        segment_s=8.0,
        peak_normalise=True,
        device="cpu",
    )
    places: list[Any] = [SimpleNamespace(index=k, start_s=8.0 * k, end_s=8.0 * k + 8.0) for k in range(windows)]
    recording: Any = SimpleNamespace(duration_s=8.0 * windows)
    upload = Upload(memoryview(bytes(352_844)), "20260501_223000.wav", "audio/wav")
    request = HttpRequest("POST", "/api/optimized/predict", "", {}, b"", "192.0.2.17", upload=upload)
    parameters, generator = Parameters(), np.random.default_rng(1)
    computed: list[Any] = [
        SimpleNamespace(probabilities=generator.dirichlet(np.ones(classes)).astype(np.float32)) for _ in places
    ]
    prediction = Prediction("0123456789abcdef" * 2, upload.filename, parameters, description, recording, places, 0)
    return lambda: entries.answered(prediction, computed, request, 0.0123456789)


def _drain(mover: Mover) -> None:
    while mover.move():
        pass


def _cpu_s(act: Callable[[], object]) -> float:
    began_s = time.process_time()
    act()
    return time.process_time() - began_s


if __name__ == "__main__":
    main()
