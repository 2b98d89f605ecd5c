"""The model behind the tests of settings: it writes down each run, and waits while a file says so."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

LABELS = ("loudest", "frames", "zero")
FRAMES_UNIT = 10_000
_NOTES = "NIGHTSCAN_TEST_NOTES"  # a file: one line for each run
_HOLD = "NIGHTSCAN_TEST_HOLD"  # a file: while it exists, runs wait
_TAKES = "NIGHTSCAN_TEST_TAKES_S"  # how long each run takes at least, or each item of one
_LONGEST_HOLD_S = 60.0


class Noted(torch.nn.Module):
    """Logits: the largest sample, the frames of a window in ten thousands, and zero."""

    labels = LABELS

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        _note(len(waveform))
        _wait()
        loudest = waveform.amax(1)
        return torch.stack([loudest, torch.full_like(loudest, waveform.shape[1] / FRAMES_UNIT), 0 * loudest], dim=1)


def noted() -> torch.nn.Module:
    """The factory for `model_factory`."""
    return Noted()


class EachTakes(Noted):
    """Takes as long for every item of a batch, as most models do on a processor."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        time.sleep(float(os.environ.get(_TAKES, "0")) * (len(waveform) - 1))
        return super().forward(waveform)


def each_takes() -> torch.nn.Module:
    """The factory of a model whose batches are worth sharing."""
    return EachTakes()


class Changed(torch.nn.Module):
    """Other weights, so that it is another version; writes nothing down and waits for nobody."""

    labels = LABELS

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor([3.0, 1.0, 2.0]))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform.amax(1)[:, None] * self.weights


def changed() -> torch.nn.Module:
    """The factory of what takes the other's place."""
    return Changed()


@dataclass(frozen=True)
class Run:
    """One run of a model, as it was noted."""

    pid: int
    batch_size: int
    torch_threads: int


def runs_in(notes: Path) -> list[Run]:
    """Every run so far, in order."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [Run(*map(int, line.split())) for line in lines]


def watched(folder: Path, *, takes_s: float = 0.0) -> dict[str, str]:
    """The environment with which a server's models write to `notes` and wait for `hold` in `folder`."""
    return {_NOTES: str(folder / "notes"), _HOLD: str(folder / "hold"), _TAKES: str(takes_s)}


def _note(batch_size: int) -> None:
    descriptor = os.open(os.environ[_NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{os.getpid()} {batch_size} {torch.get_num_threads()}\n".encode())
    os.close(descriptor)


def _wait() -> None:
    time.sleep(float(os.environ.get(_TAKES, "0")))
    give_up_at = time.monotonic() + _LONGEST_HOLD_S
    while Path(os.environ[_HOLD]).exists() and time.monotonic() < give_up_at:
        time.sleep(0.005)
