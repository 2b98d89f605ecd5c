"""The network against what torchvision publishes: names, shapes, and that one channel stands for three."""

from __future__ import annotations

import math

import pytest
import torch

from engine.models.resnet18 import ResNet18
from tests.models.torchvision_keys import RESNET18_SHAPES


def published_state(classes: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights under torchvision's names, of a size that keeps activations within bounds."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in RESNET18_SHAPES.items():
        if name.startswith("fc."):
            shape = (classes, *shape[1:])
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(100)
        elif name.endswith(("running_var", "bn1.weight", "bn2.weight", "downsample.1.weight")):
            state[name] = 0.5 + torch.rand(shape, generator=random)
        else:
            spread = (2.0 / max(1, math.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1
            state[name] = torch.randn(shape, generator=random) * spread
    return state


def test_the_state_dict_is_torchvisions() -> None:
    ours = {name: tuple(value.shape) for name, value in ResNet18(6).state_dict().items()}
    assert len(RESNET18_SHAPES) == 122
    assert list(ours.items()) == list(RESNET18_SHAPES.items())


def test_a_torchvision_checkpoint_loads_and_is_used() -> None:
    network = ResNet18(6)
    assert not any(network.load_state_dict(published_state()))
    name = "layer4.0.downsample.0.weight"
    assert torch.equal(network.state_dict()[name], published_state()[name])


@pytest.mark.parametrize("classes", [1, 2, 6, 40])
def test_the_head_has_as_many_outputs_as_classes(classes: int) -> None:
    assert ResNet18(classes, width=4).eval()(torch.rand(2, 3, 64, 64)).shape == (2, classes)


def test_one_channel_stands_for_three_equal_ones() -> None:
    network = ResNet18(6).eval()
    network.load_state_dict(published_state())
    image = torch.rand(2, 1, 224, 224)
    with torch.inference_mode():
        one, three = network(image).softmax(dim=1), network(image.expand(-1, 3, -1, -1)).softmax(dim=1)
    assert (one - three).abs().max() < 1e-4


@torch.inference_mode()
def test_one_channel_is_computed_in_the_layout_of_the_weights() -> None:
    """Torch takes one channel for the other layout, unless its strides say which it is."""
    model = ResNet18(3, width=8).eval()
    images = torch.rand(2, 1, 32, 32)
    first, logits = model._first(images), model(images)
    assert first.is_contiguous() and not first.is_contiguous(memory_format=torch.channels_last)
    for weight in model.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    assert model._first(images).is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(model(images), logits, atol=1e-5)


def test_the_width_scales_every_layer() -> None:
    shapes = {name: tuple(value.shape) for name, value in ResNet18(6, width=16).state_dict().items()}
    assert shapes["conv1.weight"] == (16, 3, 7, 7)
    assert shapes["layer4.1.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["fc.weight"] == (6, 128)
    assert shapes.keys() == RESNET18_SHAPES.keys()
