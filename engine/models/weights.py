"""Reads model files, and never runs code that lies in one.

A file is known by what is in it, not by its ending: `.pt` is used for three formats. Invariant: only tensors and plain
values are taken out of pickles (`weights_only=True`), and safetensors are read without any package.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.models.foreign import UndecodableWeights, blaming
from engine.models.onnx_bytes import is_onnx
from engine.models.safetensors_file import read_safetensors

# What training scripts call the state_dict when they save more than that, and what wrappers put before every name.
STATE_KEYS = ("state_dict", "model_state_dict", "model_state", "model")
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")


class FileKind(Enum):
    """What a model file holds."""

    STATE = "state_dict"
    SAFETENSORS = "safetensors"
    TORCHSCRIPT = "TorchScript"
    EXPORTED = "torch.export"
    ONNX = "ONNX"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights, and what the file says of how they were trained."""

    state: dict[str, Tensor]  # floating point weights as float32
    labels: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def kind_of(path: Path) -> FileKind:
    """What the file at `path` holds. Raises ConfigError when there is no such file."""
    if not path.is_file():
        raise ConfigError(f"there is no model file at {path}")
    if path.suffix.lower() == ".safetensors":
        return FileKind.SAFETENSORS
    with blaming(lambda what: f"cannot read {path}: {what}", UndecodableWeights):
        is_one = path.suffix.lower() == ".onnx" or is_onnx(path)
    if is_one:
        return FileKind.ONNX
    if not zipfile.is_zipfile(path):
        return FileKind.STATE  # the pickles that torch wrote before it packed them into archives
    with zipfile.ZipFile(path) as archive:
        inside = {name.partition("/")[2] for name in archive.namelist()} | set(archive.namelist())
    if "constants.pkl" in inside:
        return FileKind.TORCHSCRIPT
    return FileKind.EXPORTED if inside & {"archive_format", "serialized_exported_program.json"} else FileKind.STATE


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a state_dict or safetensors file.

    Accepts a bare state_dict, or one under a key of STATE_KEYS beside `labels` (list of strings) and `preprocessing`
    (object); in safetensors these two stand in the metadata as JSON. Raises UndecodableWeights.
    """
    if kind_of(path) is FileKind.SAFETENSORS:
        content, extra = read_safetensors(path)
    else:
        content, extra = _unwrap(_guarded(path, lambda: torch.load(path, map_location="cpu", weights_only=True)), path)
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UndecodableWeights(f"{path} does not hold a state_dict: names with a tensor each")
    labels, preprocessing = extra.get("labels"), extra.get("preprocessing")
    return Checkpoint(
        state={name: value.float() if value.is_floating_point() else value for name, value in _bare(content).items()},
        labels=tuple(map(str, labels)) if isinstance(labels, (list, tuple)) else None,
        preprocessing=preprocessing if isinstance(preprocessing, Mapping) else {},
    )


def read_program(path: Path) -> nn.Module:
    """A TorchScript or torch.export file as a module on the CPU. Raises UndecodableWeights."""
    if kind_of(path) is FileKind.EXPORTED:
        program: torch.export.ExportedProgram = _guarded(path, lambda: torch.export.load(path))
        return ExportedModel(program.module())
    with warnings.catch_warnings():
        # torch 2.13 advises against TorchScript; whoever owns such a file cannot act on that at serving time.
        warnings.simplefilter("ignore", DeprecationWarning)
        read: Callable[..., nn.Module] = torch.jit.load
        loaded: nn.Module = _guarded(path, lambda: read(str(path), map_location="cpu"))
    return loaded


class ExportedModel(nn.Module):
    """An exported program: what it does was fixed when it was exported, so it has no other mode to be put into."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> ExportedModel:
        """Does nothing but note the mode; an exported module raises on train() and eval()."""
        self.training = mode
        return self

    def forward(self, x: Tensor) -> Any:
        return self.program(x)


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    advice = "save model.state_dict(), or name a model_factory for a model of another kind"
    with blaming(lambda what: f"cannot read {path}: {what}; {advice}", UndecodableWeights):
        return read()


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    if not isinstance(content, Mapping):
        raise UndecodableWeights(f"{path} holds a {type(content).__name__} where a state_dict was expected")
    for key in STATE_KEYS:
        if isinstance(content.get(key), Mapping):
            return dict(content[key]), content
    return dict(content), {}


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict without what a wrapper put before every name."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _bare({name.removeprefix(prefix): value for name, value in state.items()})
    return state
