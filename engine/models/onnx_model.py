"""The network in an ONNX file as a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.errors import BrokenError
from engine.models.onnx_session import OnnxSession
from engine.models.onnx_shape import OnnxValue, is_waveform
from engine.models.outputs import UnusableOutput

_NUMBERS: Mapping[str, Any] = MappingProxyType({"float": np.float32, "float16": np.float16, "double": np.float64})


class OnnxModel(nn.Module):
    """float32 [B, *item] -> one output of an ONNX file, float32 [B, classes], computed by ONNX Runtime on the CPU.

    `onnx_path` is where another runtime finds the file, `output` the name of the output, `batch_size` the number of
    items that the file is made for: any number is run in as many pieces as it takes, the last one filled up. None: any.
    """

    def __init__(self, path: Path, session: OnnxSession, taken: OnnxValue, output: str) -> None:
        super().__init__()
        self.onnx_path = path
        self.output = output
        self.batch_size = taken.shape[0]
        self._session: OnnxSession | None = session
        self._numbers = _NUMBERS[taken.kind]
        # Where an item is a waveform its file may want further dimensions of 1 around it.
        self._item = tuple(-1 if size != 1 else 1 for size in taken.shape[1:]) if is_waveform(taken) else None

    def let_go(self) -> None:
        """Frees the weights, whoever else holds the module; it can be run no more."""
        self._session = None

    def forward(self, x: Tensor) -> Tensor:
        batch = x.detach().cpu().numpy().astype(self._numbers, order="C", copy=False)
        if self._item is not None:
            batch = batch.reshape(len(batch), *self._item)
        size = self.batch_size or len(batch)
        rows = [self._run(batch[start:start + size], size) for start in range(0, len(batch), size)]
        return torch.from_numpy(rows[0] if len(rows) == 1 else np.concatenate(rows)).float().to(x.device)

    def _run(self, batch: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
        """At most `size` items, filled up with the last of them, whose answer is left out again."""
        items = len(batch)
        if items < size:
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - items, axis=0)])
        if self._session is None:
            raise BrokenError(f"{self.onnx_path} has been let go of")
        found = self._session.run(self.output, batch)
        if found.ndim != 2 or len(found) != size:
            raise UnusableOutput(
                f"output {self.output} of {self.onnx_path} has shape {found.shape} for {size} items, not"
                " [items, classes]"
            )
        return found[:items]
