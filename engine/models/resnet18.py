"""ResNet18 in plain torch, with torchvision's names and shapes, so that published checkpoints load unchanged.

He et al., Deep Residual Learning for Image Recognition (arXiv 1512.03385), table 1, 18 layers, projection shortcuts.
Invariant: at width 64 the state_dict has torchvision's 122 entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STANDARD_WIDTH = 64


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, c_in, H, W] -> [B, c_out, H / stride, W / stride]."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner: Tensor = self.relu(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner)).add_(shortcut)
        result: Tensor = self.relu(inner)
        return result


def _stage(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(c_in, c_out, stride), BasicBlock(c_out, c_out, 1))


class ResNet18(nn.Module):
    """Images [B, 3, H, W] -> logits [B, classes]. `width` is the number of channels of the first stage.

    [B, 1, H, W] stands for three equal channels and gives the same logits for less work.
    """

    def __init__(self, classes: int, width: int = STANDARD_WIDTH) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _first(self, images: Tensor) -> Tensor:
        if images.shape[1] == 3:
            first: Tensor = self.conv1(images)
            return first
        # A convolution is linear: over equal channels it is one channel under the sum of the three kernels.
        kernel = self.conv1.weight.sum(dim=1, keepdim=True)
        if self.conv1.weight.is_contiguous(memory_format=torch.channels_last):
            # Of one channel torch cannot tell the two layouts apart, unless the strides say so; it would take the other
            # one, and everything up to the first stage would be computed in it and then laid out anew.
            kernel = kernel.clone(memory_format=torch.channels_last)
        return functional.conv2d(images, kernel, stride=self.conv1.stride, padding=self.conv1.padding)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self._first(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits
