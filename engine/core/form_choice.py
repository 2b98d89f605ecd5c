"""Which of the measured forms of a model serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.core.gate import Agreement, GatePolicy, verdict
from engine.forms import EAGER, ModelForm, Precision, RuntimeName

# A swap loads the model a second time beside the first, and leaves behind all that was cached of its answers; and forms
# that are measured in turn differ by 2 to 3 % where nothing differs. Less than this is no gain that anybody would see.
LEAST_GAIN = 1.05
# Of forms as fast as each other within this, the most exact serves, and of these the one that needs least installed.
# Without it two runs of the same trials would swap between them.
SAME_SPEED = 1.03
# How much slower than eager a window that comes alone may be: callers who send one at a time must not pay for those
# who send many.
LEAST_ALONE = 0.95

_EXACTNESS = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
_RUNTIMES = (RuntimeName.TORCH, RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO)


@dataclass(frozen=True, slots=True)
class MeasuredForm:
    """What trials found out about one form."""

    form: ModelForm
    items_per_s: Mapping[int, float] = field(default_factory=dict)  # by batch size; those that fit
    agreement: Agreement | None = None  # with the eager form; None: not compared
    failed: str = ""  # why it could not be measured

    @property
    def best_items_per_s(self) -> float:
        """At the batch size where it computes most; 0: not measured."""
        return max(self.items_per_s.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class FormChoice:
    """What is to serve under one setting of `precision`."""

    form: ModelForm | None  # None: the precision that was asked for cannot be had
    gain: float = 1.0  # times the items a second of the eager form
    reason: str = ""  # why there is none, or why the eager form stays


def refusal(measured: MeasuredForm, policy: GatePolicy) -> str:
    """Why this form may not serve under any setting; empty: it may. The eager form always may."""
    if measured.form == EAGER:
        return ""
    if measured.failed:
        return measured.failed
    if measured.agreement is None:
        return "its answers were not compared"
    return verdict(measured.agreement, policy, measured.form.precision)


def taken_by(form: ModelForm) -> tuple[str, ...]:
    """The settings of `precision` that allow this form once the gate has passed it."""
    return ("fp32", "auto") if form.precision is Precision.FP32 else ("auto", form.precision.value)


def choose(measured: Sequence[MeasuredForm], precision: str, policy: GatePolicy) -> FormChoice:
    """The form that serves under this setting. `measured`: the eager form among them.

    With `fp32` and `auto` the eager form stays unless another is faster by LEAST_GAIN. A precision asked for by its
    name is served even where it is no faster: whoever names one wants it.
    """
    eager = next(each for each in measured if each.form == EAGER)
    candidates = [each for each in measured if each.form != EAGER and precision in taken_by(each.form)]
    passed = [each for each in candidates if not refusal(each, policy)]
    if precision not in ("fp32", "auto"):
        if not passed:
            return FormChoice(None, reason=f"no form in {precision}: " + _reasons(candidates, policy))
        return _chosen(_fastest(passed), eager)
    faster = [each for each in passed if _pays(each, eager)]
    if faster:
        return _chosen(_fastest(faster), eager)
    if passed:
        best = _fastest(passed)
        return FormChoice(EAGER, reason=f"{best.form.name} is {_gain(best, eager):.2f} times as fast: not worth a swap")
    return FormChoice(EAGER, reason=_reasons(candidates, policy))


def _pays(candidate: MeasuredForm, eager: MeasuredForm) -> bool:
    alone, eager_alone = candidate.items_per_s.get(1, 0.0), eager.items_per_s.get(1, 0.0)
    return _gain(candidate, eager) >= LEAST_GAIN and alone >= LEAST_ALONE * eager_alone


def _gain(candidate: MeasuredForm, eager: MeasuredForm) -> float:
    return candidate.best_items_per_s / eager.best_items_per_s if eager.best_items_per_s else 1.0


def _chosen(winner: MeasuredForm, eager: MeasuredForm) -> FormChoice:
    return FormChoice(winner.form, _gain(winner, eager))


def _fastest(candidates: Sequence[MeasuredForm]) -> MeasuredForm:
    """The most exact of those that are as fast as the fastest. `candidates`: at least one."""
    best = max(each.best_items_per_s for each in candidates)
    return min((each for each in candidates if each.best_items_per_s * SAME_SPEED >= best), key=_rank)


def _rank(candidate: MeasuredForm) -> tuple[int, int, str]:
    form = candidate.form
    return _EXACTNESS.index(form.precision), _RUNTIMES.index(form.runtime), form.variant


def _reasons(candidates: Iterable[MeasuredForm], policy: GatePolicy) -> str:
    refused = [f"{each.form.name}: {refusal(each, policy)}" for each in candidates]
    return "; ".join(refused) or "no candidate was tried"
