"""Asking the cache only while it saves more than it costs, and noticing when that changes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from engine.core.bypass import LOOKED_AT_EVERY, SAMPLED_EVERY, Bypass
from engine.core.repeats import SLOTS, Repeats, look_of

US = 1000
MS = 1_000_000


@dataclass
class Machine:
    """A process with a cache that forgets nothing: what its decisions cost and save."""

    cost_ns: int
    saving_ns: int
    l2_cost_ns: int = 0
    bypass: Bypass = field(init=False)
    l1: set[int] = field(default_factory=set)
    l2: set[int] = field(default_factory=set)
    asked: int = 0
    asked_l2: int = 0
    hits: int = 0
    spent_ns: int = 0

    def __post_init__(self) -> None:
        self.bypass = Bypass(has_l2=bool(self.l2_cost_ns))

    def serve(self, files: Iterable[int]) -> None:
        for file in files:
            self.request(file)

    def request(self, file: int) -> None:
        choice = self.bypass.choose(look(file))
        if choice.l1:
            self.asked += 1
            self.spent_ns += self.cost_ns
            hit = file in self.l1
            self.bypass.asked_l1(choice, cost_ns=self.cost_ns, hit=hit)
            if not hit and choice.l2:
                self.asked_l2 += 1
                self.spent_ns += self.l2_cost_ns
                hit = file in self.l2
                self.bypass.asked_l2(cost_ns=self.l2_cost_ns, hit=hit)
            if hit:
                self.hits += 1
                return
        self.spent_ns += self.saving_ns
        self.bypass.computed(self.saving_ns)
        if choice.l1:
            self.l1.add(file)
            self.bypass.kept(choice)


def tiny(l2_cost_ns: int = 0) -> Machine:
    """A model that computes in a third of a millisecond."""
    return Machine(cost_ns=60 * US, saving_ns=300 * US, l2_cost_ns=l2_cost_ns)


def look(file: int) -> int:
    return (file * 0x9E3779B97F4A7C15 + 12345) & ((1 << 64) - 2)


def unique(seed: int = 0) -> Iterator[int]:
    """Files that never come again."""
    k = (seed + 1) << 32
    while True:
        k += 1
        yield k


def take(files: Iterator[int], count: int) -> list[int]:
    return [next(files) for _ in range(count)]


def test_a_process_begins_by_asking() -> None:
    machine = tiny()
    machine.serve(take(unique(), 10))
    assert machine.asked == 10


@pytest.mark.parametrize("seed", range(100))
def test_files_that_never_come_again_are_left_alone_within_a_thousand(seed: int) -> None:
    chance = random.Random(seed)
    saving_ns = chance.randrange(50 * US, 1000 * MS)
    cost_ns = int(saving_ns * chance.uniform(0.0101, 3))
    machine = Machine(cost_ns, saving_ns, l2_cost_ns=chance.choice([0, cost_ns]))
    files = unique(seed)
    machine.serve(take(files, 1000))
    before, spent_ns = machine.asked, machine.spent_ns
    machine.serve(take(files, 3200))
    assert machine.asked - before == 3200 // SAMPLED_EVERY
    assert machine.spent_ns - spent_ns <= 3200 * saving_ns + 2 * (3200 // SAMPLED_EVERY) * cost_ns
    assert machine.bypass.skips_l1


def test_what_costs_next_to_nothing_is_always_asked() -> None:
    machine = Machine(cost_ns=250 * US, saving_ns=30 * MS)
    machine.serve(take(unique(), 5000))
    assert machine.asked == 5000


@pytest.mark.parametrize("seed", range(30))
def test_repeats_after_a_long_pause_are_asked_for_again_soon(seed: int) -> None:
    chance = random.Random(seed)
    machine = tiny()
    machine.serve(take(unique(seed), 3000))
    few = [chance.randrange(1 << 20) for _ in range(chance.choice([1, 10, 100]))]
    machine.serve(chance.choice(few) for _ in range(1000))
    hits = machine.hits
    machine.serve(chance.choice(few) for _ in range(1000))
    assert machine.hits - hits >= 950
    assert not machine.bypass.skips_l1


@pytest.mark.parametrize("seed", range(30))
def test_a_mixture_costs_little_more_than_the_better_of_always_and_never(seed: int) -> None:
    chance = random.Random(seed)
    saving_ns = 300 * US
    cost_ns = int(saving_ns * chance.uniform(0.02, 1.2))
    share = chance.random()  # of requests for one of 200 files
    fresh = unique(seed)
    files = [chance.randrange(200) if chance.random() < share else next(fresh) for _ in range(20_000)]
    machine = Machine(cost_ns, saving_ns)
    machine.serve(files)
    misses = len(set(files))
    always_ns = len(files) * cost_ns + misses * saving_ns
    never_ns = len(files) * saving_ns
    assert machine.spent_ns <= 1.06 * min(always_ns, never_ns)


def test_files_that_come_exactly_twice_are_worth_it() -> None:
    machine = tiny()
    machine.serve(take(unique(), 2000))
    pairs = [file for base in range(0, 5000, 50) for _ in range(2) for file in range(base, base + 50)]
    machine.serve(pairs)
    hits = machine.hits
    machine.serve(file + 100_000 for file in pairs)
    assert machine.hits - hits >= 0.95 * len(pairs) / 2


def test_files_that_all_look_alike_are_not_taken_for_repeats_for_long() -> None:
    machine = tiny()
    looks_alike = machine.bypass.choose
    machine.bypass.choose = lambda look: looks_alike(2)  # type: ignore[method-assign]
    machine.serve(take(unique(), 1000))
    before = machine.asked
    machine.serve(take(unique(1), 3200))
    assert machine.asked - before <= 2 * 3200 // SAMPLED_EVERY
    one = next(unique(2))
    machine.serve([one] * 4000)
    hits = machine.hits
    machine.serve([one] * 100)
    assert machine.hits - hits >= 90


def test_l2_is_left_out_by_itself_while_l1_has_all_there_is() -> None:
    machine = tiny(l2_cost_ns=200 * US)
    fresh = unique()
    machine.serve(k % 20 if k % 4 else next(fresh) for k in range(4000))
    asked, asked_l2 = machine.asked, machine.asked_l2
    machine.serve(k % 20 if k % 4 else next(fresh) for k in range(3200))
    assert machine.asked - asked == 3200
    assert machine.asked_l2 - asked_l2 <= 3200 // SAMPLED_EVERY
    assert machine.bypass.skips_l2
    assert not machine.bypass.skips_l1


def test_l2_alone_can_be_worth_the_hash() -> None:
    machine = tiny(l2_cost_ns=30 * US)
    files = unique()
    known = take(files, 6000)
    machine.l2.update(known)  # by another machine
    machine.serve(known)
    assert machine.hits == 6000
    assert not machine.bypass.skips_l1


def test_an_l2_that_does_not_answer_is_no_reason_to_hash() -> None:
    machine = tiny(l2_cost_ns=30 * US)
    files = unique()
    known = take(files, 2000)
    machine.l2.update(known)
    machine.serve(known)
    assert not machine.bypass.skips_l1
    for file in take(files, 1000):  # it is away: nobody says what it has
        choice = machine.bypass.choose(look(file))
        if choice.l1:
            machine.bypass.asked_l1(choice, cost_ns=60 * US, hit=False)
        machine.bypass.computed(300 * US)
    assert machine.bypass.skips_l1


def test_one_stop_of_the_machine_decides_nothing() -> None:
    bypass = Bypass(has_l2=False)
    for k in range(200):
        choice = bypass.choose(look(k % 3))
        bypass.asked_l1(choice, cost_ns=60 * US, hit=k > 2)
        bypass.computed(300 * US)
    assert not bypass.skips_l1
    bypass.asked_l1(choice, cost_ns=10_000 * MS, hit=True)
    assert not bypass.skips_l1
    assert bypass.l1.cost_ns < 80 * US


def test_nothing_is_decided_before_a_saving_is_known() -> None:
    bypass = Bypass(has_l2=True)
    for k in range(2000):
        choice = bypass.choose(look(k))
        assert choice.l1 and choice.l2
        bypass.asked_l1(choice, cost_ns=60 * US, hit=False)


# --- looks ----------------------------------------------------------------------------------------------------------


def test_a_look_is_the_same_for_the_same_bytes_and_another_for_others() -> None:
    files = [os.urandom(size) for size in (0, 1, 7, 8, 100, 1000, 100_000) for _ in range(3 if size > 7 else 1)]
    looks = [look_of(memoryview(file)) for file in files]
    assert looks == [look_of(memoryview(bytearray(file))) for file in files]
    assert len(set(looks)) == len(files)
    assert all(0 <= each < 1 << 64 and not each & 1 for each in looks)
    assert look_of(memoryview(bytes(1000))) != look_of(memoryview(bytes(999) + b"x"))


def test_a_file_is_remembered_until_others_have_taken_its_place() -> None:
    repeats = Repeats()
    assert repeats.see(2) == (False, False)
    assert repeats.see(2) == (True, False)
    repeats.keep(2)
    assert repeats.see(2) == (True, True)
    assert repeats.see(2 + 2 * SLOTS) == (False, False)
    assert repeats.see(2) == (False, False)


def test_while_it_is_not_worth_it_most_files_are_not_even_looked_at() -> None:
    bypass = Bypass(has_l2=False)
    assert not any(bypass.passes_over() for _ in range(100))
    bypass.skips_l1 = True
    assert sum(bypass.passes_over() for _ in range(400)) == 400 - 400 // LOOKED_AT_EVERY
