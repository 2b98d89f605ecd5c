"""The loop as a whole, in one process with both ends of a lane: when it takes, when it sleeps, when it leaves."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.control.link import ControlLink
from engine.core.batch_size import BatchSize
from engine.instance import loop as loop_module
from engine.instance.demand import UNWANTED_AFTER_S, Demand
from engine.instance.leisure import Leisure
from engine.instance.loop import InstanceLoop
from engine.instance.notebook import Notebook
from engine.instance.processor import BatchProcessor
from engine.instance.warmup import warm_up
from engine.instance.seat_count import SeatCount
from engine.shm.board import InstanceBoard, instance_totals
from engine.shm.layout import LaneWord
from engine.shm.lease import Lease
from engine.messages import socket_path
from engine.shm.records import Outcome
from engine.testing.devices import LateDevice
from engine.tuning.batch_notes import BatchNotes
from tests.client.stage import wait_until
from tests.instance.conftest import FRAMES, MAX_BATCH, Bench, make_runner
from tests.instance.test_processor import sound


class Stage:
    """A loop that is ready to run in this thread, its device, and what another thread does meanwhile."""

    def __init__(self, bench: Bench, runtime_dir: Path, *, repeats: int = 1, notes: BatchNotes | None = None) -> None:
        self.device = LateDevice((FRAMES,), MAX_BATCH)
        runner = make_runner("loudness", self.device)
        notebook = Notebook(notes)
        warmed = warm_up(runner, BatchSize(MAX_BATCH, notebook.record))
        self.size, self.warmed = warmed.size, list(warmed.bucket_ms)
        self.device.log.clear()
        self.device.batches = 0
        self.bench = bench
        self.all_met: list[str] = []
        leisure = Leisure(runner, warmed, repeats=repeats, all_met=lambda: self.all_met.append("met"))
        board = InstanceBoard(bench.segment, bench.taker.name)
        self._loop = InstanceLoop(
            taker=bench.taker,
            processor=BatchProcessor(bench.taker, runner, warmed),
            board=board,
            seat=SeatCount("m", board.seat, board.device, self.device.memory_bytes),
            doorbell=bench.doorbell,
            control=ControlLink(runtime_dir, role="instance"),
            leisure=leisure,
            notebook=notebook,
            aging_ms=1000.0,
            longest_wait_ms=100.0,
            warnings=[],
            demand=Demand(bench.segment),
        )

    def counted(self, name: str) -> int:
        return instance_totals(self.bench.segment)[name]

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Runs the loop until `meanwhile` has returned and everything is finished."""
        failed: list[BaseException] = []

        def play() -> None:
            try:
                meanwhile()
            except AssertionError as error:
                failed.append(error)
            finally:
                self._loop.handle_term()

        thread = threading.Thread(target=play)
        thread.start()
        self._loop.run()
        thread.join()
        assert not failed, failed

    def close(self) -> None:
        """Lets go of the segment, which pytest would keep mapped."""
        del self._loop, self.device


@pytest.fixture
def stage(bench: Bench, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(bench, tmp_path)
    yield made
    made.close()


@contextmanager
def busy_lease(bench: Bench) -> Iterator[None]:
    """Somebody else holds it."""
    other = Lease(bench.segment.fd)
    try:
        with other:
            yield
    finally:
        other.close()


def test_a_full_batch_is_staged_while_another_computes(stage: Stage) -> None:
    for seed in range(2 * MAX_BATCH):
        stage.bench.submit(sound(seed))
    stage.run(lambda: wait_until(lambda: stage.counted("requests") == 2 * MAX_BATCH, "all are computed"))
    assert stage.device.log[:4] == ["stage 0", "launch 0", "stage 1", "copy 0"]
    assert stage.counted("batches") == 2
    assert [reply.outcome for reply in stage.bench.replies()] == [Outcome.OK] * 2 * MAX_BATCH


def test_less_than_a_full_batch_is_left_to_grow_while_another_computes(stage: Stage) -> None:
    for seed in range(MAX_BATCH + 2):
        stage.bench.submit(sound(seed))
    stage.run(lambda: wait_until(lambda: stage.counted("requests") == MAX_BATCH + 2, "all are computed"))
    assert stage.device.log == [
        *("stage 0", "launch 0", "copy 0", "compute 0", "discard 0"),
        *("stage 1", "launch 1", "copy 1", "compute 1", "discard 1"),
    ]
    assert len(stage.bench.replies()) == MAX_BATCH + 2


def test_an_idle_cycle_takes_no_lease(stage: Stage) -> None:
    """Woken for nothing it looks and sleeps again, whoever has the lease: nobody waits for an idle instance."""
    def ring_for_nothing() -> None:
        with busy_lease(stage.bench):
            for _ in range(3):
                seen = stage.counted("progress")
                stage.bench.doorbell.ring()
                wait_until(lambda: stage.counted("progress") > seen, "it woke and went on")  # noqa: B023

    stage.run(ring_for_nothing)
    assert stage.device.log == []


def test_work_that_is_ready_is_waited_for_at_the_lease(stage: Stage) -> None:
    def submit() -> None:
        with busy_lease(stage.bench):
            stage.bench.submit(sound(0))
            wait_until(lambda: not stage.bench.doorbell.drain(), "it drained the doorbell")
        wait_until(lambda: stage.counted("requests") == 1, "it is computed, with no other ring")

    stage.run(submit)
    assert len(stage.bench.replies()) == 1


def test_one_that_is_told_to_leave_finishes_what_it_has_begun(stage: Stage) -> None:
    for seed in range(2 * MAX_BATCH):
        stage.bench.submit(sound(seed))
    stage.run(lambda: None)
    assert stage.device.idle
    answered = len(stage.bench.replies())
    assert answered == stage.counted("requests") and stage.bench.owner.statistics().leased == 0
    assert stage.bench.owner.statistics().ready == 2 * MAX_BATCH - answered


# --- while nobody waits ---------------------------------------------------------------------------------------------


def staged(stage: Stage) -> int:
    """Batches so far, of requests or not."""
    return stage.device.batches


@pytest.fixture
def unhurried(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A loop that has much to run for itself, and begins with that at once."""
    monkeypatch.setattr(loop_module, "QUIET_S", 0.0)
    made = Stage(bench, tmp_path, repeats=1000)
    yield made
    made.close()


def test_an_idle_instance_meets_every_size_and_repeats_the_buckets(unhurried: Stage) -> None:
    unhurried.run(lambda: wait_until(lambda: staged(unhurried) > 20, "it runs its model"))
    assert unhurried.all_met == ["met"] and unhurried.counted("requests") == 0


def test_a_request_is_answered_between_two_runs_at_leisure(unhurried: Stage) -> None:
    def ask() -> None:
        wait_until(lambda: staged(unhurried) > 2, "it runs its model")
        unhurried.bench.submit(sound(0))
        wait_until(lambda: unhurried.counted("requests") == 1, "it is computed")

    unhurried.run(ask)
    assert [reply.outcome for reply in unhurried.bench.replies()] == [Outcome.OK]
    assert staged(unhurried) < 3 * 1000, "it did not run all of it first"


def test_one_that_always_has_work_meets_a_size_now_and_then(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "QUIET_S", 3600.0)
    monkeypatch.setattr(loop_module, "MEETS_EVERY", 2)
    stage = Stage(bench, tmp_path)

    def ask(times: int) -> None:
        for seed in range(times):
            stage.bench.submit(sound(seed))
            wait_until(lambda: stage.counted("requests") == seed + 1, "it is computed")  # noqa: B023
            stage.bench.replies()

    stage.run(lambda: ask(4))
    assert stage.all_met == ["met"] and staged(stage) == 4 + 1  # of sizes from 1 to 4 three was not met
    stage.close()


# --- what it learns -------------------------------------------------------------------------------------------------


def test_what_an_instance_has_learnt_is_there_for_the_next_one(bench: Bench, tmp_path: Path) -> None:
    notes = BatchNotes(tmp_path, model_version="v", device="cpu", threads=1)
    first = Stage(bench, tmp_path, notes=notes)
    first.size.sink(MAX_BATCH, 0)
    first.run(lambda: wait_until(lambda: notes.read().ceiling.too_large == MAX_BATCH, "it is written down"))
    first.close()
    second = Stage(bench, tmp_path, notes=notes)
    assert second.warmed == [1, 2, 3], "the buckets below what did not fit"
    second.run(lambda: None)
    second.close()


# --- without a supervisor -------------------------------------------------------------------------------------------


def test_one_without_a_supervisor_goes_on_for_a_while_after_the_last_frontend(bench: Bench) -> None:
    demand, long_ago_ns = Demand(bench.segment), now_ns() - int((UNWANTED_AFTER_S + 1) * NS_PER_S)
    owner = bench.segment.lane_row(0)
    owner[LaneWord.PID] = 0
    assert demand.lasts(now_ns()) and not demand.lasts(long_ago_ns)
    owner[LaneWord.PID] = os.getpid()
    assert demand.lasts(long_ago_ns)
    owner[LaneWord.PID] = 0
    assert demand.lasts(long_ago_ns)


def test_each_time_without_a_supervisor_counts_by_itself(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has a lane. One supervisor is lost longer after the one before it than an instance waits for the next."""
    monkeypatch.setattr("engine.instance.demand.UNWANTED_AFTER_S", 4.0)
    stage.bench.segment.lane_row(0)[LaneWord.PID] = 0
    came: list[bool] = []

    def meanwhile() -> None:
        missed_at = Deadline.after_s(4.0)
        for _ in range(2):
            seen = stage.counted("progress")
            wait_until(lambda: stage.counted("progress") > seen, "it has looked for a supervisor")
            with supervisor_in(tmp_path) as listener, listener.accept()[0]:
                came.append(True)
                wait_until(lambda: missed_at.expired, "it has not been missed for long")

    stage.run(meanwhile)
    assert came == [True, True]


@contextmanager
def supervisor_in(runtime_dir: Path) -> Iterator[socket.socket]:
    """Somebody listens there, and does not for long."""
    path = Path(socket_path(runtime_dir))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10.0)
        yield listener
    path.unlink()
