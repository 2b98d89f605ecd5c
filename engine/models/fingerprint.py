"""A short name for what a model answers: the same for the same weights, preprocessing and labels, on every machine.

Answers are cached under it, so that whatever can change an answer has to be in it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

VERSION_CHARACTERS = 16  # 64 bits: two models of one machine never share them by chance


def model_version(module: nn.Module, preprocessing: Mapping[str, Any], *, code: bytes = b"") -> str:
    """SHA-256 over the module's class, parameters and buffers, the preprocessing and, for models that are code, `code`.

    Weights are hashed as they lie in memory, by name; `preprocessing` must be JSON. The same weights in another
    precision are another model.
    """
    digest = hashlib.sha256(type(module).__qualname__.encode())
    for part in (json.dumps(preprocessing, sort_keys=True).encode(), code):
        digest.update(len(part).to_bytes(8, "little") + part)
    for name, value in sorted(_tensors(module).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(_content(value))
    return digest.hexdigest()[:VERSION_CHARACTERS]


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    # named_buffers() has those that state_dict() leaves out, state_dict() what a module packs by itself.
    named = itertools.chain(module.named_parameters(), module.named_buffers(), module.state_dict().items())
    return {name: value for name, value in named if isinstance(value, Tensor)}


def _content(value: Tensor) -> memoryview | bytes:
    if value.layout is not torch.strided or value.is_quantized:
        return repr(value).encode()
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
