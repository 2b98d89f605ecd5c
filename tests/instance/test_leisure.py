"""What an instance runs for itself: every size once, largest first, then the buckets again, and nothing that fails."""

from __future__ import annotations

import pytest
import torch

from engine.instance import leisure as leisure_module
from engine.instance.faults import Poisoned
from engine.instance.leisure import Leisure
from engine.instance.runner import ModelRunner
from engine.instance.warmup import warm_up
from engine.models.catalogue import load_model
from engine.spec import ModelSource, ModelSpec


class Counts(torch.nn.Module):
    """Notes the size of every batch; has room for `room` items, and is wrong for `wrong` of them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.room, self.wrong = 1024, 0

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(waveform))
        if len(waveform) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return waveform[:, :3] * (2.0 if len(waveform) == self.wrong else 1.0)


class Stage:
    """A model that is warm, and what is left to do; `met` has what had run when every size was met."""

    def __init__(self, *, max_batch: int = 8, repeats: int = 3, room: int = 1024) -> None:
        self.module = Counts()
        spec = ModelSpec(source=ModelSource.PICKLE, input_shape=(16,))
        runner = ModelRunner(load_model(spec, lambda: self.module), device="cpu", max_batch=max_batch)
        self.module.room = room
        self.warmed = warm_up(runner)
        self.warm = list(self.module.seen)
        self.module.seen.clear()
        self.met: list[list[int]] = []
        self.leisure = Leisure(
            runner, self.warmed, repeats=repeats, all_met=lambda: self.met.append(list(self.module.seen))
        )

    def run(self) -> list[int]:
        """Everything that is left; the sizes."""
        while not self.leisure.is_over:
            self.leisure.run()
        return self.module.seen


def test_warming_up_runs_every_bucket_once_and_the_largest_first() -> None:
    assert Stage().warm[-4:] == [8, 4, 2, 1]


def test_every_size_is_met_and_then_the_buckets_are_run_again() -> None:
    stage = Stage()
    assert stage.run() == [7, 6, 5, 3, 8, 4, 2, 1, 8, 4, 2, 1]
    assert stage.met == [[7, 6, 5, 3]]
    assert all(stage.warmed.size.curve.measures(size) == 2 for size in (1, 2, 4, 8))


def test_what_somebody_else_has_run_is_met() -> None:
    stage = Stage(repeats=1)
    for size in (3, 7, 8):
        stage.leisure.met(size)
    assert stage.met == [] and stage.leisure.is_meeting
    assert stage.run() == [6, 5] and stage.met == [[6, 5]]


def test_the_last_size_may_be_met_by_somebody_elses_batch() -> None:
    stage = Stage(repeats=1)
    for size in (3, 5, 6, 7):
        stage.leisure.met(size)
    assert stage.leisure.is_over
    stage.leisure.run()  # whoever had looked before that batch came
    assert stage.module.seen == []


@pytest.mark.parametrize(("max_batch", "repeats"), [(1, 0), (2, 1)])
def test_where_there_is_nothing_to_meet_all_are_met_at_once(max_batch: int, repeats: int) -> None:
    stage = Stage(max_batch=max_batch, repeats=repeats)
    assert stage.leisure.is_over and stage.met == [[]]


def test_what_does_not_fit_is_not_run() -> None:
    stage = Stage(room=5)
    assert stage.warmed.size.ceiling.limit == 4
    assert max(stage.run()) == 4


def test_memory_that_is_taken_meanwhile_is_learnt() -> None:
    stage = Stage()
    stage.module.room = 6
    assert [size for size in stage.run() if size > 6] == [7]
    assert 3 <= stage.warmed.size.ceiling.limit <= 6


@pytest.mark.parametrize("wrong", [3, 8])
def test_a_model_that_answers_otherwise_in_a_batch_ends_its_instance(wrong: int) -> None:
    stage = Stage()
    stage.module.wrong = wrong
    with pytest.raises(Poisoned, match=f"while nobody waited: the model answers differently in a batch of {wrong}"):
        stage.run()


def test_a_slow_model_is_neither_met_nor_repeated_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leisure_module, "MEETING_LIMIT_S", 0.0)
    monkeypatch.setattr(leisure_module, "REPEATING_LIMIT_S", 0.0)
    stage = Stage(repeats=5)
    assert stage.run() == [7, 8, 4, 2, 1] and len(stage.met) == 1
