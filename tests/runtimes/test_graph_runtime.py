"""Recorded launches, on a device that computes again where a GPU would replay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm
from engine.runtimes.graph_runtime import MOST_GRAPHS, GraphRuntime
from engine.runtimes.make import make_runtime
from engine.runtimes.torch_runtime import TorchRuntime
from tests.runtimes.conftest import FRAMES, loaded, small_module

FORM = ModelForm.named("torch-fp32-graph")


class HostRecorder:
    """Like CUDA's: a result lies in one place, and is nothing before the first replay. `refuse`: sizes it cannot do."""

    def __init__(self, refuse: dict[int, RuntimeError] | None = None) -> None:
        self.refuse = refuse or {}
        self.asked = 0

    def record(self, compute: Callable[[], object]) -> tuple[object, Callable[[], None]]:
        self.asked += 1
        result = compute()
        assert isinstance(result, Tensor)
        if len(result) in self.refuse:
            raise self.refuse[len(result)]
        kept = torch.full_like(result, torch.nan)

        def replay() -> None:
            again = compute()
            assert isinstance(again, Tensor)
            kept.copy_(again)

        return kept, replay


def graphs_of(module: nn.Module, recorder: HostRecorder) -> GraphRuntime:
    return GraphRuntime(FORM, TorchRuntime.eager(module), recorder)


def answer(runtime: GraphRuntime, batch: Tensor) -> Tensor:
    found = runtime(batch)
    assert isinstance(found, Tensor)
    return found


@torch.inference_mode()
def test_every_size_is_recorded_once_and_answers_each_batch_anew() -> None:
    module, recorder = small_module(), HostRecorder()
    runtime = graphs_of(module, recorder)
    places: dict[int, int] = {}
    for items in (8, 1, 3, 8, 3, 1, 8):
        batch = torch.randn(items, FRAMES)
        found = answer(runtime, batch)
        torch.testing.assert_close(found, module(batch))
        assert places.setdefault(items, found.data_ptr()) == found.data_ptr()
    assert recorder.asked == 3
    assert runtime.memory_bytes() > (8 + 1 + 3) * FRAMES * 4
    runtime.close()


@torch.inference_mode()
def test_a_model_that_cannot_be_recorded_is_no_form() -> None:
    runtime = graphs_of(small_module(), HostRecorder({8: RuntimeError("operation not permitted")}))
    with pytest.raises(FormUnavailable, match="torch-fp32-graph cannot be recorded: operation not permitted"):
        runtime(torch.randn(8, FRAMES))


@torch.inference_mode()
def test_a_size_that_cannot_be_recorded_is_computed_launch_by_launch(caplog: pytest.LogCaptureFixture) -> None:
    module, recorder = small_module(), HostRecorder({3: RuntimeError("no algorithm")})
    runtime = graphs_of(module, recorder)
    for items in (8, 3, 3, 8):
        batch = torch.randn(items, FRAMES)
        torch.testing.assert_close(answer(runtime, batch), module(batch))
    assert recorder.asked == 2
    assert "batches of shape (3, 4000) are not recorded: no algorithm" in caplog.text


@torch.inference_mode()
def test_lack_of_memory_is_told_as_such() -> None:
    runtime = graphs_of(small_module(), HostRecorder({8: torch.OutOfMemoryError("CUDA out of memory")}))
    with pytest.raises(torch.OutOfMemoryError):
        runtime(torch.randn(8, FRAMES))
    assert len(answer(runtime, torch.randn(4, FRAMES))) == 4


@torch.inference_mode()
def test_so_many_sizes_are_recorded_and_no_more() -> None:
    recorder = HostRecorder()
    runtime = graphs_of(nn.Linear(4, 3), recorder)
    for items in range(1, MOST_GRAPHS + 4):
        assert len(answer(runtime, torch.randn(items, 4))) == items
    assert recorder.asked == MOST_GRAPHS


@pytest.mark.parametrize("name", ["torch-fp32-graph", "torch-fp16-graph"])
def test_graphs_are_for_cuda(name: str) -> None:
    with pytest.raises(FormUnavailable, match=f"{name} is for CUDA, not for cpu"):
        make_runtime(ModelForm.named(name), loaded(small_module()), None, threads=1)
