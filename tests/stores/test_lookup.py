"""Looking up over the frontends of a machine: found, waited for, taken over, failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.clock import NS_PER_S, now_ns
from engine.errors import ClientGone, DeadlineExceeded, EngineError, ModelFailed, NotReady, QueueFull
from engine.shm import l1
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import MachineGeometry
from engine.shm.process_row import ProcessRow
from engine.stores.cache_value import CachedAnswer, CachedRecording, CachedWindow, CacheValue, encoded
from engine.stores.lookup import Lookup, Standing
from engine.stores.two_level import TwoLevelCache
from tests.support.wait import wait_for

CLASSES = 4
MS = 1_000_000
SCOPE, OTHER_SCOPE = b"a" * 32, b"b" * 32
FILE = memoryview(b"sound")
VALUE = CacheValue(
    CachedRecording(1.0, 16000, 1, "WAV"),
    [CachedWindow(0, 0.0, 1.0, 0)],
    [CachedAnswer(np.array([0.1, 0.2, 0.3, 0.4], np.float32), 2)],
)


class Frontends:
    """Caches over one machine segment, each as in a process of its own: its own locks, its own row."""

    def __init__(self, l1_bytes: int = 1 << 20) -> None:
        self._machine = MachineSegment.create(MachineGeometry(8, l1_bytes, 4))
        self._opened: list[tuple[TwoLevelCache, ProcessRow]] = []

    def another(self) -> TwoLevelCache:
        row = ProcessRow.private()
        assert row.move_to(self._machine)
        cache = TwoLevelCache(row, ttl_s=60)
        cache.meet(self._machine)
        self._opened.append((cache, row))
        return cache

    def counted(self, name: str) -> int:
        return self._machine.process_totals()[name]

    def close(self) -> None:
        for cache, row in self._opened:
            cache.close()
            row.close()
        self._machine.close()


@pytest.fixture
def frontends() -> Iterator[Frontends]:
    made = Frontends()
    yield made
    made.close()


def asked(cache: TwoLevelCache, scope: bytes = SCOPE, file: memoryview = FILE) -> Lookup:
    lookup = cache.lookup(file, "owls")
    assert lookup is not None
    lookup.find(scope, CLASSES)
    return lookup


def advance(lookup: Lookup, *, level: int = 0, within_s: float = 30.0) -> Standing:
    return lookup.advance(level, now_ns() + int(within_s * NS_PER_S))


def leading(cache: TwoLevelCache) -> Lookup:
    lookup = asked(cache)
    assert advance(lookup) is Standing.TO_COMPUTE
    return lookup


def following(cache: TwoLevelCache, **how: float) -> Lookup:
    lookup = asked(cache)
    assert advance(lookup, **how) is Standing.WAITING  # type: ignore[arg-type]
    return lookup


def outcome(lookup: Lookup) -> Standing:
    lookup.wait()
    return advance(lookup)


def same(found: CacheValue | None) -> bool:
    return found is not None and encoded(*found) == encoded(*VALUE)


def test_what_one_frontend_computed_another_finds(frontends: Frontends) -> None:
    leading(frontends.another()).keep(*VALUE, cost_ns=MS)
    lookup = asked(frontends.another())
    assert same(lookup.found) and lookup.origin == "l1" and advance(lookup) is Standing.FOUND
    assert (frontends.counted("l1.hits"), frontends.counted("l1.misses"), frontends.counted("l1.stored")) == (1, 1, 1)


def test_another_scope_or_another_file_never_gets_it(frontends: Frontends) -> None:
    cache = frontends.another()
    leading(cache).keep(*VALUE, cost_ns=MS)
    for scope, file in ((OTHER_SCOPE, FILE), (SCOPE, memoryview(b"sounds"))):
        lookup = asked(cache, scope, file)
        assert lookup.found is None and advance(lookup) is Standing.TO_COMPUTE
        lookup.let_go()


def test_a_model_that_is_replaced_meanwhile_begins_another_question(frontends: Frontends) -> None:
    cache = frontends.another()
    leading(cache).keep(*VALUE, cost_ns=MS)
    lookup = asked(cache)
    assert advance(lookup) is Standing.FOUND
    lookup.find(OTHER_SCOPE, CLASSES)
    assert lookup.found is None and lookup.origin == "" and advance(lookup) is Standing.TO_COMPUTE


@pytest.mark.parametrize("elsewhere", [False, True])
def test_who_comes_while_it_is_computed_waits_for_the_answer(frontends: Frontends, elsewhere: bool) -> None:
    cache = frontends.another()
    leader = leading(cache)
    other = frontends.another() if elsewhere else cache
    followers = [following(other) for _ in range(3)]
    leader.keep(*VALUE, cost_ns=MS)
    assert [outcome(lookup) for lookup in followers] == [Standing.FOUND] * 3
    assert all(same(lookup.found) and lookup.origin == "shared" for lookup in followers)
    assert frontends.counted("single_flight.leader") == 1 and frontends.counted("single_flight.follower") == 3


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("give_up", [Lookup.let_go, lambda lookup: lookup.fail(QueueFull())])
def test_when_the_leader_gives_up_one_follower_computes(
    frontends: Frontends, elsewhere: bool, give_up: Callable[[Lookup], object]
) -> None:
    cache = frontends.another()
    leader = leading(cache)
    other = frontends.another() if elsewhere else cache
    first, second = following(other), following(other)
    give_up(leader)
    assert outcome(first) is Standing.TO_COMPUTE and advance(second) is Standing.WAITING
    first.keep(*VALUE, cost_ns=MS)
    assert outcome(second) is Standing.FOUND and same(second.found)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_error_of_the_input_is_everybody_s_and_is_not_kept(frontends: Frontends, elsewhere: bool) -> None:
    cache = frontends.another()
    leader = leading(cache)
    other = frontends.another() if elsewhere else cache
    follower = following(other)
    leader.fail(ModelFailed("no such sound"))
    assert outcome(follower) is Standing.FAILED
    error = follower.failure()
    assert isinstance(error, ModelFailed) and str(error) == "no such sound"
    later = asked(other)
    assert later.found is None and advance(later) is Standing.TO_COMPUTE
    later.let_go()


def test_who_cannot_keep_what_it_computed_leaves_nobody_waiting(frontends: Frontends) -> None:
    leader = leading(frontends.another())
    follower = following(frontends.another())
    with pytest.raises(AttributeError) as error:
        leader.keep(VALUE[0], VALUE[1], [None], cost_ns=MS)  # type: ignore[list-item]
    leader.fail(error.value)
    assert outcome(follower) is Standing.TO_COMPUTE


def test_an_error_of_ours_is_nobody_else_s(frontends: Frontends) -> None:
    leader = leading(frontends.another())
    follower = following(frontends.another())
    leader.fail(NotReady())
    assert outcome(follower) is Standing.TO_COMPUTE
    follower.let_go()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_answer_of_another_model_is_for_nobody_who_waits(frontends: Frontends, elsewhere: bool) -> None:
    cache = frontends.another()
    leader = leading(cache)
    other = frontends.another() if elsewhere else cache
    followers = [following(other) for _ in range(3)]
    leader.keep_nothing()
    assert [outcome(lookup) for lookup in followers] == [Standing.TO_COMPUTE] * 3
    assert asked(cache).found is None


def test_a_follower_keeps_its_deadline(frontends: Frontends) -> None:
    leader = leading(frontends.another())
    follower = following(frontends.another(), within_s=0.05)
    assert outcome(follower) is Standing.FAILED and isinstance(follower.failure(), DeadlineExceeded)
    leader.keep(*VALUE, cost_ns=MS)


def test_a_follower_that_hangs_up_leaves_the_others_waiting(frontends: Frontends) -> None:
    cache = frontends.another()
    leader = leading(cache)
    gone, stays = following(cache), following(cache)
    gone.let_go()
    assert advance(gone) is Standing.FAILED and isinstance(gone.failure(), ClientGone)
    leader.keep(*VALUE, cost_ns=MS)
    assert outcome(stays) is Standing.FOUND and advance(gone) is Standing.FAILED


def test_nobody_waits_behind_a_lower_priority(frontends: Frontends) -> None:
    bulk = asked(frontends.another())
    assert advance(bulk, level=-1) is Standing.TO_COMPUTE
    interactive = asked(frontends.another())
    assert advance(interactive, level=1) is Standing.TO_COMPUTE
    normal = asked(frontends.another())
    assert advance(normal) is Standing.WAITING
    interactive.keep(*VALUE, cost_ns=MS)
    assert outcome(normal) is Standing.FOUND
    bulk.let_go()


def test_a_value_for_another_number_of_classes_is_computed_by_everybody(frontends: Frontends) -> None:
    """As a stranger might leave one: it is found, but of no use, and nobody waits for a better one."""
    cache = frontends.another()
    leader = leading(cache)
    follower = following(cache)
    strange = VALUE._replace(answers=[CachedAnswer(np.ones(CLASSES + 1, np.float32), 1)])
    leader.keep(*strange, cost_ns=MS)
    assert outcome(follower) is Standing.TO_COMPUTE
    later = asked(cache)
    assert later.found is None and advance(later) is Standing.TO_COMPUTE
    assert frontends.counted("l1.torn") == 1


def test_what_is_too_large_for_this_machine_is_told_to_who_waits_here(frontends: Frontends) -> None:
    cache = frontends.another()
    leader = leading(cache)
    here, elsewhere = following(cache), following(frontends.another())
    windows = [CachedWindow(k, float(k), k + 1.0, 0) for k in range(10_000)]
    answers = [VALUE.answers[0]] * len(windows)
    leader.keep(CachedRecording(10_001.0, 16000, 1, "WAV"), windows, answers, cost_ns=MS)
    assert outcome(here) is Standing.FOUND
    assert outcome(elsewhere) is Standing.TO_COMPUTE
    assert asked(cache).found is None and frontends.counted("l1.dropped") == 1
    elsewhere.let_go()


def test_who_computes_for_nobody_else_leaves_nothing_to_wait_for(frontends: Frontends) -> None:
    cache = frontends.another()
    for end in (Lookup.let_go, Lookup.keep_nothing, lambda lookup: lookup.fail(EngineError())):
        end(leading(cache))
    leading(cache).keep(*VALUE, cost_ns=MS)


def test_threads_of_one_process_all_get_one_answer(frontends: Frontends) -> None:
    cache, computed, found = frontends.another(), [], []

    def ask() -> None:
        lookup = asked(cache)
        standing = advance(lookup)
        while standing is Standing.WAITING:
            standing = outcome(lookup)
        if standing is Standing.TO_COMPUTE:
            computed.append(lookup)
            wait_for(lambda: frontends.counted("single_flight.follower") >= 7, "the others to wait")
            lookup.keep(*VALUE, cost_ns=MS)
        found.append(lookup.found if standing is Standing.FOUND else VALUE)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1 and len(found) == 8 and all(map(same, found))


def test_a_cache_that_is_closed_leaves_nobody_waiting(frontends: Frontends) -> None:
    cache = frontends.another()
    leader = leading(cache)
    follower = following(cache)
    cache.close()
    assert outcome(follower) is Standing.TO_COMPUTE
    leader.keep(*VALUE, cost_ns=MS)
    assert cache.lookup(FILE, "owls") is None


def test_without_l1_those_of_one_process_still_share() -> None:
    frontends = Frontends(l1_bytes=0)
    cache = frontends.another()
    assert cache.lookup(FILE, "owls") is None  # there is nothing to look into
    frontends.close()


def test_what_costs_more_than_it_saves_is_mostly_left_out(frontends: Frontends) -> None:
    cache = frontends.another()
    night = [memoryview(bytes([k % 256, k // 256]) * 10_000) for k in range(2_000)]
    for file in night:
        if (lookup := cache.lookup(file, "owls")) is not None:
            lookup.find(SCOPE, CLASSES)
            assert advance(lookup) is Standing.TO_COMPUTE
            lookup.keep(*VALUE, cost_ns=1_000)
    left_out = frontends.counted("l1.bypassed")
    assert 500 < left_out < 2_000 and frontends.counted("l1.bypassing") == 1
    assert left_out + frontends.counted("l1.misses") == 2_000


def test_a_frontend_without_memory_for_what_it_keeps_says_so_and_reads_on(
    frontends: Frontends, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading(frontends.another()).keep(*VALUE, cost_ns=MS)
    monkeypatch.setattr(l1, "available_bytes", lambda: 4096)
    poor = frontends.another()
    other = asked(poor, OTHER_SCOPE)
    assert advance(other) is Standing.TO_COMPUTE
    other.keep(*VALUE, cost_ns=MS)
    assert frontends.counted("l1.without_memory") == 1
    assert same(asked(poor).found)
