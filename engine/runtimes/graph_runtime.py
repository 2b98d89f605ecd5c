"""A form whose launches are recorded once for each batch size, and from then on replayed as one.

A network of seventy layers is two hundred launches; for a batch of one or two they take a GPU's host longer than the
GPU takes to compute. Recorded, they are one. What is recorded reads and writes the same memory each time: a batch is
copied in, and the logits lie where they lay before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from engine.errors import FormUnavailable
from engine.forms import ModelForm
from engine.runtimes.contract import Runtime

MOST_GRAPHS = 32  # arbitrary: each holds a batch, and sizes without one are computed launch by launch

_LOG = logging.getLogger(__name__)


class LaunchRecorder(Protocol):
    """What records launches of one device."""

    def record(self, compute: Callable[[], object]) -> tuple[object, Callable[[], None]]:
        """What `compute` returns, in memory that stays, and what puts the next result there.

        The result is undefined until then. Raises RuntimeError where it cannot be recorded, and whatever `compute`
        raises.
        """


class _Graph(NamedTuple):
    """One batch size, recorded."""

    input: Tensor
    output: object
    replay: Callable[[], None]


class GraphRuntime:
    """Computes what another runtime computes, whose weights stay where they are. Used by one thread."""

    def __init__(self, form: ModelForm, inner: Runtime, recorder: LaunchRecorder) -> None:
        self.form = form
        self._inner = inner
        self._recorder = recorder
        self._graphs: dict[torch.Size, _Graph] = {}
        self._unrecorded: set[torch.Size] = set()  # shapes that could not be

    def __call__(self, batch: Tensor) -> object:
        """Raises FormUnavailable if the first batch of all cannot be recorded: then nothing would be gained."""
        graph = self._graphs.get(batch.shape) or self._recorded(batch)
        if graph is None:
            return self._inner(batch)
        graph.input.copy_(batch)
        graph.replay()
        return graph.output

    def _recorded(self, batch: Tensor) -> _Graph | None:
        """None: this shape is computed launch by launch."""
        if len(self._graphs) >= MOST_GRAPHS or batch.shape in self._unrecorded:
            return None
        kept = batch.clone()
        try:
            output, replay = self._recorder.record(lambda: self._inner(kept))
        except torch.OutOfMemoryError:  # a RuntimeError too; who asked learns that the batch is too large
            raise
        except RuntimeError as error:
            if not self._graphs:
                raise FormUnavailable(f"{self.form.name} cannot be recorded: {error}") from error
            _LOG.warning("%s: batches of shape %s are not recorded: %s", self.form.name, tuple(batch.shape), error)
            self._unrecorded.add(batch.shape)
            return None
        self._graphs[batch.shape] = _Graph(kept, output, replay)
        return self._graphs[batch.shape]

    def let_go(self) -> None:
        self._inner.let_go()

    def memory_bytes(self) -> int:
        return self._inner.memory_bytes() + sum(graph.input.nbytes for graph in self._graphs.values())

    def close(self) -> None:
        self._graphs.clear()
        self._inner.close()
