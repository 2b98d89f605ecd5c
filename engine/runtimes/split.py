"""A model in two halves: the spectrogram, which stays in torch, and the network, which any runtime can compute.

Exported with its STFT a model is slower than as it came. Only a spectrogram of ours is known to be one; whether a
module is that spectrogram and a network on top of it shows when it is run.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.models.foreign import blaming
from engine.models.pipeline import ImageClassifier, SoundClassifier
from engine.models.spectrogram import SpectrogramFront

_ITEMS = (2, 3)  # in a batch of the probe: what the network makes of the number of items has to follow it
_METHODS = ("forward", "image", "decibels")


def split(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[nn.Module | None, nn.Module]:
    """Front and network: `network(front(batch))` equals `module(batch)` bit by bit; (None, module) where none is found.

    `module` stays as it is, and the network shares its weights. `input_shape` is that of one item. Runs the module
    unless it is one of our own.
    """
    if type(module) is SoundClassifier:
        return _FrontPart(module.front, "image"), module.network
    if type(module) is ImageClassifier:
        return _FrontPart(module.front, "forward"), module.network
    names = [name for name, child in module.named_modules() if name and isinstance(child, SpectrogramFront)]
    if len(names) != 1:
        return None, module
    try:
        with blaming(str), torch.inference_mode():
            return _split_at(module, names[0], input_shape) or (None, module)
    except ConfigError:  # foreign code, which need not bear being taken apart
        return None, module


def empty(module: nn.Module) -> None:
    """Frees the weights of a module, whoever else holds it; it can be run no more."""
    for value in (*module.parameters(), *module.buffers()):
        with contextlib.suppress(RuntimeError, NotImplementedError):  # kinds of tensors that cannot be made empty stay
            value.data = value.data.new_empty(0)
    for part in module.modules():
        if hasattr(part, "onnx_path"):  # its weights are in a session, and no parameters
            let_go: Callable[[], None] = getattr(part, "let_go")
            let_go()


class _FrontPart(nn.Module):
    """One method of a front as a module: waveforms [B, frames] -> what the network gets."""

    def __init__(self, front: SpectrogramFront, method: str) -> None:
        super().__init__()
        self.front = front
        self._compute: Callable[[Tensor], Tensor] = getattr(front, method)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self._compute(waveforms)


class _Passing(nn.Module):
    """Stands where a front was: what it is given has been through the front already."""

    def __init__(self, front: SpectrogramFront) -> None:
        super().__init__()
        self.settings = front.settings

    def forward(self, images: Tensor) -> Tensor:
        return images

    image = decibels = forward


@dataclass
class _Heard:
    """The calls of a front in one run of its module."""

    calls: list[tuple[str, Tensor, Tensor]] = field(default_factory=list)  # method, waveforms, result


def _split_at(
    module: nn.Module, name: str, input_shape: tuple[int, ...]
) -> tuple[nn.Module, nn.Module] | None:
    front = module.get_submodule(name)
    assert isinstance(front, SpectrogramFront)
    network = _with_child(module, name, _Passing(front))
    part: _FrontPart | None = None
    for items in _ITEMS:
        batch = torch.randn(items, *input_shape, generator=torch.Generator().manual_seed(items))
        heard = _Heard()
        wanted = _with_child(module, name, _listening(front, heard))(batch)
        if len(heard.calls) != 1 or not torch.equal(heard.calls[0][1], batch):
            return None
        method, _, images = heard.calls[0]
        if not torch.equal(network(images), wanted):
            return None  # something else of the waveform reaches the answer
        part = _FrontPart(front, method)
    return None if part is None else (part, network)


def _listening(front: SpectrogramFront, heard: _Heard) -> SpectrogramFront:
    """The same front, which notes the outermost of its calls."""
    listening = copy.copy(front)
    for method in _METHODS:

        def call(waveforms: Tensor, method: str = method) -> Tensor:
            result: Tensor = getattr(front, method)(waveforms)
            heard.calls.append((method, waveforms, result))
            return result

        object.__setattr__(listening, method, call)
    return listening


def _with_child(module: nn.Module, name: str, child: nn.Module) -> nn.Module:
    """The module with another child at the dotted `name`; it shares all others with the one that it is made from."""
    first, _, rest = name.partition(".")
    made = copy.copy(module)
    made.__dict__["_modules"] = dict(module._modules)
    made._modules[first] = _with_child(module.get_submodule(first), rest, child) if rest else child
    return made
