"""When the original API is asked in the engine's place: whose error it is decides, and nothing else."""

from __future__ import annotations

from engine.errors import BrokenError, ModelCrashed, ModelFailed, NonFiniteOutput, NotReady

# Broken is the model's work on this one input: the engine serves, and the input would break another as well.
_OF_THE_INPUT = (ModelFailed, NonFiniteOutput, ModelCrashed)


def falls_back(error: BaseException) -> bool:
    """Whether the engine does not serve: not ready, failed, closing or broken.

    Not for what the caller did wrong, for overload and deadlines, for an input that the model cannot bear, nor for a
    bug of ours, which is to be seen.
    """
    return isinstance(error, (NotReady, BrokenError)) and not isinstance(error, _OF_THE_INPUT)
