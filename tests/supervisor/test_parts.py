"""The supervisor's parts by themselves: loop, ledger, options, children, identities."""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.config import load_settings
from engine.core.restart import RestartPolicy
from engine.errors import InvalidField, ProtocolError
from engine.launch import masters
from engine.launch.identity import Identity, is_dead, pid_of, send_signal, wait_dead
from engine.messages import sealed_memfd
from engine.shm.bell import Bell
from engine.spec import ModelDescription
from engine.supervisor.children import describe_exit, reap, spawn
from engine.supervisor.ledger import DeploymentRecord, Ledger, State
from engine.supervisor.loop import Loop
from engine.supervisor.master_watch import MasterWatch
from engine.supervisor.options import PoolOptions, SupervisorOptions
from engine.supervisor.plan import Plan, what_changed

DESCRIPTION = ModelDescription(
    model_version="v",
    input_shape=(8,),
    classes=2,
    labels=("a", "b"),
    sample_rate_hz=8,
    segment_s=1.0,
    peak_normalise=True,
    device="cpu",
)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


# --- loop -----------------------------------------------------------------------------------------------------------


def test_timers_fire_in_order_and_cancelled_ones_never(loop: Loop) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    order = random.Random(seed)
    fired: list[int] = []
    timers = [loop.call_after(order.randrange(20) / 1000, functools.partial(fired.append, k)) for k in range(200)]
    cancelled = order.sample(range(200), 50)
    for index in cancelled:
        timers[index].cancel()
    loop.call_after(0.03, loop.stop)
    loop.run()
    # By the moment, not by the delay: between two calls of `call_after` a busy machine may let milliseconds pass.
    assert fired == sorted(set(range(200)) - set(cancelled), key=lambda index: (timers[index].at_ns, index))


def test_a_handler_may_stop_watching_what_is_ready_in_the_same_round(loop: Loop) -> None:
    bells = [Bell.create(), Bell.create()]
    rang: list[int] = []

    def handle(index: int) -> None:
        rang.append(index)
        for bell in bells:
            loop.unwatch(bell.fileno())

    for index, bell in enumerate(bells):
        loop.watch(bell.fileno(), functools.partial(handle, index))
        bell.ring()
    loop.run_once(1.0)
    loop.run_once(0.0)
    assert len(rang) == 1
    for bell in bells:
        bell.close()


def test_signals_are_handled_in_the_loop_and_given_back(loop: Loop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    loop.on_signal(signal.SIGUSR1, loop.stop)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run()
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_handler_that_fails_is_called_again_and_hinders_nobody(loop: Loop) -> None:
    bell, timed, signalled, attempted = Bell.create(), [0], [0], [0]
    rang, others = [0], [0]

    def until_third(count: list[int], then: Callable[[], object] = lambda: None) -> None:
        count[0] += 1
        if count[0] < 3:
            raise ZeroDivisionError(str(count))
        then()

    loop.watch(bell.fileno(), functools.partial(until_third, rang, bell.drain))
    bell.ring()
    loop.call_after(0.0, functools.partial(until_third, timed))
    loop.on_signal(signal.SIGUSR1, functools.partial(until_third, signalled))
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.attempt(functools.partial(until_third, attempted))
    loop.call_after(0.01, lambda: others.append(len(loop.guard.health.troubles())))
    loop.call_after(1.0, loop.stop)
    loop.run()
    assert rang == timed == signalled == attempted == [3]
    assert others == [0, 4]  # it was called although four were in trouble
    assert not loop.guard.health.degraded
    assert len(loop.guard.health.recent()) == 4
    bell.close()


def test_a_descriptor_that_is_let_go_while_its_handler_is_in_trouble_is_forgotten(loop: Loop) -> None:
    bell = Bell.create()

    def fail() -> None:
        raise ZeroDivisionError

    loop.watch(bell.fileno(), fail)
    bell.ring()
    loop.run_once(1.0)
    assert loop.guard.health.degraded
    loop.watch(bell.fileno(), fail)  # replaces the handler, and must not wake the descriptor before its time
    loop.unwatch(bell.fileno())
    assert loop.guard.health.troubles() == []
    rang: list[int] = []
    loop.watch(bell.fileno(), lambda: rang.append(bell.drain() is None))
    loop.run_once(1.0)
    assert rang
    loop.unwatch(bell.fileno())
    bell.close()


def test_one_step_that_is_tried_again_and_again_is_tried_once_at_a_time(loop: Loop) -> None:
    calls: list[int] = []

    class Part:
        def step(self) -> None:
            calls.append(1)
            if len(calls) < 101:
                raise ZeroDivisionError

    part = Part()
    for _ in range(101):
        loop.attempt(part.step)
    assert len(calls) == 101
    loop.call_after(0.1, loop.stop)
    loop.run()
    assert len(calls) == 101
    assert not loop.guard.health.degraded


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("pass", "exited with 0 (CLEAN)"),
        ("import sys; sys.exit(20)", "exited with 20 (LOAD_FAILED)"),
        (
            "import sys; sys.exit(22)",
            "exited with 22 (ORPHANED: its connection to the supervisor closed, see the log and `health` in status)",
        ),
        ("import sys; sys.exit(77)", "exited with 77"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
    ],
)
def test_the_end_of_a_child_in_words(program: str, words: str) -> None:
    child = spawn([sys.executable, "-S", "-c", program])
    assert wait_dead(child.pidfd, timeout_s=20)
    assert describe_exit(reap(child.pidfd)) == words
    assert reap(child.pidfd) is None
    os.close(child.pidfd)


def test_a_child_has_its_own_session_and_none_of_our_descriptors() -> None:
    reader, writer = os.pipe()
    program = f"import os; assert os.getsid(0) == os.getpid(); assert not os.path.exists('/proc/self/fd/{writer}')"
    child = spawn([sys.executable, "-S", "-c", program])
    assert wait_dead(child.pidfd, timeout_s=20)
    assert reap(child.pidfd) == 0
    for fd in (child.pidfd, reader, writer):
        os.close(fd)


def test_an_identity_is_one_process() -> None:
    own = Identity.of(os.getpid())
    assert own.is_living
    assert not Identity(own.pid, own.start_ticks + 1).is_living
    assert not Identity(own.pid, 0).is_living
    child = spawn([sys.executable, "-c", "import signal; signal.pause()"])
    assert pid_of(child.pidfd) == child.identity.pid
    assert not is_dead(child.pidfd)
    send_signal(child.pidfd, signal.SIGKILL)
    assert wait_dead(child.pidfd, timeout_s=20)
    assert not child.identity.is_living  # though not yet reaped
    assert pid_of(0) == 0
    reap(child.pidfd)
    send_signal(child.pidfd, signal.SIGKILL)
    os.close(child.pidfd)


def test_masters_that_are_dead_are_forgotten(runtime_dir: Path, loop: Loop) -> None:
    child = spawn([sys.executable, "-c", "import signal; signal.pause()"])
    masters.register(runtime_dir, child.identity)
    masters.register(runtime_dir, Identity(child.identity.pid, 1))
    (runtime_dir / "masters" / "nonsense").touch()
    assert masters.living(runtime_dir) == [child.identity]
    watch = MasterWatch(loop, runtime_dir, loop.stop)
    watch.look()
    send_signal(child.pidfd, signal.SIGKILL)
    loop.run()
    assert masters.living(runtime_dir) == []
    watch.close()
    reap(child.pidfd)
    os.close(child.pidfd)


# --- ledger and options ---------------------------------------------------------------------------------------------


def plan(options: PoolOptions, number: int, pickle_path: Path | None = None) -> Plan:
    return Plan(deployment="d", number=number, spec={"x": [1]}, options=options, pickle_path=pickle_path)


def test_what_is_written_is_read_back(runtime_dir: Path) -> None:
    options = PoolOptions(pool_size=2, max_batch_size=8, warmup_requests=0, devices=("cpu", "cuda:1"))
    ledger = Ledger(runtime_dir)
    assert ledger.read() == State()
    memfd = sealed_memfd("factory", b"x" * 3_000_000)
    path = ledger.store_factory("d/../..", 2, memfd)
    os.close(memfd)
    assert path.parent == runtime_dir / "factories"
    assert path.read_bytes() == b"x" * 3_000_000
    state = State(
        deployments=(
            DeploymentRecord("d", 3, plan(options, 2, path), plan(options, 3), DESCRIPTION),
            DeploymentRecord("e", 0, None, None, None),
        ),
        instances=(Identity(1, 2),),
        frontends=(Identity(3, 4), Identity(5, 6)),
    )
    ledger.write(ledger.content(state))
    assert ledger.read() == state
    ledger.clear()
    assert ledger.read() == State()
    assert list(runtime_dir.iterdir()) == []
    with pytest.raises(ProtocolError):
        ledger.store_factory("d", 1, 0)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff\0"),
        b'{"deployments": [5], "instances": [], "frontends": []}',
        b'{"deployments": [], "instances": [{"pid": "1", "start_ticks": 2}], "frontends": []}',
        b'{"deployments": [{"deployment": 3, "newest": 1}], "instances": [], "frontends": []}',
    ],
    ids=["empty", "half", "list", "null", "deep", "bytes", "number", "text", "no name"],
)
def test_a_state_that_is_nonsense_is_put_aside_and_said(runtime_dir: Path, content: bytes) -> None:
    (runtime_dir / "state.json").write_bytes(content)
    ledger = Ledger(runtime_dir)
    assert ledger.read() == State()
    assert "state.json" in ledger.unreadable
    assert (runtime_dir / "state.bad").read_bytes() == content


def test_a_state_that_cannot_be_written_leaves_the_one_before(runtime_dir: Path) -> None:
    ledger = Ledger(runtime_dir)
    before, after = State(frontends=(Identity(1, 2),)), State(frontends=(Identity(3, 4),))
    ledger.write(ledger.content(before))
    (runtime_dir / "state.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        ledger.write(ledger.content(after))
    assert ledger.read() == before
    (runtime_dir / "state.new").rmdir()
    ledger.write(ledger.content(after))
    assert ledger.is_in_place
    (runtime_dir / "state.json").unlink()
    assert not Ledger(runtime_dir).is_in_place


def test_nobody_is_taken_for_dead_for_want_of_a_descriptor() -> None:
    own = Identity.of(os.getpid())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            print(own.is_living)
        with pytest.raises(OSError, match="Too many open files"):
            Identity.of(os.getpid())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_child_that_cannot_be_watched_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(pid: int) -> int:
        raise OSError(24, "Too many open files")

    before = psutil.Process().children()
    monkeypatch.setattr(os, "pidfd_open", no_descriptor)
    with pytest.raises(OSError, match="Too many"):
        spawn([sys.executable, "-S", "-c", "input()"])
    assert psutil.Process().children() == before


def supervisor_options(runtime_dir: Path, **settings: object) -> SupervisorOptions:
    values = {f"NIGHTSCAN_OPTIMIZED_SERVING__{name.upper()}": str(value) for name, value in settings.items()}
    return SupervisorOptions.from_settings(load_settings(values), runtime_dir)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_lanes_are_twice_the_workers_and_some(runtime_dir: Path, workers: int) -> None:
    assert supervisor_options(runtime_dir, workers=workers).lanes == 2 * workers + 4


def test_switched_off_means_nothing_is_deployed(runtime_dir: Path) -> None:
    assert supervisor_options(runtime_dir, enabled="false").default_spec is None
    assert supervisor_options(runtime_dir).restarts == RestartPolicy()


@pytest.mark.parametrize(
    "wished",
    [
        {"pool_size": 0},
        {"pool_size": 2000},
        {"pool_size": "2"},
        {"max_batch_size": -1},
        {"warmup_requests": 1.5},
        {"devices": []},
        {"devices": [3]},
        {"devices": "cuda"},
        {"devices": 7},
        {"colour": "red"},
    ],
)
def test_wishes_that_cannot_be_are_refused_by_name(runtime_dir: Path, wished: dict[str, object]) -> None:
    with pytest.raises(InvalidField, match=next(iter(wished))):
        supervisor_options(runtime_dir).pool_options(wished)


def test_wishes_left_open_are_filled_from_the_settings(runtime_dir: Path) -> None:
    options = supervisor_options(runtime_dir, max_batch_size=16)
    assert options.pool_options({"pool_size": None, "devices": None}) == options.pool
    assert options.pool_options({"pool_size": 7}).max_batch_size == 16


def test_labels_that_changed_are_named_as_what_changed() -> None:
    given = plan(PoolOptions(pool_size=1, max_batch_size=8, warmup_requests=0, devices=("cpu",)), 1)
    renamed = dataclasses.replace(DESCRIPTION, model_version="w", labels=("a", "c"))
    said = what_changed(given, DESCRIPTION, renamed)
    assert "the labels of the model that" in said
    assert "class 1 was 'b' and is 'c', 1 of 2 changed; model_version v then, w now" in said
    other = dataclasses.replace(DESCRIPTION, model_version="w", classes=3, labels=("a", "b", "c"))
    assert "labels" not in what_changed(given, DESCRIPTION, other)
