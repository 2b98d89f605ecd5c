"""A network as torch's compiler writes it anew for a GPU: layers that follow one another become one kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

CACHE = "compiled"  # folder beside the other files of a result: what is there is not compiled again

Compute = Callable[[Tensor], object]


def compiled(network: nn.Module, folder: Path | None) -> Compute:
    """What computes `network`, whose weights stay where they are; it is compiled when it is first called.

    One program for batches of one and another for all larger ones. `folder`: of the files of the form; None: whatever
    torch keeps by itself. Raises RuntimeError at the first call where there is no compiler for C, or no Triton.
    """
    import torch._inductor.config as compiler  # a second of imports, for those who compile

    compiler.compile_threads = 1  # others would be processes of its own, which outlive a killed instance
    if folder is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / CACHE)
    program: Compute = torch.compile(network, dynamic=True)
    return program
