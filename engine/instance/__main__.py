"""One model instance: `python -m engine.instance --runtime-dir DIR --key KEY`, started by the supervisor.

Connect, load, report, map the segment, warm up, wait for `take`, then work until told to leave. A failure before
`take` is reported, foreign code with its traceback, and ends the process with an exit code that says how far it came.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import torch

from engine.core.lifecycle import ExitCode
from engine.errors import EngineError, NotReady, PeerGone
from engine.instance.allocator import keep_freed_memory
from engine.instance.attachment import Attachment
from engine.instance.control import ControlChannel, Message
from engine.instance.loading import load
from engine.instance.runner import ModelRunner
from engine.instance.warmup import warm_up
from engine.messages import sealed_memfd

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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    control = ControlChannel(options.runtime_dir, options.key)
    try:
        control.open()
        serve(control)
    except StartFailed as failure:
        return failure.exit_code
    except (PeerGone, NotReady):  # the supervisor left before there was work
        return int(ExitCode.ORPHANED)
    finally:
        control.drop()
    return int(ExitCode.CLEAN)


def serve(control: ControlChannel) -> None:
    """From `load` to the last batch."""
    order = control.expect("load")
    fields = order.fields
    with reported(control, "load"):
        runner = load_runner(order)
    report_loaded(control, runner)
    with contextlib.ExitStack() as stack:
        attachment = stack.enter_context(Attachment.open(control.expect("attach")))
        stack.callback(runner.close)
        with reported(control, "warmup"):
            runner.use_mapping(attachment.segment.array)
            warmup_ms = warm_up(runner, repeats=int(fields["warmup_requests"]))
        control.send("ready", warmup_ms={str(size): round(ms, 3) for size, ms in warmup_ms.items()})
        control.expect("take")
        attachment.run_loop(control, runner, aging_ms=float(fields.get("aging_ms", 1000.0)))
        with contextlib.suppress(PeerGone):
            control.send("detached")


def load_runner(order: Message) -> ModelRunner:
    """The model on its device, as `load` asks."""
    fields: dict[str, Any] = order.fields
    torch.set_num_threads(int(fields["threads"]))
    loaded = load(fields["spec"], order.fds)
    return ModelRunner(loaded, device=str(fields["device"]), max_batch=int(fields["max_batch_size"]))


def report_loaded(control: ControlChannel, runner: ModelRunner) -> None:
    memfd = sealed_memfd("description", runner.description.to_bytes())
    try:
        control.send("loaded", [memfd])
    finally:
        os.close(memfd)


@contextlib.contextmanager
def reported(control: ControlChannel, stage: str) -> Iterator[None]:
    """Turns whatever goes wrong inside into a `failed` message that tells it. Raises StartFailed."""
    try:
        yield
    except PeerGone:
        raise
    except Exception as error:  # loading runs somebody else's code: any error is a failed start, told in full
        control.send("failed", stage=stage, error=_told(error))
        code = ExitCode.LOAD_FAILED if stage == "load" else ExitCode.WARMUP_FAILED
        raise StartFailed(stage, int(code)) from error


def _told(error: Exception) -> str:
    """The traceback of foreign code; an error of ours says what to change, and where it was raised helps nobody."""
    if not isinstance(error, EngineError):
        return "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]
    cause = error.__cause__
    if cause is None:
        return str(error)
    return f"{error}\n\n{''.join(traceback.format_exception(cause))[-_LONGEST_TRACEBACK:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
