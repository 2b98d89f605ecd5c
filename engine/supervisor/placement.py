"""Applies `engine.core.placement` to everything that runs, whenever something of it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from engine.core.placement import Party, room_of, sizes_of
from engine.supervisor.deployment import Deployment
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.succession import Succession
from engine.supervisor.version import Version

_MOST_ROUNDS = 8  # a pool that is resized may have news at once; what is left then comes with the next change


class Placement:
    """Sizes of all pools."""

    def __init__(self, options: SupervisorOptions, deployments: Callable[[], Iterable[Deployment]]) -> None:
        self._options = options
        self._deployments = deployments
        self._applying = False
        self._again = False

    def apply(self) -> None:
        """Resizes the pools that shall have another size. May be called from within itself."""
        self._again = True
        if self._applying:
            return
        self._applying = True
        try:
            for _ in range(_MOST_ROUNDS):
                if not self._again:
                    return
                self._again = False
                self._apply_once()
        finally:
            self._applying = False

    def _apply_once(self) -> None:
        deployments = list(self._deployments())
        placed = [pair for deployment in deployments for pair in _parties(deployment.versions)]
        options = self._options
        sizes = sizes_of(
            [party for _, party in placed],
            room=room_of(cores=options.cores.count, threads=options.threads),
            occupied=sum(_leaving(deployment.versions) for deployment in deployments),
        )
        names = ", ".join(sorted(each.id for each in deployments if next(_parties(each.versions), None) is not None))
        for (version, party), size in zip(placed, sizes):
            if version is None:
                continue
            version.pool.short = "" if size >= party.wished else self._short(party, size, names)
            if len(version.pool.seats) != size or version.pool.seats.vacant():
                version.pool.resize(size, party.devices)

    def _short(self, party: Party, size: int, names: str) -> str:
        cores, threads = self._options.cores, self._options.threads
        return f"{party.wished} wished, {size} of them run: {cores}, {threads} for each, are shared by {names}"


def _parties(versions: Succession) -> Iterator[tuple[Version | None, Party]]:
    """Versions that have instances or want some; None for one that a predecessor had and that is not offered yet."""
    awaited = versions.awaited.serving if versions.awaited is not None else None
    if awaited is not None:
        yield None, Party(awaited.options.pool_size, awaited.options.devices)
    for version in (versions.serving, versions.starting):
        if version is not None:
            waits = version is versions.starting and (versions.serving is not None or awaited is not None)
            options = version.plan.options
            yield version, Party(options.pool_size, options.devices, waits)


def _leaving(versions: Succession) -> int:
    """Instances on cpu that are on their way out: of versions that close, and surplus ones."""
    kept = {version for version, _ in _parties(versions)}
    return sum(
        instance.device == "cpu"
        for version in versions
        for instance in (version.pool.leaving() if version in kept else version.pool.instances())
    )
