"""Lends out what all processes of the machine may have open together: the only writer of the loans in their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.clock import NS_PER_S, now_ns
from engine.core.lending import Borrower, Holding, Lender, Loan
from engine.observe.metrics import LENT_POOLS, PROCESS_GAUGES
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import ProcessWord
from engine.supervisor.loop import Loop
from engine.supervisor.machine import MachineKeeper

WHILE_CHANGING_S = 0.05
AT_REST_S = 0.25  # a newcomer has its share within this and one more look
# A server that runs has seen within this that a connection is closed. Arbitrary, but above a look of it at its sockets.
LINGER_NS = NS_PER_S // 4

_WANTS = {pool: ProcessWord.GAUGES + PROCESS_GAUGES.index(f"{pool}.initialized") for pool in LENT_POOLS}


class Shares:
    """The lenders of a machine segment, one for each pool."""

    def __init__(self, loop: Loop, keeper: MachineKeeper, totals: Mapping[str, int]) -> None:
        """`totals`: connections of each pool of LENT_POOLS, over all processes together."""
        self._loop = loop
        self._keeper = keeper
        self._totals = totals
        self._begun = False
        self._machine: MachineSegment | None = None  # that the lenders are of
        self._lenders: dict[str, Lender] = {}

    def begin(self) -> None:
        """Lends from now on, once there is a segment. May be repeated."""
        if not self._begun:
            self._begun = True
            self._loop.attempt(self._look)

    def _look(self) -> None:
        """Stores the loans that are due, and comes again."""
        changes = self._lend()
        self._loop.call_after(WHILE_CHANGING_S if changes else AT_REST_S, self._look)

    def _lend(self) -> bool:
        """Whether anything is on its way."""
        machine, now = self._keeper.machine, now_ns()
        if machine is None:
            return False
        if machine is not self._machine:
            self._machine = machine
            self._lenders = {pool: Lender(self._totals[pool], LINGER_NS) for pool in LENT_POOLS}
        live = list(_living(machine))
        unsettled = False
        for place, pool in enumerate(LENT_POOLS):
            borrowers = [_borrower(row, words, pool, place) for row, words in live]
            loans = self._lenders[pool].look(borrowers, now)
            for row, words in live:
                if row in loans:
                    words[ProcessWord.LOANS + place] = loans[row]
            unsettled = unsettled or self._lenders[pool].is_unsettled or not all(each.has_seen_it for each in borrowers)
        return unsettled


def _living(machine: MachineSegment) -> Iterator[tuple[int, memoryview]]:
    for row in range(machine.geometry.rows):
        words = machine.row(row)
        if words[ProcessWord.EPOCH] and machine.is_live(row):
            yield row, words


def _borrower(row: int, words: memoryview, pool: str, place: int) -> Borrower:
    # The epoch first: should the row change hands in between, what is read then belongs to no epoch that is known here.
    epoch = words[ProcessWord.EPOCH]
    return Borrower(
        row=row,
        epoch=epoch,
        wants=bool(words[_WANTS[pool]]),
        loan=Loan.unpack(words[ProcessWord.LOANS + place]),
        holding=Holding.unpack(words[ProcessWord.HOLDINGS + place]),
    )
