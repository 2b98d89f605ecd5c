"""What an instance holds of its deployment: the mapped segment, the lease, the bells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from engine.control.link import ControlLink, Hold
from engine.instance.control import Message
from engine.instance.demand import Demand
from engine.instance.leisure import Leisure
from engine.instance.loop import InstanceLoop
from engine.instance.notebook import Notebook
from engine.instance.processor import BatchProcessor
from engine.instance.runner import ModelRunner
from engine.instance.seat_count import SeatCount
from engine.instance.warmup import WarmUp
from engine.shm.bell import Bell
from engine.shm.board import InstanceBoard
from engine.shm.lease import Lease
from engine.shm.segment import Segment
from engine.shm.taker import Taker


@dataclass(frozen=True)
class MappedSegment:
    """One mapped segment with everything needed to take work from it."""

    name: int
    segment: Segment
    lease: Lease
    doorbell: Bell
    reply_bells: tuple[Bell, ...]
    hold: Hold  # what a successor of the supervisor is offered

    @classmethod
    @contextlib.contextmanager
    def open(cls, message: Message) -> Iterator[MappedSegment]:
        """Maps what an `attach` message brought; unmaps and closes it at the end."""
        fields = message.fields
        segment = Segment.attach(message.fds[0])
        lease = Lease(segment.fd)
        bells = [Bell(fd) for fd in message.fds[1:]]
        name = int(fields["name"])
        label = {"deployment": str(fields["deployment"]), "version": int(fields["version"]), "name": name}
        # The record of its deployment is for a successor that has lost its state file.
        hold: Hold = ({**label, "record": fields.get("record")}, tuple(message.fds))
        try:
            yield cls(name, segment, lease, bells[0], tuple(bells[1:]), hold)
        finally:
            for bell in bells:
                bell.close()
            lease.close()
            segment.close()

    def take_seat(self, control: ControlLink, runner: ModelRunner) -> SeatCount:
        """Where it counts, as far as that is known; to be closed."""
        board = InstanceBoard(self.segment, self.name)
        seat = SeatCount(str(self.hold[0]["deployment"]), board.seat, board.device, runner.place.memory_bytes)
        seat.meet(control.process)
        return seat

    def run_loop(
        self,
        control: ControlLink,
        runner: ModelRunner,
        seat: SeatCount,
        warmed: WarmUp,
        leisure: Leisure,
        notebook: Notebook,
        *,
        aging_ms: float,
        longest_wait_ms: float,
    ) -> None:
        """Works until told to leave. Raises Poisoned, after which nothing may be stored in the segment."""
        control.holds = lambda: (self.hold,)
        taker = Taker(self.segment, self.name, self.lease, self.doorbell, self.reply_bells)
        InstanceLoop(
            taker=taker,
            processor=BatchProcessor(taker, runner, warmed),
            board=InstanceBoard(self.segment, self.name),
            seat=seat,
            doorbell=self.doorbell,
            control=control,
            leisure=leisure,
            notebook=notebook,
            aging_ms=aging_ms,
            longest_wait_ms=longest_wait_ms,
            warnings=warmed.warnings,
            demand=Demand(self.segment),
        ).run()
