"""CUDA graphs: launches on a stream of their own, recorded in place of being made."""

from __future__ import annotations

from collections.abc import Callable

import torch

_RUNS_BEFORE = 3  # in which libraries choose algorithms and take workspaces, which is not allowed while recording


class CudaRecorder:
    """All graphs of one share their memory: they never run at the same time, and a result is read before the next."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, compute: Callable[[], object]) -> tuple[object, Callable[[], None]]:
        """As `LaunchRecorder` says. Waits for the whole device, so not while anybody waits for an answer."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(_RUNS_BEFORE):
                compute()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # What other threads ask of the driver meanwhile does not spoil it.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = compute()
        return result, graph.replay
