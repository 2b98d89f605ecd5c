"""One model instance: `python -m engine.instance --runtime-dir DIR --key KEY`, started by the supervisor.

Connect, load, report, map the segment, warm up, wait for `take`, then work until told to leave. A failure before
`take` is reported, foreign code with its traceback, and ends the process with an exit code that says how far it came.
So does an instance that cannot compute any more: it answers nothing and leaves, and its work goes to the others.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import torch

from engine.control.link import ControlLink
from engine.core.batch_size import BatchSize
from engine.core.lifecycle import ExitCode
from engine.errors import EngineError, NotReady, PeerGone
from engine.instance.allocator import keep_freed_memory, large_blocks_apart
from engine.instance.control import Message, expect
from engine.instance.faults import Poisoned
from engine.instance.forming import FormOrder, TakenForm, take_form
from engine.instance.leisure import Leisure
from engine.instance.loading import load
from engine.instance.mapped_segment import MappedSegment
from engine.instance.notebook import Notebook
from engine.instance.runner import ModelRunner
from engine.instance.seat_count import SeatCount
from engine.instance.surroundings import Surroundings, give_way, leave
from engine.instance.warmup import WarmUp, warm_up
from engine.messages import sealed_memfd
from engine.models.foreign import describe
from engine.observe.log import set_up_logging
from engine.tuning.batch_notes import BatchNotes

_log = logging.getLogger("engine.instance")
_LONGEST_TRACEBACK = 16_000  # characters; the end of one tells most


class StartFailed(EngineError):
    """The instance could not start; the supervisor has been told why."""

    def __init__(self, stage: str, exit_code: int) -> None:
        super().__init__(f"start failed while in stage {stage}")
        self.exit_code = exit_code


def main(arguments: list[str]) -> int:
    """The exit code of the process (`engine.core.lifecycle.ExitCode`)."""
    parser = argparse.ArgumentParser(prog="engine.instance")
    parser.add_argument("--runtime-dir", required=True)
    parser.add_argument("--key", required=True)
    options = parser.parse_args(arguments)
    surroundings = Surroundings()
    surroundings.prepare()
    set_up_logging(is_shared=True)
    control = ControlLink(options.runtime_dir, role="instance", key=options.key)
    try:
        control.open()
        serve(control, surroundings)
    except StartFailed as failure:
        return failure.exit_code
    except (PeerGone, NotReady):  # the supervisor left before there was work
        return int(ExitCode.ORPHANED)
    finally:
        control.close()
    return int(ExitCode.CLEAN)


def serve(control: ControlLink, surroundings: Surroundings) -> None:
    """From `load` to the last batch."""
    order = expect(control, "load")
    fields = order.fields
    threads = int(fields["threads"])
    large_blocks_apart()
    with reported(control, "load"):
        torch.set_num_threads(threads)
        runner, taken = load_runner(order)
    surroundings.restore(threads=threads)
    report_loaded(control, runner)
    with contextlib.ExitStack() as stack:
        attach = expect(control, "attach")
        with reported(control, "warmup"):  # of another release than its supervisor, if somebody installed one meanwhile
            mapped = stack.enter_context(MappedSegment.open(attach))
        stack.callback(runner.close)
        with reported(control, "warmup"):
            if mapped.segment.keeps_pages:
                runner.use_mapping(mapped.segment.array)
            notebook = Notebook(notes_of(runner, fields))
            warmed = warm_up(runner, BatchSize(runner.max_batch, notebook.record), taken.met_ms)
        if taken.warning:
            warmed = dataclasses.replace(warmed, warnings=(taken.warning, *warmed.warnings))
        leisure = Leisure(runner, warmed, repeats=int(fields["warmup_requests"]), all_met=keep_freed_memory)
        surroundings.restore(threads=threads)
        seat = seated(control, mapped, runner, warmed)
        surroundings.settle()
        if runner.device.type == "cpu":
            give_way()
        try:
            aging_ms, longest_wait_ms = float(fields["aging_ms"]), float(fields["batch_timeout_ms"])
            mapped.run_loop(
                control, runner, seat, warmed, leisure, notebook, aging_ms=aging_ms, longest_wait_ms=longest_wait_ms
            )
        except Poisoned as error:
            leave_poisoned(control, error)
        with contextlib.suppress(PeerGone, NotReady):
            control.send({"type": "detached"})


def seated(control: ControlLink, mapped: MappedSegment, runner: ModelRunner, warmed: WarmUp) -> SeatCount:
    """Its seat, once the supervisor has said that it may take. Raises PeerGone, NotReady; then it has none."""
    seat = mapped.take_seat(control, runner)
    try:
        report_ready(control, runner, warmed)
        expect(control, "take")
    except (PeerGone, NotReady):
        seat.close()
        raise
    return seat


def leave_poisoned(control: ControlLink, error: Poisoned) -> NoReturn:
    """Ends the process as it stands: a device that is lost cannot be tidied up, and the sooner others take over."""
    try:
        control.send({"type": "poisoned", "error": str(error)})
    except (PeerGone, NotReady):  # there is no supervisor that would write it into the log
        _log.error("the instance leaves: %s", error)
    leave(int(ExitCode.POISONED))


def load_runner(order: Message) -> tuple[ModelRunner, TakenForm]:
    """The model on its device, as `load` asks, and what came of the form that it was to be in."""
    fields: dict[str, Any] = order.fields
    loaded = load(fields["spec"], order.fds)
    runner = ModelRunner(loaded, device=str(fields["device"]), max_batch=int(fields["max_batch_size"]))
    return runner, take_form(runner, loaded, FormOrder.of(fields))


def notes_of(runner: ModelRunner, fields: dict[str, Any]) -> BatchNotes | None:
    """Where what is learnt of batch sizes is kept, if the supervisor says in which folder."""
    if not fields.get("state_dir"):
        return None
    device = str(runner.device)
    if runner.device.type == "cuda":
        device += f" {torch.cuda.get_device_name(runner.device)}"
    model_version, threads = runner.description.model_version, int(fields["threads"])
    return BatchNotes(Path(fields["state_dir"]), model_version=model_version, device=device, threads=threads)


def report_loaded(control: ControlLink, runner: ModelRunner) -> None:
    memfd = sealed_memfd("description", runner.description.to_bytes())
    try:
        control.send({"type": "loaded"}, [memfd])
    finally:
        os.close(memfd)


def report_ready(control: ControlLink, runner: ModelRunner, warmed: WarmUp) -> None:
    control.send({
        "type": "ready",
        "warmup_ms": {str(size): round(ms, 3) for size, ms in warmed.bucket_ms.items()},
        "weights_bytes": runner.runtime.memory_bytes(),
    })


class reported:
    """Turns whatever goes wrong inside into a `failed` message that tells it, and raises StartFailed.

    A model may raise anything, sys.exit() too: it is a failed start. That the supervisor is gone passes as PeerGone.
    """

    def __init__(self, control: ControlLink, stage: str) -> None:
        self._control = control
        self._stage = stage

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, PeerGone):
            return
        self._control.send({"type": "failed", "stage": self._stage, "error": _told(error)})
        code = ExitCode.LOAD_FAILED if self._stage == "load" else ExitCode.WARMUP_FAILED
        raise StartFailed(self._stage, int(code)) from error


def _told(error: BaseException) -> str:
    """The traceback of foreign code, then in one last line what an owner needs; an error of ours is that line alone."""
    if isinstance(error, EngineError):
        cause = error.__cause__
        return str(error) if cause is None else f"{_traceback(cause)}\n{error}"
    return f"{_traceback(error)}\nthe model raised {describe(error)}"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]


def run(arguments: list[str]) -> NoReturn:
    """`main`, and the end of the process, which waits for no thread that a model has started."""
    code = 1  # of whatever else ends it: a bug of ours, which the supervisor learns of by this code
    try:
        code = main(arguments)
    except SystemExit as error:  # of argparse: the command line is not ours
        code = error.code if isinstance(error.code, int) else 1
    finally:
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        leave(code)


if __name__ == "__main__":
    run(sys.argv[1:])
