"""All deployments of one supervisor, by id."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from engine.errors import UnknownDeployment
from engine.supervisor.context import Context
from engine.supervisor.deployment import Deployment
from engine.supervisor.drainage import Drainage
from engine.supervisor.version import Version


class Deployments:
    """Changes through `of`, and when a deployment says that nothing is left of it."""

    def __init__(self, context: Context, on_gone: Callable[[], None]) -> None:
        """`on_gone` is called after each that went."""
        self._context = context
        self._on_gone = on_gone
        self._all: dict[str, Deployment] = {}
        self.drainage = Drainage(context)

    def __iter__(self) -> Iterator[Deployment]:
        """Those there are at this moment, the first made first."""
        return iter(list(self._all.values()))

    def of(self, deployment_id: str) -> Deployment:
        """The deployment of that id, made if need be."""
        if deployment_id not in self._all:
            self._all[deployment_id] = Deployment(self._context, deployment_id, self._gone)
        return self._all[deployment_id]

    def find(self, deployment_id: str) -> Deployment:
        """The deployment of that id. Raises UnknownDeployment, which names those there are."""
        if deployment_id not in self._all:
            there_are = ", ".join(sorted(self._all)) or "none"
            raise UnknownDeployment(f"no deployment {deployment_id!r}; there are: {there_are}")
        return self._all[deployment_id]

    def version(self, deployment_id: str, number: int) -> Version | None:
        """That version, if there is one."""
        deployment = self._all.get(deployment_id)
        return deployment.versions.numbered(number) if deployment is not None else None

    def versions(self) -> list[Version]:
        """Every version of every deployment."""
        return [version for each in self for version in each.versions]

    @property
    def drained(self) -> list[str]:
        """Ids of those that shall take nothing new."""
        return [each.id for each in self if each.versions.drained]

    def tell_versions(self, act: Callable[[Version], None]) -> None:
        """Calls `act` for every version; what fails for one is repeated for that one, and hinders no other."""
        for version in self.versions():
            self._context.loop.attempt(functools.partial(act, version))

    def _gone(self, deployment: Deployment) -> None:
        if self._all.get(deployment.id) is deployment:
            del self._all[deployment.id]
        self._context.persist()
        self._on_gone()
