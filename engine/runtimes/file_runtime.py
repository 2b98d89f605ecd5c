"""What runtimes have in common that compute a network from a file, its front under torch."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm
from engine.runtimes.split import empty


class FileRuntime:
    """Holds the front, and the network that the file was made from until it is let go of."""

    def __init__(self, form: ModelForm, front: nn.Module | None, network: nn.Module, path: Path) -> None:
        self.form = form
        self._front = front
        self._spare: nn.Module | None = network
        self._bytes = path.stat().st_size

    def given(self, batch: Tensor) -> npt.NDArray[Any]:
        """What the network gets, contiguous: libraries read such memory where it lies."""
        return (batch if self._front is None else self._front(batch)).contiguous().numpy()

    def let_go(self) -> None:
        if self._spare is not None:
            empty(self._spare)
            self._spare = None

    def memory_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """What computes goes with the last reference to it."""


def check_ends(path: Path, inputs: Sized, outputs: Sized) -> None:
    """Raises FormUnavailable unless there is one of each."""
    if len(inputs) != 1 or len(outputs) != 1:
        raise FormUnavailable(f"{path} has {len(inputs)} inputs, {len(outputs)} outputs")
