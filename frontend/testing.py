"""A stand-in for the engine, for the tests of an application that serves predictions: no model, no process, no torch.

    from frontend.testing import StandInEngine

    def test_an_owl_is_announced(app):
        with StandInEngine(labels=["owl", "fox"]) as engine:
            engine.answers([0.9, 0.1])
            app.test_client().post("/api/optimized/predict", data={"file": (wav, "night.wav")})
            assert engine.requests[0].deployment_id == "wildlife_detector_optimized"
            engine.fails(QueueFull(retry_after_s=2))       # any error of engine.errors, until it answers again

Everything before and after the model is the real thing: uploads, decoding, windows, refusals, the words of answers.
`StandInEngine` keeps the contract of the engine's client; the same tests are run over both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.client import EngineClient, Item, ModelDescription
from engine.clock import Deadline
from engine.errors import (
    BrokenError,
    ConfigError,
    DeadlineExceeded,
    EngineError,
    InvalidField,
    NonFiniteOutput,
    NotReady,
    UnknownDeployment,
)
from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.attach import in_place_of_engines

Window = NDArray[np.float32]  # [frames], as the model would get it: scaled, and filled up with zeros
Probabilities = Sequence[float] | NDArray[Any]  # one for each label
_INT16_SCALE = 32768


@dataclass(frozen=True, slots=True)
class StandInRequest:
    """What one request asked of the engine."""

    deployment_id: str
    request_id: str
    level: int  # -1 bulk, 0 normal, 1 interactive
    windows: tuple[Window, ...]


class StandInEngine:
    """A context manager: inside, it answers for every engine of this process. Any thread may ask it."""

    def __init__(
        self,
        *,
        labels: Sequence[str] = ("owl", "fox", "frog"),
        sample_rate_hz: int = 22050,
        segment_s: float = 8.0,
        deployments: Sequence[str] = (DEFAULT_DEPLOYMENT_ID,),
    ) -> None:
        """Serves `deployments`, all of one model. Answers at first: the first label, with certainty."""
        self.requests: list[StandInRequest] = []  # in order of arrival; those that failed too
        self.is_ready = True  # False: as while the engine starts
        self._deployments = tuple(deployments)
        self._description = ModelDescription(
            model_version="stand-in",
            input_shape=(round(segment_s * sample_rate_hz),),
            classes=len(labels),
            labels=tuple(labels),
            sample_rate_hz=sample_rate_hz,
            segment_s=segment_s,
            peak_normalise=True,
            device="cpu",
        )
        self._error: EngineError | None = None
        self._answer: Callable[[Window], Probabilities] = lambda _: [1.0] + [0.0] * (len(labels) - 1)
        self._context = contextlib.ExitStack()

    def __enter__(self) -> StandInEngine:
        # What frontends ask of a client is all here; they are told so where the type checker cannot see it.
        self._context.enter_context(in_place_of_engines(cast(EngineClient, self)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()

    # --- for tests --------------------------------------------------------------------------------------------------

    def answers(self, answer: Probabilities | Callable[[Window], Probabilities]) -> None:
        """From here on every window gets these probabilities, or those that the function gives for it.

        Raises ConfigError where they are not one for each label.
        """
        if callable(answer):
            self._answer = answer
        else:
            fixed = self._checked(answer)
            self._answer = lambda _: fixed
        self._error = None

    def fails(self, error: EngineError) -> None:
        """From here on every request fails with `error`, until `answers` is called."""
        self._error = error

    # --- what a frontend asks of its client -------------------------------------------------------------------------

    closed = False

    def submit(
        self,
        deployment_id: str,
        items: Sequence[Item],
        *,
        request_id: str,
        level: int = 0,
        deadline: Deadline,
        caller_hash: int = 0,
    ) -> AnsweredTicket:
        """As `EngineClient.submit`; what the model itself would fail with is raised by the ticket."""
        self.description(deployment_id)
        if not items:
            raise InvalidField("a request needs at least one item", field="items")
        windows = tuple(self._window(item) for item in items)
        if deadline.expired:
            raise DeadlineExceeded("the deadline passed before the request was complete")
        self.requests.append(StandInRequest(deployment_id, request_id, level, windows))
        error = self._error
        if error is None:
            for item, window in zip(items, windows, strict=True):
                self._compute(item, window, len(windows))
            return AnsweredTicket(items, None, deadline.at_ns)
        if isinstance(error, (BrokenError, DeadlineExceeded)):
            return AnsweredTicket(items, error, deadline.at_ns)
        raise error

    def description(self, deployment_id: str) -> ModelDescription:
        """The model that serves. Raises UnknownDeployment, NotReady."""
        if deployment_id not in self._deployments:
            raise UnknownDeployment(f"no deployment {deployment_id}")
        if not self.is_ready:
            raise NotReady()
        return self._description

    def deployments(self) -> list[str]:
        return list(self._deployments)

    def ready(self, deployment_id: str) -> bool:
        return self.is_ready and deployment_id in self._deployments

    def state(self, deployment_id: str) -> str:
        if deployment_id not in self._deployments:
            raise UnknownDeployment(f"no deployment {deployment_id}")
        return "ready" if self.is_ready else "starting"

    def attachment(self, deployment_id: str) -> None:
        """Nothing is counted, as by an engine that has just started."""

    def count(self, name: str, n: int = 1, *, deployment_id: str = DEFAULT_DEPLOYMENT_ID, keep: bool = True) -> bool:
        """Nothing is counted."""
        return True

    def count_cached(self, deployment_id: str, latency_ns: int) -> None:
        """Nothing is counted."""

    def use_event_loop(self, loop: object) -> None:
        """Nothing has to be driven."""

    def close(self) -> None:
        """Nothing is held."""

    def _window(self, item: Item) -> Window:
        """Raises InvalidField for what does not fit the model."""
        payload, frames = np.asarray(item.payload), self._description.input_shape[0]
        if payload.dtype not in (np.float32, np.int16) or payload.ndim != 1 or not 0 < len(payload) <= frames:
            raise InvalidField(f"an item must be float32 or int16 of at most {frames} frames", field="items")
        scale = item.gain / (_INT16_SCALE if payload.dtype == np.int16 else 1)
        window = np.zeros(frames, np.float32)
        window[: len(payload)] = payload * np.float32(scale)
        return window

    def _compute(self, item: Item, window: Window, batch_size: int) -> None:
        item.probabilities = self._checked(self._answer(window))
        item.batch_size = batch_size
        item.error = None if np.isfinite(item.probabilities).all() else NonFiniteOutput()

    def _checked(self, answer: Probabilities) -> NDArray[np.float32]:
        probabilities = np.asarray(answer, np.float32)
        if probabilities.shape != (self._description.classes,):
            labels = ", ".join(self._description.labels)
            raise ConfigError(f"an answer is one probability for each label ({labels}), not {answer!r}")
        return probabilities


class AnsweredTicket:
    """A `Ticket` that is done."""

    done = True
    model = None  # nothing is swapped
    is_of_two_models = False

    def __init__(self, items: Sequence[Item], error: EngineError | None, deadline_ns: int) -> None:
        self.items = items
        self.error = error
        self.deadline_ns = deadline_ns

    def wait(self) -> Sequence[Item]:
        """Raises the request's error, or else the first one of an item."""
        for error in (self.error, *(item.error for item in self.items)):
            if error is not None:
                raise error
        return self.items

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls back at once."""
        callback(self)

    def cancel(self) -> None:
        """Too late: no effect."""
