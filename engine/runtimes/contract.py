"""What an instance computes a model through, whichever library does the work."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from engine.forms import ModelForm


class Runtime(Protocol):
    """One form of one model, in this process. Used by one thread."""

    @property
    def form(self) -> ModelForm:
        """What it computes."""

    def __call__(self, batch: Tensor) -> object:
        """Float32 `[B, *input_shape]` on the device -> logits `[B, classes]` there, of any B from 1 on.

        What comes back may be memory that the next call overwrites. A model as it came returns what it likes
        (`engine.models.outputs.checked_logits`), and raises what it likes; so do the libraries.
        """

    def let_go(self) -> None:
        """Frees the weights of the loaded model that this form does not compute with: it is the only one from here on.

        Until then the model as it came can still be run, to compare with it or to fall back on it.
        """

    def memory_bytes(self) -> int:
        """Bytes of the weights that it holds, as far as it knows."""

    def close(self) -> None:
        """Gives back what it holds; it is not called again. Idempotent."""
