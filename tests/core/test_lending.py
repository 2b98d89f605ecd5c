"""What is lent is never more than there is, whoever dies, comes, or stops in between two stores; and it is fair."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from engine.core.lending import MOST_LENT, Borrower, Holding, Lender, Loan, fair_shares

ROWS = 6
LINGER_NS = 5
SEEN_BY_SERVER_NS = 4  # how long after its end a connection is the server's still


@dataclass
class Row:
    """The words of one row, and whether somebody has its lock."""

    epoch: int = 0
    loan: int = 0
    holding: int = 0
    live: bool = False
    wants: bool = True


@dataclass
class Process:
    """Keeps to what a pool keeps to: it opens none in place of one that the server may still have."""

    row: Row
    limit: int = 0
    seen: int = 0
    open: int = 0
    leaving: list[int] = field(default_factory=list)  # until when the server has those that were closed

    def look(self) -> None:
        loan = Loan.unpack(self.row.loan)
        self.limit, self.seen = (loan.most, loan.number) if loan.is_for(self.row.epoch) else (0, 0)

    def tell(self) -> None:
        self.row.holding = Holding(self.row.epoch, self.seen, max(self.limit, self.open)).pack()


@dataclass
class Machine:
    """A server, processes that use it, and a supervisor that lends; every step is one of many that could be next."""

    chance: random.Random
    total: int
    now_ns: int = 0
    rows: list[Row] = field(default_factory=lambda: [Row() for _ in range(ROWS)])
    processes: list[Process] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)  # until when the server has each connection that is closed

    def __post_init__(self) -> None:
        self.lender = Lender(self.total, LINGER_NS)

    @property
    def seen_by_server(self) -> int:
        self.ended = [until for until in self.ended if until > self.now_ns]
        return sum(each.open for each in self.processes) + len(self.ended)

    def close(self, process: Process, count: int) -> None:
        process.open -= count
        until_ns = [self.now_ns + SEEN_BY_SERVER_NS] * count
        process.leaving = [each for each in process.leaving if each > self.now_ns] + until_ns
        self.ended += until_ns

    # --- what may be next -------------------------------------------------------------------------------------------

    def arrive(self) -> None:
        row = next((row for row in self.rows if not row.live), None)
        if row is not None:
            row.live, row.epoch, row.wants = True, row.epoch + 1, self.chance.random() < 0.9
            row.holding = Holding(row.epoch, 0, 0).pack()
            self.processes.append(Process(row))

    def die(self) -> None:
        if self.processes:
            process = self.processes.pop(self.chance.randrange(len(self.processes)))
            self.close(process, process.open)
            process.row.live = False

    def use(self) -> None:
        """One of the processes does one of its things."""
        if not self.processes:
            return
        process = self.chance.choice(self.processes)
        what = self.chance.randrange(6)
        if what == 0:
            process.look()
        elif what == 1:
            process.tell()
        elif what <= 3:
            self.open_one(process)
        elif what == 4 and process.open:
            self.close(process, 1)
        elif what == 5:
            self.close(process, max(0, process.open - process.limit))

    def open_one(self, process: Process) -> None:
        self.close(process, 0)
        if process.open + len(process.leaving) < process.limit:
            process.open += 1

    def lend(self) -> Iterator[None]:
        """One look of the lender, which others do not wait for: anything may happen at each `yield`."""
        borrowers, stores = [], []
        for number, row in enumerate(self.rows):
            if row.live:
                epoch = row.epoch
                loan = Loan.unpack(row.loan)
                yield
                holding = Holding.unpack(row.holding)
                borrowers.append(Borrower(number, epoch, row.wants, loan, holding))
                yield
        stores = list(self.lender.look(borrowers, self.now_ns).items())
        for number, word in stores:
            yield
            self.rows[number].loan = word

    # --- what must hold ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        assert self.seen_by_server <= self.total

    def settle(self) -> None:
        """Nobody comes or goes any more: everybody keeps to what it is told, for long enough."""
        for _ in range(60):
            for process in self.processes:
                process.look()
                self.close(process, max(0, process.open - process.limit))
                process.tell()
                self.open_one(process)
                self.check()
            for _ in self.lend():
                pass
            self.now_ns += 2


def machine_after(seed: int) -> Machine:
    """One that has gone through a random life, checked at each step."""
    chance = random.Random(seed)
    machine = Machine(chance, total=chance.choice([0, 1, 2, 5, 6, 8, 15, 100]))
    look: Iterator[None] = iter(())
    for _ in range(300):
        what = chance.random()
        if what < 0.03:
            machine.arrive()
        elif what < 0.05:
            machine.die()
        elif what < 0.06:  # the supervisor is killed where it stands, and another one begins
            machine.lender = Lender(machine.total, LINGER_NS)
            look = iter(())
        elif what < 0.35:
            try:
                next(look)
            except StopIteration:
                look = machine.lend()
        elif what < 0.5:
            machine.now_ns += 1
        else:
            machine.use()
        machine.check()
    return machine


@pytest.mark.parametrize("block", range(10))
def test_there_are_never_more_than_the_total_and_in_the_end_all_are_fairly_lent(block: int) -> None:
    for seed in range(120 * block, 120 * (block + 1)):
        machine = machine_after(seed)
        machine.settle()
        shares = [process.limit for process in machine.processes if process.row.wants]
        assert sum(shares) == (machine.total if shares else 0), seed
        assert not shares or max(shares) - min(shares) <= 1, seed
        assert all(process.limit == 0 for process in machine.processes if not process.row.wants), seed
        assert not machine.lender.is_unsettled, seed


def test_a_life_in_which_a_look_is_not_waited_for_would_be_noticed() -> None:
    """The walk finds what it is there to find: a lender that takes a smaller loan for seen lends too much."""

    class Hasty(Borrower):
        has_seen_it = True

    found = 0
    for seed in range(200):
        chance = random.Random(seed)
        machine = Machine(chance, total=6)
        for _ in range(200):
            for _ in range(chance.randrange(4)):
                machine.use()
            if chance.random() < 0.1:
                machine.arrive()
            borrowers = [
                Hasty(k, row.epoch, row.wants, Loan.unpack(row.loan), Holding.unpack(row.holding))
                for k, row in enumerate(machine.rows) if row.live
            ]  # fmt: skip
            for k, word in machine.lender.look(borrowers, machine.now_ns).items():
                machine.rows[k].loan = word
            machine.now_ns += 1
            found += machine.seen_by_server > machine.total
    assert found


def test_words_say_what_was_packed() -> None:
    for loan in (Loan(0, 0, 0, 0), Loan(1, 2, 3, 4), Loan(MOST_LENT, MOST_LENT, MOST_LENT, MOST_LENT)):
        assert Loan.unpack(loan.pack()) == loan
    assert Holding.unpack(Holding(MOST_LENT + 3, 5, MOST_LENT + 9).pack()) == (2, 5, MOST_LENT)
    assert not Loan(5, 0, 0, 0).is_for(5) and Loan(5, 1, 0, 0).is_for(MOST_LENT + 1 + 5)


def test_a_newcomer_has_nothing_until_somebody_has_less() -> None:
    lender = Lender(4, LINGER_NS)
    assert lender.look([], -LINGER_NS) == {}
    first = Borrower(1, 1, True, Loan.unpack(0), Holding(1, 0, 0))
    loan = Loan.unpack(lender.look([first], 0)[1])
    assert loan.most == 4
    first = Borrower(1, 1, True, loan, Holding(1, loan.number, 4))
    second = Borrower(2, 1, True, Loan.unpack(0), Holding(1, 0, 0))
    changed = lender.look([first, second], 1)
    assert changed.keys() == {1} and Loan.unpack(changed[1]) == (1, 2, 4, 2)
    first = Borrower(1, 1, True, Loan.unpack(changed[1]), Holding(1, 1, 4))
    assert lender.look([first, second], 2) == {}  # not seen yet
    first = Borrower(1, 1, True, first.loan, Holding(1, 2, 3))
    assert lender.look([first, second], 3) == {}  # a busy one is still there, the other was closed this moment
    assert Loan.unpack(lender.look([first, second], 3 + LINGER_NS)[2]).most == 1
    assert lender.is_unsettled


def test_shares_differ_by_one_at_most_and_stay_where_they_are() -> None:
    assert fair_shares(7, []) == {}
    assert fair_shares(8, [(3, 0), (1, 0), (2, 0)]) == {1: 3, 2: 3, 3: 2}
    assert fair_shares(8, [(1, 2), (2, 3), (3, 3)]) == {1: 2, 2: 3, 3: 3}
    assert fair_shares(2, [(1, 0), (2, 0), (3, 1)]) == {1: 1, 2: 0, 3: 1}
