"""One step of the trials: `python -m engine.trials.stage PARENT REQUEST_FD REPORT_FD [FACTORY_FD]`.

Like an instance it loads the model, which is somebody else's code, and may crash, hang or be killed at any moment: it
says what it found in one line at its end, and its parent takes everything else for a failure.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from engine.errors import ConfigError, EngineError
from engine.instance.faults import Fault, failure_of
from engine.instance.loading import load
from engine.instance.surroundings import Surroundings, leave
from engine.models.catalogue import LoadedModel
from engine.models.foreign import describe
from engine.trials import exporting, measuring, reference
from engine.trials.priority import die_with_parent, limit_memory, step_back
from engine.trials.stage_request import StageKind, StageReport, StageRequest

Step = Callable[[LoadedModel, StageRequest], dict[str, Any]]


def _step(kind: StageKind) -> Step:
    if kind is StageKind.QUANTISE:
        # Imported here: onnx and its company are half a second and 60 MB, for one stage of many.
        from engine.trials.quantising import quantise

        return quantise
    return {
        StageKind.REFERENCE: reference.make_reference,
        StageKind.EXPORT: exporting.export,
        StageKind.MEASURE: measuring.measure,
    }[kind]


def run(arguments: list[str]) -> NoReturn:
    """The stage, and the end of the process, which waits for no thread that a model has started."""
    parent, request_fd, report_fd, *factory_fds = map(int, arguments)
    die_with_parent(parent)
    for fd in (request_fd, report_fd, *factory_fds):  # not for what a model starts
        os.set_inheritable(fd, False)
    with open(request_fd, "rb") as file:
        file.seek(0)  # whoever has written it shares the place with us
        request = StageRequest.from_bytes(file.read())
    step_back(request.share)
    if request.order.device == "cpu":  # what the driver of CUDA maps and never touches would count
        limit_memory(request.order.terms.trial_memory_mb)
    report = reported(request, factory_fds)
    with open(report_fd, "wb") as file:
        file.write(report.to_bytes())
    leave(0)


def reported(request: StageRequest, factory_fds: list[int]) -> StageReport:
    """What the step found; whatever it raises becomes one line."""
    try:
        return StageReport(values=_done(request, factory_fds))
    except BaseException as error:  # of models and of libraries, which may raise anything, sys.exit() too
        return StageReport(failed=_told(error, request))


def _done(request: StageRequest, factory_fds: list[int]) -> dict[str, Any]:
    surroundings = Surroundings()
    surroundings.prepare()
    _be_quiet()
    threads = request.order.threads
    torch.set_num_threads(threads)
    loaded = load(request.order.spec, factory_fds)
    surroundings.restore(threads=threads)
    found = loaded.description.model_version
    if found != request.order.model_version:
        raise ConfigError(f"the model is another one by now: {found}, not {request.order.model_version}")
    return _step(request.kind)(loaded, request)


def _be_quiet() -> None:
    """What exporters and compilers remark on a model is nothing that its owner could act on."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def _told(error: BaseException, request: StageRequest) -> str:
    if failure_of(error).fault is Fault.MEMORY:
        return f"it ran out of memory (trial_memory_mb={request.order.terms.trial_memory_mb})"
    if isinstance(error, EngineError):
        return str(error).splitlines()[0]
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename).name if error.filename else 'a file'}: {error.strerror}"
    return describe(error)


if __name__ == "__main__":
    run(sys.argv[1:])
