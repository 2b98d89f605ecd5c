"""Counters over versions: whoever looks, sees figures that never fall, and none that nobody counted."""

from __future__ import annotations

import random

import pytest

from engine.core.carrying import Part, after_leaving, gone_before, to_carry, total

SIZE = 3


class Version:
    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.carried = [0] * SIZE
        self.own = [0] * SIZE

    @property
    def part(self) -> Part:
        return Part(tuple(self.carried), tuple(self.own))


class Observer:
    """A process that has some versions mapped, the oldest first."""

    def __init__(self, mapped: list[Version]) -> None:
        self.mapped = mapped
        self.known = [0] * SIZE
        self.seen = [0] * SIZE

    def look(self) -> list[int]:
        figures = total([version.part for version in self.mapped], self.known)
        assert all(now >= before for now, before in zip(figures, self.seen)), (figures, self.seen)
        self.seen = figures
        return figures

    def let_go(self, version: Version) -> None:
        parts = [each.part for each in self.mapped]
        self.known = after_leaving(parts, self.mapped.index(version), self.known)
        self.mapped.remove(version)


class Supervisor(Observer):
    """The one that carries."""

    youngest_gone = -1

    def carry(self) -> None:
        for version, figures in zip(self.mapped, to_carry([each.part for each in self.mapped], self.known)):
            if version.number > self.youngest_gone:
                version.carried = [max(old, new) for old, new in zip(version.carried, figures)]

    def let_go(self, version: Version) -> None:
        super().let_go(version)
        self.youngest_gone = max(self.youngest_gone, version.number)


@pytest.mark.parametrize("round_number", range(30))
def test_figures_never_fall_whatever_is_swapped_or_forgotten(round_number: int) -> None:
    """Versions come, count and go in any order; frontends map and let go as they like; supervisors succeed."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    truth = [0] * SIZE
    supervisor, frontends = Supervisor([Version()]), [Observer([])]
    frontends[0].mapped = list(supervisor.mapped)

    def count() -> None:
        version, figure = rng.choice(supervisor.mapped), rng.randrange(SIZE)
        version.own[figure] += (n := rng.randrange(5))
        truth[figure] += n

    def swap() -> None:
        new = Version(supervisor.mapped[-1].number + 1)
        supervisor.mapped.append(new)
        supervisor.carry()
        for frontend in frontends:
            frontend.mapped.append(new)

    def frontend_comes() -> None:
        frontends.append(Observer([supervisor.mapped[-1]]))

    def frontend_lets_go() -> None:
        frontend = rng.choice(frontends)
        if len(frontend.mapped) > 1:
            frontend.let_go(rng.choice(frontend.mapped[:-1]))

    def version_goes() -> None:
        if len(supervisor.mapped) > 1:
            version = rng.choice(supervisor.mapped[:-1])
            for frontend in frontends:
                if version in frontend.mapped and rng.random() < 0.7:  # the others have not heard of it yet
                    frontend.let_go(version)
            supervisor.let_go(version)
            supervisor.carry()

    for _ in range(300):
        rng.choice([count, count, count, swap, frontend_comes, frontend_lets_go, version_goes, supervisor.carry])()
        assert supervisor.look() == truth
        for frontend in frontends:
            assert all(shown <= true for shown, true in zip(frontend.look(), truth))


def test_a_successor_finds_what_its_predecessor_carried() -> None:
    """Before and after the older version is offered to it, which counts nothing twice."""
    old, new = Version(1), Version(2)
    first = Supervisor([old, new])
    old.own = [5, 0, 2]
    first.carry()
    new.own, old.own = [1, 1, 1], [7, 0, 2]
    successor = Supervisor([new])
    assert successor.look() == [6, 1, 3]  # it has not seen the old one yet, and goes by what was carried
    successor.mapped.insert(0, old)
    assert successor.look() == [8, 1, 3]
    successor.let_go(old)
    successor.carry()
    assert new.carried == [7, 0, 2]


def test_a_version_in_between_that_went_first_is_not_lost() -> None:
    one, two, three = Version(1), Version(2), Version(3)
    supervisor = Supervisor([one, two, three])
    one.own, two.own, three.own = [1, 0, 0], [0, 2, 0], [0, 0, 3]
    supervisor.let_go(two)
    supervisor.carry()
    assert three.carried == [1, 2, 0]
    assert gone_before([one.part, three.part], [0] * SIZE) == [0, 2, 0]  # as a successor sees it
