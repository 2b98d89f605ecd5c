"""The data plane of one version, as the supervisor holds it: segment, bells, lanes, and the model's description."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.errors import ProtocolError
from engine.messages import sealed_memfd
from engine.shm.bell import Bell
from engine.shm.layout import Geometry
from engine.shm.segment import Segment
from engine.shm.steward import Steward
from engine.spec import ModelDescription
from engine.supervisor.lanes import LaneTable
from engine.supervisor.loop import Loop
from engine.supervisor.options import SupervisorOptions

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class PlaneHooks:
    """What a plane asks and tells its version."""

    is_dead_name: Callable[[int], bool]
    lane_free: Callable[[], None]


class Plane:
    """Owns every descriptor in it. The description is None in a plane adopted from a process that has none."""

    def __init__(
        self,
        loop: Loop,
        options: SupervisorOptions,
        hooks: PlaneHooks,
        *,
        segment: Segment,
        doorbell: Bell,
        description: ModelDescription,
    ) -> None:
        self.segment = segment
        self.doorbell = doorbell
        self.description = description
        self.description_fd = sealed_memfd("description", description.to_bytes())
        try:
            self.steward = Steward(segment)
        except OSError:
            os.close(self.description_fd)
            raise
        self.lanes = LaneTable(
            loop,
            steward=self.steward,
            lanes=segment.geometry.lanes,
            lock_path=options.runtime_dir / "lanes.lock",
            is_dead_name=hooks.is_dead_name,
            on_free=hooks.lane_free,
        )

    @classmethod
    def create(
        cls,
        loop: Loop,
        options: SupervisorOptions,
        hooks: PlaneHooks,
        description: ModelDescription,
        devices: Sequence[str],
    ) -> Plane:
        """A new segment that fits the model, for instances on `devices`.

        Raises OutOfMemory, InternalError, OSError; then nothing of it is left.
        """
        geometry = Geometry(
            lanes=options.lanes,
            slots=options.slots,
            payload_bytes=description.payload_bytes,
            reply_bytes=FLOAT32_BYTES * description.classes,
        )
        with contextlib.ExitStack() as undo:
            # An instance on CUDA page-locks the lanes, and what is locked must stay.
            segment = Segment.create(geometry, keeps_pages=any(device.startswith("cuda") for device in devices))
            undo.callback(segment.close)
            doorbell = Bell.create()
            undo.callback(doorbell.close)
            made = cls(loop, options, hooks, segment=segment, doorbell=doorbell, description=description)
            undo.pop_all()
            undo.callback(made.close)
            made.fill_bells()
            undo.pop_all()
        return made

    # --- for instances ----------------------------------------------------------------------------------------------

    def fits(self, description: ModelDescription) -> bool:
        """Whether an instance with this model may answer under our version: it is the very same model."""
        ours, theirs = self.description, description
        return (theirs.model_version, theirs.input_shape, theirs.labels) == (
            ours.model_version,
            ours.input_shape,
            ours.labels,
        )

    @property
    def complete(self) -> bool:
        """Whether every lane's bell is known, so that an instance can be attached."""
        return all(bell is not None for bell in self.lanes.bells)

    def attach_fds(self) -> list[int]:
        """Segment, doorbell, one reply bell a lane. Only while `complete`."""
        bells = [bell.fileno() for bell in self.lanes.bells if bell is not None]
        return [self.segment.fd, self.doorbell.fileno(), *bells]

    # --- for frontends ----------------------------------------------------------------------------------------------

    def lane_fds(self, lane: int) -> list[int]:
        """Segment, doorbell, the lane's reply bell, the description."""
        bell = self.lanes.bells[lane]
        if bell is None:
            raise ProtocolError(f"lane {lane} has no bell")
        return [self.segment.fd, self.doorbell.fileno(), bell.fileno(), self.description_fd]

    # --- bells ------------------------------------------------------------------------------------------------------

    def fill_bells(self, *, absent_too: bool = False) -> None:
        """New bells where none is known. Only while no instance lives that has the old ones.

        `absent_too`: also for lanes whose owner lives and has not come back to tell its bell. It may never, if it was
        not yet told of the lane; if it does, its replies wake it by its belt only.
        """
        for lane, bell in enumerate(self.lanes.bells):
            owner = self.lanes.owners.get(lane)
            if bell is None and (owner is None or (absent_too and not owner.connected)):
                self.lanes.bells[lane] = Bell.create()

    def offer_bells(self, fds: Sequence[int], first_lane: int = 0) -> None:
        """Bells that a peer has kept, of lanes from `first_lane` on. Owns `fds`; those already known are closed."""
        for lane, fd in enumerate(fds, first_lane):
            if lane < len(self.lanes.bells) and self.lanes.bells[lane] is None:
                self.lanes.bells[lane] = Bell(fd)
            else:
                os.close(fd)

    def close(self) -> None:
        """Lets go of everything; the pages go with the last process that maps them."""
        self.lanes.close()
        self.steward.close()
        self.doorbell.close()
        for bell in self.lanes.bells:
            if bell is not None:
                bell.close()
        os.close(self.description_fd)
        self.segment.close()
