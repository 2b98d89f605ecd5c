"""An instance without a model: speaks the whole protocol, and behaves as its spec's `location` says.

`echo` answers [version, pid, first number of the payload, batch size]. `fail_load`, `fail_warmup` report and end, as
does `fail_warmup_of_W` with the weights W; `die_load`, `die_warmup` end in silence; `unlike` describes another model
each time; `slow` takes 20 ms a batch, `stuck` a second. `huge` describes a model whose segment no machine can hold.
`once:PATH:X` behaves as X until the file PATH exists, which it makes, and as `echo` from then on; `while:PATH:X` as X
while PATH exists; `reads:PATH:X` as X, with the text in PATH for its weights.

`only_as` can compute in the form alone that PATH names (with `reads`), else as it came; `die_unless_eager` dies while
it loads unless it is told to compute as it came.

Of whatever other behaviour, it says that it serves the form that it is told, else the one that trials have found;
`eager` warns that it cannot.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.clock import now_ns
from engine.control.link import ControlLink
from engine.core.batching import BatchPolicy
from engine.core.lifecycle import ExitCode
from engine.errors import NotReady, PeerGone
from engine.instance.control import expect
from engine.instance.seat_count import SeatCount
from engine.messages import sealed_memfd
from engine.shm.batch import Batch, BatchReply
from engine.shm.bell import Bell
from engine.shm.board import InstanceBoard
from engine.shm.lease import Lease
from engine.shm.ready import ReadySlots
from engine.shm.records import Outcome
from engine.shm.segment import Segment
from engine.shm.taker import Taker
from engine.spec import ModelDescription

INPUT = 8
CLASSES = 4
BELT_S = 0.1
DEADLY = -666.0  # as the first number of a payload: the instance kills itself while it computes this item
RETURN_WITHIN_S = 30.0


class Instance:
    """One test instance, from hello to its end."""

    def __init__(self, runtime_dir: str, key: str) -> None:
        self.link = ControlLink(runtime_dir, role="instance", key=key)
        self.link.holds = lambda: [(self.hold, self.fds)] if self.hold else []
        self.behaviour = "echo"
        self.weights = ""
        self.form, self.tuning_key = "eager", ""
        self.fds: list[int] = []
        self.hold: dict[str, object] = {}
        self.lost_at_s = 0.0
        self.leaves = False
        self.seat: SeatCount | None = None

    def run(self) -> int:
        """The exit code."""
        self.link.open()
        load = expect(self.link, "load")
        self.behaviour = _behaviour(load.fields, load.fds)
        self.weights = _weights(load.fields)
        self.form, self.tuning_key = ("eager", "") if self.behaviour == "eager" else _form(load.fields, self.weights)
        if self.behaviour == "only_as":
            self.form, self.weights = _only_form(load.fields, self.weights), ""
        if self.behaviour == "die_unless_eager" and load.fields["form"] != "eager":
            os.kill(os.getpid(), signal.SIGKILL)
        if not self._passes("load"):
            return ExitCode.LOAD_FAILED
        self._report_loaded()
        attach = expect(self.link, "attach")
        self.fds = attach.fds
        self.hold = {name: attach.fields[name] for name in ("deployment", "version", "name", "record")}
        if not self._passes("warmup"):
            return ExitCode.WARMUP_FAILED
        if self.behaviour == "eager":
            self.link.send({"type": "report", "max_batch": 4, "warnings": ["no such runtime here"]})
        self.link.send({"type": "ready", "warmup_ms": {"1": 0.5}, "weights_bytes": 8})
        expect(self.link, "take")
        return self._serve()

    def _passes(self, stage: str) -> bool:
        if self.behaviour == f"die_{stage}":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == f"hang_{stage}":
            signal.pause()
        if self.behaviour in (f"fail_{stage}", f"fail_{stage}_of_{self.weights}"):
            self.link.send({"type": "failed", "stage": stage, "error": f"Traceback: no luck in {stage}"})
            return False
        return True

    def _report_loaded(self) -> None:
        description = ModelDescription(
            model_version=(self.weights or "weights") + ("" if self.form == "eager" else f"+{self.form}"),
            input_shape=(self._input_frames(),),
            classes=CLASSES,
            labels=tuple("abcd"),
            sample_rate_hz=8,
            segment_s=1.0,
            peak_normalise=False,
            device="cpu",
            form=self.form,
            tuning_key=self.tuning_key,
        )
        memfd = sealed_memfd("description", description.to_bytes())
        self.link.send({"type": "loaded"}, [memfd])
        os.close(memfd)

    def _input_frames(self) -> int:
        return {"unlike": INPUT + os.getpid(), "huge": 1 << 40}.get(self.behaviour, INPUT)

    def _serve(self) -> int:
        segment = Segment.attach(self.fds[0])
        doorbell = Bell(self.fds[1])
        name = int(str(self.hold["name"]))
        taker = Taker(segment, name, Lease(segment.fd), doorbell, [Bell(fd) for fd in self.fds[2:]])
        board = InstanceBoard(segment, name)
        seat = self.seat = SeatCount(str(self.hold["deployment"]), board.seat, board.device, lambda: None)
        seat.meet(self.link.process)
        seat.work()
        while True:
            taken = taker.take(_choose)
            if taken:
                began_ns = now_ns()
                self._answer(taker, taken)
                seat.row.add_batch(computed=len(taken), failed=0, busy_ns=now_ns() - began_ns)
            readable = select.select([doorbell.fileno(), *self._control()], [], [], 0 if taken else BELT_S)[0]
            if doorbell.fileno() in readable:
                doorbell.drain()
            if not self._heed():
                seat.close()
                return ExitCode.CLEAN

    def _answer(self, taker: Taker, taken: Batch) -> None:
        taker.start(taken)
        time.sleep({"slow": 0.02, "stuck": 1.0}.get(self.behaviour, 0.0))
        firsts = [float(samples.view(np.float32)[0]) for samples in taken.payloads().samples]
        if DEADLY in firsts:
            os.kill(os.getpid(), signal.SIGKILL)
        rows = [[int(str(self.hold["version"])), os.getpid(), first, len(taken)] for first in firsts]
        taker.reply([BatchReply(taken, Outcome.OK, np.array(rows, np.float32), "", len(taken))])

    def _control(self) -> list[int]:
        return [self.link.fileno()] if self.link.is_open else []

    def _heed(self) -> bool:
        """Whether to go on; comes back to the next supervisor when one is lost."""
        if not self.link.is_open:
            return self.link.try_open() or time.monotonic() - self.lost_at_s < RETURN_WITHIN_S
        try:
            self.link.receive_all(self._hear)
            assert self.seat is not None
            self.seat.meet(self.link.process)
        except PeerGone:
            self.link.drop()
            self.lost_at_s = time.monotonic()
        return not self.leaves

    def _hear(self, message: dict[str, object], fds: list[int]) -> None:
        self.leaves = self.leaves or message["type"] == "detach"


def _choose(ready: ReadySlots) -> list[int]:
    return ready.choose(BatchPolicy(4, 10**12), now_ns())


def _behaviour(load: dict[str, object], fds: list[int]) -> str:
    spec = load["spec"]
    assert isinstance(spec, dict)
    if spec["source"] == "pickle":
        return os.pread(fds[0], 1000, 0).decode()
    assert not fds
    location = str(spec["location"]).removeprefix("behaviour:") or "echo"
    if ":" not in location:
        return location
    when, path, behaviour = location.split(":")
    if when == "reads":
        return behaviour
    if when == "while":
        return behaviour if Path(path).exists() else "echo"
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return "echo"
    return behaviour


def _weights(load: dict[str, object]) -> str:
    spec = load["spec"]
    assert isinstance(spec, dict)
    when, _, rest = str(spec["location"]).partition(":")
    return Path(rest.partition(":")[0]).read_text() if when == "reads" else ""


def _form(load: dict[str, Any], weights: str) -> tuple[str, str]:
    """The form that is told or was found, and the name of the result that has it."""
    if load["form"] == "eager" or load["tuning"] is None:
        return "eager", ""
    from engine.tuning.folder import read  # a quarter of the time of a start, and most do without
    from engine.tuning.key import TuningKey
    from engine.tuning.terms import TuningTerms

    terms = TuningTerms.from_json(load["tuning"])
    sizes = {"threads": load["threads"], "max_batch_size": load["max_batch_size"]}
    key = TuningKey.here(terms, model_version=weights or "weights", device="cpu", **sizes)
    name = str(load["tuning_key"] or key.name)
    found = read(terms.folder / name)
    return ("eager", "") if found is None else (str(load["form"] or found.winner), name)


def _only_form(load: dict[str, Any], possible: str) -> str:
    return possible if load["form"] in (None, possible) else "eager"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime-dir", required=True)
    parser.add_argument("--key", required=True)
    given = parser.parse_args()
    try:
        return Instance(given.runtime_dir, given.key).run()
    except (NotReady, PeerGone):
        return ExitCode.ORPHANED


if __name__ == "__main__":
    sys.exit(main())
