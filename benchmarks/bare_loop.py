"""A bare loop over recordings in one process: decode, one window each, a batch, the model, the likeliest five, JSON.

    python -m benchmarks.bare_loop WORKLOAD WAV --batch 8 --seconds 4 [--form NAME --folder DIR]

No server, no queue, no other process: what serving the same bytes in the same form is held against. One thread for the
model. `--folder` has the files of the form (`state_dir/tuning/KEY`). Prints one JSON line.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path

import soundfile
import torch

from benchmarks.envelopes import OWN_BYTES
from benchmarks.workloads import LABELS, WORKLOADS, Workload
from engine.forms import EAGER, ModelForm
from engine.instance.allocator import keep_freed_memory, large_blocks_apart
from engine.models.catalogue import load_model
from engine.models.outputs import checked_logits
from engine.runtimes.make import make_runtime
from engine.runtimes.torch_runtime import TorchRuntime
from engine.spec import ModelSource, ModelSpec

TOP = 5
_WARM_BATCHES = 6


@dataclass(frozen=True)
class Bare:
    """What one run took."""

    form: str
    batch: int
    requests: int
    requests_per_s: float
    cpu_ms_per_request: float


class BareLoop:
    """One batch after the other; the memory of its input is used again, as an instance does."""

    def __init__(self, workload: Workload, wav: bytes, batch: int, form: ModelForm, folder: Path | None) -> None:
        source = ModelSpec(
            source=ModelSource.FACTORY, location=f"benchmarks.models:{workload.model}",
            sample_rate_hz=workload.sample_rate_hz, segment_s=workload.segment_s,
        )
        large_blocks_apart()
        loaded = load_model(source)
        self._runtime = make_runtime(form, loaded, folder, threads=1)
        if isinstance(self._runtime, TorchRuntime):
            self._runtime.lay_out(torch.channels_last)  # as warm-up does
        self._runtime.let_go()
        self._waveforms = torch.zeros((batch, *loaded.description.input_shape))
        self._rows = self._waveforms.numpy()
        self._wav = wav
        self._numbers = count()
        self._batch = batch
        keep_freed_memory()

    def recordings(self) -> Iterator[bytes]:
        """As many as a batch has, no two alike."""
        for number in islice(self._numbers, self._batch):
            yield self._wav[:-OWN_BYTES] + number.to_bytes(OWN_BYTES, "little")

    def step(self) -> list[str]:
        """The answers to one batch."""
        for row, recording in zip(self._rows, self.recordings()):
            samples, _ = soundfile.read(io.BytesIO(recording), dtype="float32")
            row[: len(samples)] = samples
            row[len(samples) :] = 0.0
        logits = checked_logits(self._runtime(self._waveforms), items=self._batch)
        scores, classes = logits.softmax(dim=1).topk(TOP)
        return [json.dumps(_answer(*row)) for row in zip(scores.tolist(), classes.tolist())]


def _answer(scores: list[float], classes: list[int]) -> dict[str, object]:
    return {"predictions": [{"label": LABELS[index], "score": score} for score, index in zip(scores, classes)]}


@torch.inference_mode()
def timed(step: Callable[[], list[str]], seconds: float) -> tuple[int, float, float]:
    """Requests, seconds, and seconds of the processor in all threads."""
    for _ in range(_WARM_BATCHES):
        step()
    requests, began, used = 0, time.monotonic(), time.process_time()
    while time.monotonic() < began + seconds:
        requests += len(step())
    return requests, time.monotonic() - began, time.process_time() - used


def main() -> int:
    options = parse_arguments()
    torch.set_num_threads(1)
    form = ModelForm.named(options.form)
    loop = BareLoop(WORKLOADS[options.workload], options.wav.read_bytes(), options.batch, form, options.folder)
    requests, took_s, used_s = timed(loop.step, options.seconds)
    print(json.dumps(asdict(Bare(form.name, options.batch, requests, requests / took_s, 1e3 * used_s / requests))))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_loop", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("wav", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--form", default=EAGER.name)
    parser.add_argument("--folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
