"""What every part of one supervisor shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.control.process_holds import ProcessHolds
from engine.launch.identity import Identity
from engine.spec import ModelDescription
from engine.supervisor.frontend import Frontend, Frontends
from engine.supervisor.loop import Loop
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.peer import Peer
from engine.supervisor.plan import Plan
from engine.supervisor.totals import Totals


@dataclass(frozen=True)
class Context:
    """Given to whoever is made later than the supervisor itself."""

    loop: Loop
    options: SupervisorOptions
    frontends: Frontends
    keys: dict[str, Callable[[Peer], None]]  # key of an instance that was started -> whom its hello is for
    record_json: Callable[[Plan, ModelDescription], dict[str, Any]]  # what an instance keeps of its version
    persist: Callable[[], None]  # writes what there is; later, if it cannot be written now
    when_written: Callable[[Callable[[], object]], object]  # calls it once that is on disk, where it can be
    commit: Callable[[], None]  # writes what an order asks for, before it is begun; raises StateNotWritten
    keep_factory: Callable[[Plan], None]  # the pickled factory of a plan that is desired will be asked for
    open_factory: Callable[[Path], int]  # a descriptor of a pickled factory; raises OSError
    forget_factory: Callable[[Path], None]
    drop_if_unused: Callable[[Frontend], None]  # one that is not connected, once it may have no lane any more
    everybody_back: Callable[[], bool]  # whether nobody of a predecessor's time is waited for
    news: Callable[[], None]  # something changed that somebody may wait for
    rebalance: Callable[[], None]  # gives every pool its size; after every change of who runs or wants to
    process_holds: ProcessHolds  # what there is apart from versions
    totals: Totals  # what is gone has counted

    def stand_in(self, identity: Identity) -> Frontend | None:
        """Somebody to own the lane of a process that has not come back yet; None if it is dead."""
        pidfd = identity.open_pidfd()
        if pidfd is None:
            return None
        return self.frontends.add(Frontend(identity=identity, pidfd=pidfd, peer=None))
