"""The network of a model as an ONNX file, which both runtimes read: the front stays in torch."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.models.catalogue import LoadedModel
from engine.runtimes.split import split
from engine.trials.stage_request import StageRequest
from engine.tuning.artefacts import EXPORTED

LARGEST_FILE_BYTES = 1_500_000_000  # of one file; protobuf ends at 2 GiB, and what surrounds weights takes some
_EXAMPLE_ITEMS = 2  # one would be taken for a constant


def export(loaded: LoadedModel, request: StageRequest) -> dict[str, Any]:
    """Writes the file, and one beside it where the weights are too large for it. Raises whatever the exporter does."""
    shape, path = loaded.description.input_shape, Path(request.work) / EXPORTED
    front, network = split(loaded.module, shape)
    with torch.no_grad():  # not inference_mode: the exporter records what is computed
        sound = torch.zeros(_EXAMPLE_ITEMS, *shape).uniform_(-0.1, 0.1)
        given = sound if front is None else front(sound)
        if hasattr(network, "onnx_path"):
            # Imported here: onnx is half a second, and the exporter has its own way to it.
            from engine.trials.exporting_onnx import copy_onnx

            copy_onnx(network, tuple(given.shape[1:]), path)
            return {}
        write_onnx(network, given.contiguous(), path)
    return {}


def write_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    """Exports `network` for batches of any size; `example` `[2 or more, ...]` is what it gets.

    Raises OSError without room on the disk, and whatever the exporter raises for what it cannot express.
    """
    weights_bytes = sum(value.nbytes for value in (*network.parameters(), *network.buffers()))
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own making, about its own ways
        torch.onnx.export(
            network.eval(), (example,), str(path), dynamo=True, verbose=False, input_names=["input"],
            output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            external_data=weights_bytes > LARGEST_FILE_BYTES,
        )
