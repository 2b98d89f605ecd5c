"""These tests exist only where there is a CUDA device: elsewhere nothing is collected, so nothing is skipped."""

from __future__ import annotations

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
