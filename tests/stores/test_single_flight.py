"""One computation for all who want the same answer, whatever happens to whoever computes."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from engine.clock import LAST_NS, Deadline
from engine.errors import DeadlineExceeded, ModelFailed
from engine.shm.cache_record import CacheRecord, RecordKind
from engine.stores.flight_ground import FlightGround, byte_of
from engine.stores.flight_roles import Follower, Leader, Outcome
from engine.stores.single_flight import SingleFlight
from tests.shm.cache_rig import CacheRig, cache_rig, in_ms, key_of
from tests.shm.rig import ROOT
from tests.support.wait import wait_for

KEY = key_of(1)
VALUE = CacheRecord(b"value", in_ms(3600), RecordKind.ANSWER)
BULK, NORMAL, INTERACTIVE = -1, 0, 1


class House:
    """A file with a cache, and as many processes' views of it as a test likes, in one process."""

    def __init__(self, rig: CacheRig) -> None:
        self.rig = rig
        self.counted: Counter[str] = Counter()
        self._open: list[SingleFlight] = []

    def enter(self, *, shares: bool = True) -> SingleFlight:
        flights = SingleFlight(self.count)
        if shares:
            flights.meet(self.rig.fd, self.rig.enter())
        self._open.append(flights)
        return flights

    def count(self, name: str, n: int) -> None:
        self.counted[name] += n

    def close(self) -> None:
        for flights in self._open:
            flights.close()


@pytest.fixture
def house() -> Iterator[House]:
    with cache_rig(writers=4) as rig:
        made = House(rig)
        yield made
        made.close()


class Heard:
    """What one caller was told."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._came = threading.Event()

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._came.set()

    def one(self) -> Outcome:
        """The one outcome, once it is there."""
        assert self._came.wait(20), "nothing was told"
        assert len(self.outcomes) == 1
        return self.outcomes[0]

    def leader(self) -> Leader:
        outcome = self.one()
        assert isinstance(outcome, Leader)
        return outcome


def lead(flights: SingleFlight, level: int = NORMAL, key: bytes = KEY) -> Leader:
    found = flights.join(key, level, LAST_NS, lambda outcome: None)
    assert isinstance(found, Leader)
    return found


def follow(flights: SingleFlight, level: int = NORMAL, deadline_ns: int = LAST_NS) -> tuple[Follower, Heard]:
    heard = Heard()
    found = flights.join(KEY, level, deadline_ns, heard)
    assert isinstance(found, Follower)
    return found, heard


def finish(house: House, leader: Leader, *, is_kept: bool = True) -> None:
    if is_kept:
        way = house.rig.enter()
        assert way.put(leader.key, VALUE.value, VALUE.expires_at_ms)
        way.close()
    leader.finish(VALUE, is_kept=is_kept)


@pytest.fixture(params=["same-process", "other-process", "without-a-cache"])
def two(request: pytest.FixtureRequest, house: House) -> tuple[SingleFlight, SingleFlight]:
    """The process of a leader and that of a follower."""
    first = house.enter(shares=request.param != "without-a-cache")
    return first, house.enter() if request.param == "other-process" else first


Two = tuple[SingleFlight, SingleFlight]


def test_who_waits_gets_what_the_leader_has(house: House, two: Two) -> None:
    leader = lead(two[0])
    heard = [follow(two[1])[1] for _ in range(5)]
    finish(house, leader)
    assert [each.one() for each in heard] == [VALUE] * 5
    assert house.counted == {"single_flight.leader": 1, "single_flight.follower": 5}


def test_who_comes_when_all_is_over_leads_or_has_the_answer(house: House, two: Two) -> None:
    finish(house, lead(two[0]), is_kept=False)
    finish(house, lead(two[1]), is_kept=True)
    shares = two[0]._ground is not None
    found = two[1].join(KEY, NORMAL, LAST_NS, lambda outcome: None)
    assert found == VALUE if shares else isinstance(found, Leader)


def test_who_waits_shares_the_error_and_who_comes_later_does_not(two: Two) -> None:
    leader = lead(two[0])
    _, heard = follow(two[1])
    leader.fail(ModelFailed("this input"))
    outcome = heard.one()
    assert isinstance(outcome, ModelFailed)
    assert str(outcome) == "this input"
    again = lead(two[0])
    _, later = follow(two[1])
    again.release()
    assert later.leader()


def test_when_the_leader_gives_up_one_of_those_who_wait_leads(house: House, two: Two) -> None:
    leader = lead(two[0])
    heard = [follow(two[1])[1] for _ in range(3)]
    leader.release()
    leader.release()
    heir = heard[0].leader()
    assert not heard[1].outcomes
    finish(house, heir)
    assert [each.one() for each in heard[1:]] == [VALUE] * 2
    assert house.counted["single_flight.takeover"] == 1


def test_what_is_of_no_use_to_others_sends_all_to_compute_at_once(two: Two) -> None:
    leader = lead(two[0])
    heard = [follow(two[1])[1] for _ in range(3)]
    leader.disperse()
    for each in heard:
        each.leader().finish(VALUE, is_kept=True)


def test_a_value_that_is_not_kept_serves_its_own_process_and_sends_others_to_compute(house: House) -> None:
    here, there = house.enter(), house.enter()
    leader = lead(here)
    near = follow(here)[1]
    far = [follow(there)[1] for _ in range(3)]
    finish(house, leader, is_kept=False)
    assert near.one() == VALUE
    assert all(each.leader().is_alone for each in far)


def test_nobody_waits_behind_a_lower_level(house: House, two: Two) -> None:
    bulk = lead(two[0], BULK)
    normal = lead(two[1], NORMAL)
    interactive = lead(two[1], INTERACTIVE)
    heard = [follow(each, level)[1] for each in two for level in (BULK, NORMAL, INTERACTIVE)]
    for leader in (bulk, normal):
        leader.release()
    assert not any(each.outcomes for each in heard)
    finish(house, interactive)
    assert [each.one() for each in heard] == [VALUE] * 6


def test_who_waited_here_goes_on_to_wait_for_somebody_elsewhere(house: House) -> None:
    here, there = house.enter(), house.enter()
    low = lead(here, BULK)
    _, heard = follow(here, BULK)
    high = lead(there, NORMAL)
    low.release()
    assert not heard.outcomes
    finish(house, high)
    assert heard.one() == VALUE


def test_of_those_who_wait_the_highest_level_leads_and_the_others_go_on_waiting(house: House, two: Two) -> None:
    leader = lead(two[0], INTERACTIVE)
    heard = {level: follow(two[1], level)[1] for level in (BULK, NORMAL, INTERACTIVE)}
    leader.release()
    heir = heard[INTERACTIVE].leader()
    assert heir.level == INTERACTIVE
    finish(house, heir)
    assert heard[BULK].one() == heard[NORMAL].one() == VALUE


def test_a_lower_leader_serves_those_above_too_when_it_is_first(house: House, two: Two) -> None:
    low, high = lead(two[0], BULK), lead(two[1], INTERACTIVE)
    _, heard = follow(two[1], INTERACTIVE)
    finish(house, low)
    if two[0] is two[1]:
        assert heard.one() == VALUE
        high.finish(VALUE, is_kept=True)
    else:
        high.release()
        assert heard.one() == VALUE


def test_who_waits_keeps_its_own_deadline(house: House, two: Two) -> None:
    leader = lead(two[0])
    _, soon = follow(two[1], deadline_ns=Deadline.after_s(0.05).at_ns)
    _, late = follow(two[1], deadline_ns=Deadline.after_s(60).at_ns)
    assert isinstance(soon.one(), DeadlineExceeded)
    assert not late.outcomes
    finish(house, leader)
    assert late.one() == VALUE


def test_who_hangs_up_hears_nothing(house: House, two: Two) -> None:
    leader = lead(two[0])
    gone, heard = follow(two[1])
    _, stays = follow(two[1])
    assert gone.cancel()
    assert not gone.cancel()
    finish(house, leader)
    assert stays.one() == VALUE
    assert not heard.outcomes


def test_an_end_counts_once(house: House, two: Two) -> None:
    leader = lead(two[0])
    finish(house, leader, is_kept=False)
    second = lead(two[0])
    leader.fail(ModelFailed("too late"))
    leader.release()
    _, heard = follow(two[0])
    assert not heard.outcomes
    second.finish(VALUE, is_kept=False)
    assert heard.one() == VALUE


def test_two_keys_have_nothing_to_do_with_each_other(two: Two) -> None:
    one, other = lead(two[0]), lead(two[1], key=key_of(2))
    one.release()
    other.release()


def test_who_raises_when_told_keeps_nobody_from_being_told(house: House, two: Two) -> None:
    def fails(outcome: Outcome) -> None:
        raise ValueError("the loop is closed")

    leader = lead(two[0])
    assert isinstance(two[1].join(KEY, NORMAL, LAST_NS, fails), Follower)
    _, heard = follow(two[1])
    leader.release()  # the first of them leads, cannot be told, and gives up as well
    finish(house, heard.leader())


def test_closing_sends_those_who_wait_to_compute(house: House, two: Two) -> None:
    leader = lead(two[0])
    _, heard = follow(two[1])
    two[1].close()
    assert heard.leader().is_alone
    assert isinstance(two[1].join(KEY, NORMAL, LAST_NS, lambda outcome: None), Leader)
    leader.release()


def test_another_machine_segment_is_used_from_then_on(house: House) -> None:
    here, there = house.enter(), house.enter()
    old = lead(here)
    _, heard = follow(there)
    with cache_rig() as other:
        here.meet(other.fd, other.enter())
        assert heard.leader()  # its leader leads nowhere that it can see
        assert isinstance(here.join(KEY, NORMAL, LAST_NS, lambda outcome: None), Follower)
        old.release()
        here.close()


def test_a_forked_child_computes_by_itself_and_takes_nothing_with_it(house: House) -> None:
    here, there = house.enter(), house.enter()
    leader = lead(here)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of the thread that bounds the test
        pid = os.fork()
    if pid == 0:
        leader.release()
        found = here.join(KEY, NORMAL, LAST_NS, lambda outcome: None)
        os._exit(0 if isinstance(found, Leader) and found.is_alone else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    _, heard = follow(there)
    assert not heard.outcomes
    leader.release()
    assert heard.leader()


@pytest.mark.parametrize("number", range(50))
def test_bytes_of_keys_lie_beyond_all_files_and_apart(number: int) -> None:
    found = [byte_of(key_of(number), level) for level in (BULK, NORMAL, INTERACTIVE)]
    assert found == list(range(found[0], found[0] + 3))
    assert 1 << 62 <= found[0]
    assert found[0] % 4 == 0
    assert found[2] < (1 << 63) - 1
    assert byte_of(b"\xff" * 32, INTERACTIVE) < (1 << 63) - 1


def test_without_locks_to_be_had_everybody_computes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = FlightGround(house.rig.fd, house.rig.enter())

    def refuses(*_: object) -> bool:
        raise OSError("no locks available")

    monkeypatch.setattr(ground._locks, "try_lock", refuses)
    monkeypatch.setattr(ground._locks, "taken_elsewhere", refuses)
    assert ground.try_lead(KEY, NORMAL)
    assert not ground.is_led(KEY, NORMAL)
    ground.close()


def test_many_threads_of_many_views_compute_each_key_once_at_a_time(house: House) -> None:
    views = [house.enter() for _ in range(4)]
    computed: Counter[bytes] = Counter()
    got: list[CacheRecord] = []
    lock = threading.Lock()

    def compute(leader: Leader) -> None:
        with lock:
            computed[leader.key] += 1
        finish(house, leader)

    def want(view: SingleFlight, key: bytes) -> None:
        heard = Heard()
        found: object = view.join(key, NORMAL, LAST_NS, heard)
        if isinstance(found, Follower):
            found = heard.one()
        if isinstance(found, Leader):
            compute(found)
            found = VALUE
        assert isinstance(found, CacheRecord)
        with lock:
            got.append(found)

    threads = [
        threading.Thread(target=want, args=(views[k % 4], key_of(100 + k // 16))) for k in range(64)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [VALUE] * 64
    assert set(computed.values()) == {1}


# --- processes ------------------------------------------------------------------------------------------------------


class Process:
    """One of `flight_process`."""

    def __init__(self, fd: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stores.flight_process", str(fd)],
            pass_fds=[fd], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def asks(self, line: str) -> str:
        self.tell(line)
        return self.line()

    def line(self) -> str:
        return self.lines.get(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
        self.process.wait(20)
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def start(house: House) -> Iterator[Callable[[], Process]]:
    with ExitStack() as stack:

        def started() -> Process:
            process = Process(house.rig.fd)
            stack.callback(process.close)
            return process

        yield started


def test_a_leader_that_is_killed_is_followed_by_one_in_another_process(start: Callable[[], Process]) -> None:
    first, second, third = start(), start(), start()
    assert first.asks("join a 1 0 60") == "a leader"
    assert second.asks("join b 1 0 60") == "b follower"
    assert third.asks("join c 1 -1 60") == "c follower"
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert second.line() == "b leader"  # whether or not the other was quicker: that one is of a lower level
    second.tell("finish b answer")
    assert third.line() in ("c leader", "c value answer")


def test_a_stopped_leader_costs_nobody_more_than_its_deadline(start: Callable[[], Process]) -> None:
    first, second = start(), start()
    assert first.asks("join a 1 0 60") == "a leader"
    first.process.send_signal(signal.SIGSTOP)
    assert second.asks("join b 1 0 0.2") == "b follower"
    assert second.line().startswith("b error DEADLINE_EXCEEDED")
    assert second.asks("join c 1 0 60") == "c follower"
    assert second.asks("cancel c") == "c cancelled True"
    first.process.send_signal(signal.SIGCONT)


def test_errors_and_answers_reach_every_process(start: Callable[[], Process]) -> None:
    processes = [start() for _ in range(3)]
    assert processes[0].asks("join a 7 0 60") == "a leader"
    for each in processes[1:]:
        assert each.asks("join b 7 0 60") == "b follower"
    processes[0].tell("fail a input")
    for each in processes[1:]:
        assert each.line() == "b error MODEL_FAILED input"
    assert processes[1].asks("join c 7 0 60") == "c leader"
    assert processes[2].asks("join d 7 0 60") == "d follower"
    processes[1].tell("finish c answer")
    assert processes[2].line() == "d value answer"
    assert processes[0].asks("join e 7 0 60") == "e value answer"


def test_whoever_kills_leader_after_leader_leaves_the_last_one_answered(start: Callable[[], Process]) -> None:
    processes = [start() for _ in range(4)]
    for k, each in enumerate(processes):
        assert each.asks(f"join p{k} 9 0 60") == f"p{k} " + ("follower" if k else "leader")
    left = processes
    leader = processes[0]
    while len(left) > 1:
        leader.process.send_signal(signal.SIGKILL)
        leader.process.wait()
        left = [each for each in left if each is not leader]
        (leader,) = wait_for(lambda: [each for each in left if not each.lines.empty()], "somebody leads")
        assert leader.line().endswith(" leader")
