"""What an error of the model says about the model's process: this item, too little memory, or a device that is lost.

After some CUDA errors every further call of the process fails with the same one: only another process can go on. For
these the texts below are looked for. An error that is none of them and yet breaks the process is found by the probe
that follows a batch without an answer (`engine.instance.batch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple, ParamSpec, TypeVar

import torch

from engine.errors import EngineError

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_TEXT = 400  # characters; what a reply area holds, and an operator reads
_DEEPEST_CHAIN = 8

_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "failed to allocate memory",
    "std::bad_alloc",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
# Of cudaError_t those that "leave the process in an inconsistent state", as torch and the driver word them.
_DEVICE_LOST = (
    "illegal memory access",
    "illegal instruction was encountered",
    "invalid address space",
    "invalid program counter",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "launch timed out",
    "hardware stack error",
    "uncorrectable ecc",
    "uncorrectable nvlink",
    "gpu is lost",
    "device is lost",
    "context is destroyed",
    "cudaerrorillegaladdress",
    "cudaerrorassert",
    "cudaerrorlaunchfailure",
    "cudaerroreccuncorrectable",
    "cublas_status_execution_failed",
    "cudnn_status_execution_failed",
)


class Fault(Enum):
    """Whose an error is."""

    ITEM = "item"  # as far as is known
    MEMORY = "memory"  # the batch did not fit
    DEVICE = "device"  # nothing will be computed in this process any more


class Failure(NamedTuple):
    """An error without its traceback, whose frames would keep the memory of the failed batch."""

    fault: Fault
    text: str


class Poisoned(EngineError):
    """The instance cannot compute any more."""

    code = "POISONED"


def result_of(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Failure:
    """What a call returns that runs the model's code, or what its error says."""
    try:
        return call(*args, **kwargs)
    except BaseException as error:  # somebody else's code: whatever it raises, sys.exit() too, belongs to its items
        return failure_of(error)


def failure_of(error: BaseException) -> Failure:
    """What an error that came out of a model says."""
    return Failure(_fault_of(error), f"{type(error).__name__}: {error}"[:LONGEST_TEXT])


def _fault_of(error: BaseException) -> Fault:
    chain = list(_chain(error))
    if any(_is_out_of_memory(each) for each in chain):
        return Fault.MEMORY
    return Fault.DEVICE if any(_is_device_lost(each) for each in chain) else Fault.ITEM


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: libraries wrap what torch raises."""
    for _ in range(_DEEPEST_CHAIN):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _says(error, _OUT_OF_MEMORY)


def _is_device_lost(error: BaseException) -> bool:
    # RuntimeError alone, of which torch.AcceleratorError is one: a ValueError with such words is somebody's own.
    return isinstance(error, RuntimeError) and _says(error, _DEVICE_LOST)


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    said = str(error).lower()
    return any(text in said for text in texts)
