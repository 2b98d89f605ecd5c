"""The form in which an instance computes its model: what trials have found for it, or the model as it came.

Whatever stands against a form (nothing found, a file that is missing or damaged, a runtime that is not installed,
answers that are not those of the model as it came), the model is served as it came, in the same start, with a warning
that says why.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.clock import NS_PER_MS, now_ns
from engine.core.batching import buckets
from engine.core.gate import FP32_MOST
from engine.errors import EngineError, FormUnavailable
from engine.forms import EAGER, ModelForm, Precision
from engine.instance.faults import Failure, Fault, result_of
from engine.instance.runner import ModelRunner
from engine.instance.warmup import made_up_sound, same
from engine.models.catalogue import LoadedModel
from engine.models.foreign import blaming
from engine.runtimes.contract import Runtime
from engine.runtimes.make import make_runtime
from engine.shm.batch import Payloads
from engine.tuning.folder import read_checked, touch
from engine.tuning.key import TuningKey
from engine.tuning.terms import TuningTerms

Answers = npt.NDArray[np.float32]  # probabilities [items, classes]

# How far a probability may be off in less than fp32. What is damaged is off by more; the rest the gate has judged, on
# sounds that mean something.
DAMAGED = 0.25

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FormOrder:
    """What a `load` order says of forms."""

    terms: TuningTerms | None  # None: tuning is off
    told: str | None  # form in which others of the version compute; None: nobody does yet
    threads: int
    tuning_key: str = ""  # name of the result that they have it from

    @classmethod
    def of(cls, fields: dict[str, Any]) -> FormOrder:
        """Raises ProtocolError."""
        terms = fields.get("tuning")
        return cls(None if terms is None else TuningTerms.from_json(terms), fields.get("form"), int(fields["threads"]),
                   str(fields.get("tuning_key", "")))


@dataclass(frozen=True, slots=True)
class TakenForm:
    """What came of it."""

    warning: str = ""  # why the model is not served in the form that was to be
    met_ms: Mapping[int, float] = field(default_factory=dict)  # batch sizes that were run and found right


def take_form(runner: ModelRunner, loaded: LoadedModel, order: FormOrder) -> TakenForm:
    """Has `runner` compute in the form that is to be, or says why it does not.

    With another form than the eager one the loaded model can be run no more.
    """
    try:
        form, folder = _wanted(runner, order)
        if form == EAGER:
            return TakenForm()
        with blaming(lambda what: f"it cannot be made ({what})", FormUnavailable, passing=FormUnavailable):
            runtime = make_runtime(form, loaded, folder, threads=order.threads, device=str(runner.device))
    except (EngineError, OSError) as error:
        return _eager_after_all(f"as {order.told}" if order.told else "in the form that trials chose", str(error))
    met_ms: dict[int, float] = {}
    objection = _exchanged(runner, runtime, "" if folder is None else folder.name, met_ms)
    if objection:
        runtime.close()
        return _eager_after_all(f"as {form.name}", objection)
    runtime.let_go()
    gc.collect()  # what was taken apart refers to itself
    return TakenForm(met_ms=met_ms)


def _eager_after_all(form: str, why: str) -> TakenForm:
    warning = f"the model is served as it came, not {form}: {why}"
    _LOG.warning("%s", warning)
    return TakenForm(warning)


def _wanted(runner: ModelRunner, order: FormOrder) -> tuple[ModelForm, Path | None]:
    """Which form is to be, and where its files are. Raises FormUnavailable, TuningDamaged, OSError."""
    if order.terms is None or order.told == EAGER.name:
        if order.told not in (None, EAGER.name):
            raise FormUnavailable("tuning is off")
        return EAGER, None
    folder = order.terms.folder / (order.tuning_key or _key(runner, order.terms, order.threads).name)
    try:
        result = read_checked(folder)
    except FileNotFoundError:
        if order.told is None:
            return EAGER, None  # not tried yet
        raise FormUnavailable(f"there is no result of trials in {folder}") from None
    touch(folder)
    return ModelForm.named(order.told or result.winner or EAGER.name), folder


def _key(runner: ModelRunner, terms: TuningTerms, threads: int) -> TuningKey:
    return TuningKey.here(
        terms,
        model_version=runner.description.model_version,
        device=str(runner.device),
        threads=threads,
        max_batch_size=runner.max_batch,
    )


def _exchanged(runner: ModelRunner, runtime: Runtime, tuning_key: str, met_ms: dict[int, float]) -> str:
    """Has the runner compute through `runtime` if that answers as it should; why it does not. Fills `met_ms`."""
    before = runner.runtime
    sound = made_up_sound(runner.description.input_shape)
    sounds = Payloads([sound, sound[::-1].copy()], np.ones(2, dtype=np.float32))
    wanted = result_of(runner.run, sounds)
    if isinstance(wanted, Failure):  # warm-up will say so
        return "as it came it cannot be run"
    runner.compute_through(runtime, tuning_key)
    objection = next(_objections(runner, sounds, wanted, met_ms), "")
    if objection:
        runner.compute_through(before)
    return objection


def _objections(
    runner: ModelRunner, sounds: Payloads, wanted: Answers, met_ms: dict[int, float]
) -> Iterator[str]:
    """What stands against the answers of each batch size, the largest first; `met_ms` gets what each size took.

    All that warm-up asks is asked here too, while there is something to fall back on.
    """
    allowed = FP32_MOST if runner.runtime.form.precision is Precision.FP32 else DAMAGED
    alone: list[Answers] = []
    for position in range(len(wanted)):
        found = _timed(runner, sounds.part([position]), met_ms)
        if isinstance(found, Failure):
            yield f"it raised {found.text}"
            return
        alone.append(found)
    yield from _off(np.concatenate(alone), wanted, allowed, "")
    for size in reversed(buckets(runner.max_batch)[1:]):
        positions = [position % len(wanted) for position in range(size)]
        found = _timed(runner, sounds.part(positions), met_ms)
        if not isinstance(found, Failure):
            yield from _off(found, wanted[positions], allowed, f" to a batch of {size}")
            yield from _off(found, np.concatenate(alone)[positions], runner.tolerance, f" alone and in {size}")
        elif found.fault is Fault.MEMORY:
            runner.release_memory()
        else:
            yield f"on a batch of {size} it raised {found.text}"


def _timed(runner: ModelRunner, batch: Payloads, met_ms: dict[int, float]) -> Answers | Failure:
    start_ns = now_ns()
    found = result_of(runner.run, batch)
    if not isinstance(found, Failure):
        met_ms[len(batch.samples)] = (now_ns() - start_ns) / NS_PER_MS
    return found


def _off(found: Answers, wanted: Answers, allowed: float, where: str) -> Iterator[str]:
    if not np.isfinite(found).all():
        yield f"its answers{where} are not finite"
    elif not same(found, wanted, allowed):
        yield f"its answers{where} are off by {np.abs(found - wanted).max():.2g}, more than {allowed:g}"
