"""Reads safetensors files without the package of that name.

8 bytes of little-endian header length, the header as JSON, then the tensors (github.com/huggingface/safetensors).
Invariant: no tensor reaches outside the file, whatever its header says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from engine.models.foreign import UndecodableWeights, blaming

_HEADER_BYTES = 100_000_000  # the format's own limit
_TYPES: Mapping[str, torch.dtype] = MappingProxyType({
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
})


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors by name, and `labels` and `preprocessing` as far as the metadata has them.

    Raises UndecodableWeights.
    """
    content = bytearray(path.read_bytes())  # writable: torch warns of tensors over memory that is not
    start = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or start > min(len(content), _HEADER_BYTES):
        raise UndecodableWeights(f"{path} is no safetensors file: its header would end at byte {start}")
    with blaming(lambda what: f"cannot read {path}: {what}", UndecodableWeights):
        header = dict(json.loads(content[8:start]))
        notes = header.pop("__metadata__", {})
        state = {name: _tensor(name, entry, content, start) for name, entry in header.items()}
        return state, {key: json.loads(notes[key]) for key in ("labels", "preprocessing") if key in notes}


def _tensor(name: str, entry: Mapping[str, Any], content: bytearray, start: int) -> Tensor:
    dtype, shape, (begin, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not 0 <= begin <= end <= len(content) - start or end - begin != math.prod(shape) * dtype.itemsize:
        raise UndecodableWeights(f"{name} of shape {shape} cannot lie at safetensors bytes {begin} to {end}")
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    # Cloned: offsets need not be aligned for the type, and the file's bytes can then go.
    raw = torch.frombuffer(content, dtype=torch.uint8, count=end - begin, offset=start + begin).clone()
    return raw.view(dtype).reshape(shape)
