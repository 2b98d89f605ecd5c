"""These tests exist only where there is a CUDA device: elsewhere nothing is collected, so nothing is skipped."""

from __future__ import annotations

import pytest
import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def driver() -> None:
    """What the driver and its libraries open when they are first used stays open, and is no test's leak."""
    images = torch.rand(1, 1, 8, 8, device="cuda:0")
    torch.nn.functional.conv2d(images, images).sum().item()
    torch.fft.rfft(images).abs().sum().item()
    (images[0, 0] @ images[0, 0]).sum().item()
