"""What a model may return, and how that becomes probabilities.

Whatever else a model returns is refused in words that its owner can act on: how many items went in, what came out, and
what usually lies behind it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.errors import ConfigError
from engine.spec import Activation


class UnusableOutput(ConfigError):
    """What the model returned is no tensor of one row per item and one column per class."""

    code = "UNUSABLE_OUTPUT"


def checked_logits(output: object, *, items: int, classes: int | None = None) -> Tensor:
    """`output` as a tensor `[items, classes]`, floating point. Raises UnusableOutput.

    `classes`: as many as the model answered before; None: not known yet.
    """
    if isinstance(output, Tensor) and output.shape == (items, classes) and output.is_floating_point():
        return output
    if not isinstance(output, Tensor):
        raise UnusableOutput(f"the model must return a tensor of logits [batch, classes], not {_kind(output)}")
    if not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        raise UnusableOutput(f"the model must return floating-point logits [batch, classes], not {kind}")
    if output.dim() != 2 or output.shape[0] != items or not output.shape[1] or classes not in (None, output.shape[1]):
        raise UnusableOutput(_wrong_shape(tuple(output.shape), items, classes))
    return output


def probabilities_of(logits: Tensor, activation: Activation) -> Tensor:
    """Logits `[B, classes]` -> float32 `[B, classes]` of their own memory."""
    numbers = logits.detach() if logits.requires_grad else logits  # a model may compute gradients of its own
    if activation is Activation.SOFTMAX:
        return torch.softmax(numbers.float(), dim=1)
    if activation is Activation.SIGMOID:
        return torch.sigmoid(numbers.float())
    return numbers.to(torch.float32, copy=True)  # a model may return its own memory


def doubtful(logits: Tensor, activation: Activation, *, chosen: bool) -> str:
    """Why outputs and `activation` seem not to go together; empty if they do. `chosen`: somebody has set it.

    `logits` `[B, classes]` of inputs that are not all alike.
    """
    low, high = float(logits.min()), float(logits.max())
    within = low >= 0.0 and high <= 1.0
    if activation is Activation.NONE:
        if within:
            return ""
        return (
            f"activation=none, so the model's outputs are given out as probabilities, and they go from {low:.3g} to"
            f" {high:.3g}: for logits set activation=softmax (one class at a time) or sigmoid (several at once)"
        )
    if chosen or not within:
        return ""
    return (
        f"all outputs of the model lie between 0 and 1 ({low:.3g} to {high:.3g}), as probabilities do, and softmax is"
        " applied to them: set activation=none if the model answers probabilities, sigmoid if they are logits of"
        " classes that can be heard together, softmax if all is as it should be"
    )


def check_activation(activation: Activation, classes: int) -> None:
    """Raises ConfigError for a softmax over one class."""
    if activation is Activation.SOFTMAX and classes == 1:
        raise ConfigError(
            "the model has one class, and the softmax of one value is 1.0 whatever was heard: set activation=sigmoid"
            " (or none, if the model answers a probability), in the settings or as an attribute of the module"
        )


def _kind(output: object) -> str:
    if output is None:
        return "None; does its forward end without a return?"
    if isinstance(output, Mapping):
        names = ", ".join(map(str, list(output)[:6]))
        return f"a {type(output).__name__} with {names or 'nothing in it'}; return the one tensor with the classes"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}; return the one tensor with the classes"
    name = f"{type(output).__module__}.{type(output).__qualname__}".removeprefix("builtins.")
    return f"a {name}" + ("; wrap it in torch.from_numpy(...)" if name.startswith("numpy.") else "")


def _wrong_shape(shape: tuple[int, ...], items: int, classes: int | None) -> str:
    wanted = f"({items}, {classes or 'classes'})"
    return f"the model answered shape {shape} for a batch of {items}: expected {wanted}; {_hint(shape, items, classes)}"


def _hint(shape: tuple[int, ...], items: int, classes: int | None) -> str:
    if len(shape) < 2 and items == 1:
        return "a squeeze() without a dimension drops a batch of one: name the dimension, or use flatten(1)"
    if len(shape) == 1 and shape[0] == items:
        return "a model of one class returns (batch, 1): leave the last squeeze out, or unsqueeze(1)"
    if len(shape) < 2:
        return "a mean, sum or squeeze() takes the batch dimension away"
    if len(shape) > 2:
        return "the classes are the second and last dimension: take the mean or the maximum over time, or flatten(1)"
    if shape[0] != items:
        return "the first dimension is the batch, one row per item in its order"
    return "the number of classes must be the same for every batch" if classes else "there must be at least one class"
