"""How connections are lent: one total for all processes of the machine, a share for each, and never more than that.

Two words per process. The loan is the lender's: how many the process may open. The holding is the process's: which loan
it has seen, and up to how many it keeps itself to since. Both are stored whole, so that each is true whenever it is
read; a lender that is killed leaves everything that its successor must know.

Equation, at every moment: the sum of all claims and of what is set aside <= total. A claim is the most that a process
may have open, whatever of its stores and looks is still to come: so a loan is made larger only by what is nobody's
claim, and a smaller one frees nothing before the process has seen it and said what it keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_BITS = 16
_MASK = (1 << _BITS) - 1
MOST_LENT = _MASK


class Loan(NamedTuple):
    """What the lender has last said to the process that claimed its row for the `epoch`-th time."""

    epoch: int
    number: int  # of this loan within the epoch; 0: there is none
    before: int  # the claim when it was made: what the process may have open until it has seen it
    most: int

    def pack(self) -> int:
        """The word."""
        return self.epoch << 3 * _BITS | self.number << 2 * _BITS | self.before << _BITS | self.most

    @classmethod
    def unpack(cls, word: int) -> Loan:
        """What `pack` made."""
        return cls(word >> 3 * _BITS, word >> 2 * _BITS & _MASK, word >> _BITS & _MASK, word & _MASK)

    def is_for(self, epoch: int) -> bool:
        """Whether it was made to who has the row now, and not to who had it before."""
        return self.number != 0 and self.epoch == epoch & _MASK


class Holding(NamedTuple):
    """What a process says of its connections."""

    epoch: int
    number: int  # of the loan that it has seen last; 0: of none
    most: int  # it opens no more than this or the loan of that number; it has none beyond them

    def pack(self) -> int:
        """The word."""
        return (self.epoch & _MASK) << 3 * _BITS | self.number << 2 * _BITS | min(self.most, MOST_LENT)

    @classmethod
    def unpack(cls, word: int) -> Holding:
        """What `pack` made."""
        return cls(word >> 3 * _BITS, word >> 2 * _BITS & _MASK, word & _MASK)


@dataclass(frozen=True, slots=True)
class Borrower:
    """One living process, as its row has it."""

    row: int
    epoch: int
    wants: bool  # whether it has use for connections
    loan: Loan
    holding: Holding

    @property
    def has_loan(self) -> bool:
        return self.loan.is_for(self.epoch)

    @property
    def has_seen_it(self) -> bool:
        """Whether nothing is on its way: it has no loan, or knows of the one it has."""
        holding = self.holding
        knows = (holding.epoch, holding.number) == (self.loan.epoch, self.loan.number)
        return knows or not self.has_loan

    @property
    def lent(self) -> int:
        return self.loan.most if self.has_loan else 0

    @property
    def claim(self) -> int:
        """The most that it may have open."""
        held = self.holding.most if self.holding.epoch == self.epoch & _MASK else 0
        return max(self.lent, held, 0 if self.has_seen_it else self.loan.before)


def fair_shares(total: int, wanting: Sequence[tuple[int, int]]) -> dict[int, int]:
    """`total` in parts that differ by one at most, for (row, what it was lent): larger parts stay where they are."""
    if not wanting:
        return {}
    share, left = divmod(min(total, MOST_LENT * len(wanting)), len(wanting))
    order = sorted(wanting, key=lambda each: (-each[1], each[0]))
    return {row: share + (place < left) for place, (row, _) in enumerate(order)}


@dataclass
class Lender:
    """Lends the connections of one pool. Its memory spans one supervisor; what must outlive it is in the words."""

    total: int
    linger_ns: int  # a connection that was closed, or died with its process, is still the server's for a moment
    _free_from_ns: int | None = None
    is_unsettled: bool = True  # whether the next look, with nothing new, may lend something
    _claims: dict[tuple[int, int], int] = field(default_factory=dict)  # (row, epoch) -> its claim at the last look
    _aside: list[tuple[int, int]] = field(default_factory=list)  # (until when, how many) of claims that have ended

    def look(self, borrowers: Sequence[Borrower], now_ns: int) -> dict[int, int]:
        """The loans to be stored now: row -> word, of living processes alone. `borrowers`: everybody who lives."""
        claims = {(each.row, each.epoch): each.claim for each in borrowers}
        self._set_aside(claims, now_ns)
        free = self.total - sum(claims.values()) - sum(count for _, count in self._aside)
        if self._free_from_ns is None:
            self._free_from_ns = now_ns + self.linger_ns
        if now_ns < self._free_from_ns:
            free = 0  # who died or closed something before the first look is known to nobody
        loans = dict(_changes(borrowers, self._targets(borrowers), free))
        for each in borrowers:
            if each.row in loans:
                claims[each.row, each.epoch] = max(claims[each.row, each.epoch], loans[each.row].most)
        self._claims = claims
        self.is_unsettled = bool(loans or self._aside) or now_ns < self._free_from_ns
        return {row: loan.pack() for row, loan in loans.items()}

    def _targets(self, borrowers: Iterable[Borrower]) -> Mapping[int, int]:
        return fair_shares(self.total, [(each.row, each.lent) for each in borrowers if each.wants])

    def _set_aside(self, claims: Mapping[tuple[int, int], int], now_ns: int) -> None:
        """What is claimed no more since the last look, for a while; and no more what was for long enough."""
        self._aside = [(until_ns, count) for until_ns, count in self._aside if until_ns > now_ns]
        ended = sum(max(0, before - claims.get(who, 0)) for who, before in self._claims.items())
        if ended:
            self._aside.append((now_ns + self.linger_ns, ended))


def _changes(
    borrowers: Sequence[Borrower], targets: Mapping[int, int], free: int
) -> Iterable[tuple[int, Loan]]:
    """The next loan of each whose share is not what it is to be. Those who have least come first."""
    for each in sorted(borrowers, key=lambda each: (each.claim, each.row)):
        target = targets.get(each.row, 0)
        if target == each.lent or not each.has_seen_it:
            continue
        count = min(target, each.claim + max(0, free))  # up to its claim a loan takes nothing
        if count != each.lent:
            free -= max(0, count - each.claim)
            yield each.row, Loan(each.epoch & _MASK, each.loan.number % _MASK + 1, each.claim, count)
