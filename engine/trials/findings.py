"""What trials have found so far, and what follows of it: which forms are worth comparing, which one is to serve."""

from __future__ import annotations

from typing import Any

from engine.core.form_choice import LEAST_GAIN, SAME_SPEED, FormChoice, MeasuredForm, choose, refusal, taken_by
from engine.core.gate import Agreement, GatePolicy
from engine.forms import EAGER, ModelForm, Precision
from engine.trials.stage_request import StageReport
from engine.tuning.result import CandidateResult
from engine.tuning.terms import TuningTerms

_NOT_COMPARED = "its answers were not compared"


def policy_of(terms: TuningTerms) -> GatePolicy:
    """The thresholds of the settings."""
    return GatePolicy(
        top1=terms.gate_top1, close=terms.gate_close, within=terms.gate_within, most=terms.gate_most
    )


class TrialFindings:
    """Of one set of trials. `note` and `refuse` alone add to it, each form once."""

    def __init__(self, terms: TuningTerms) -> None:
        self._precision = terms.precision
        self._policy = policy_of(terms)
        self._measured: dict[ModelForm, MeasuredForm] = {}
        self._seconds: dict[ModelForm, float] = {}

    def note_eager(self, items_per_s: dict[int, float], seconds: float) -> None:
        """What all others are compared with; before them."""
        self._add(MeasuredForm(EAGER, items_per_s), seconds)

    def note(self, form: ModelForm, report: StageReport) -> str:
        """How the trial of a form ended; in one line what is to be said of it."""
        if report.failed:
            return self.refuse(form, report.failed, report.seconds)
        speeds = {int(size): float(speed) for size, speed in report.values["items_per_s"].items()}
        found = report.values["agreement"]
        measured = MeasuredForm(form, speeds, None if found is None else Agreement(**found))
        if found is None:
            measured = MeasuredForm(form, speeds, failed=self._too_slow(measured))
        self._add(measured, report.seconds)
        return refusal(measured, self._policy)

    def refuse(self, form: ModelForm, reason: str, seconds: float = 0.0) -> str:
        """It cannot be had, or could not be tried; returns the reason."""
        self._add(MeasuredForm(form, failed=reason), seconds)
        return reason

    def worth_items_per_s(self, form: ModelForm) -> float:
        """A form that computes less than this at its best batch size need not be compared: it would not be chosen."""
        asked_for = self._precision == form.precision.value and form.precision is not Precision.FP32
        eager = 0.0 if asked_for else LEAST_GAIN * self._eager_best
        return max([eager, *(SAME_SPEED * each.best_items_per_s for each in self._passed(form.precision))])

    def was_refused_by_gate(self, form: ModelForm) -> bool:
        """Whether its answers were compared, and are too far off."""
        measured = self._measured.get(form)
        return measured is not None and measured.agreement is not None and bool(refusal(measured, self._policy))

    def choice(self) -> FormChoice:
        """What is to serve."""
        return choose(list(self._measured.values()), self._precision, self._policy)

    @property
    def has_winner(self) -> bool:
        """Whether something better than the eager form could serve already."""
        return EAGER in self._measured and self.choice().form not in (None, EAGER)

    def results(self) -> tuple[CandidateResult, ...]:
        """Every form, in the order of the trials."""
        return tuple(map(self._result, self._measured.values()))

    @property
    def _eager_best(self) -> float:
        return self._measured[EAGER].best_items_per_s

    def _add(self, measured: MeasuredForm, seconds: float) -> None:
        self._measured[measured.form] = measured
        self._seconds[measured.form] = seconds

    def _passed(self, precision: Precision) -> list[MeasuredForm]:
        others = (each for each in self._measured.values() if each.form != EAGER)
        return [each for each in others if each.form.precision is precision and not refusal(each, self._policy)]

    def _too_slow(self, measured: MeasuredForm) -> str:
        gain = measured.best_items_per_s / self._eager_best
        better = max(self._passed(measured.form.precision), key=lambda each: each.best_items_per_s, default=None)
        if better is None or gain < LEAST_GAIN:
            return f"{gain:.2f} times as fast as the eager form: {_NOT_COMPARED}"
        return f"no faster than {better.form.name}: {_NOT_COMPARED}"

    def _result(self, measured: MeasuredForm) -> CandidateResult:
        refused, needs = refusal(measured, self._policy), ""
        if not refused and measured.form != EAGER and self._precision not in taken_by(measured.form):
            needs = "fp32" if measured.form.precision is Precision.FP32 else "auto"
            refused = f"precision={self._precision} does not take it"
        return CandidateResult(
            form=measured.form.name, items_per_s=measured.items_per_s, refused=refused, needs=needs,
            seconds=self._seconds[measured.form], **_figures(measured.agreement),
        )


def _figures(agreement: Agreement | None) -> dict[str, Any]:
    if agreement is None:
        return {}
    names = ("windows", "top1", "close", "largest")
    return {name: getattr(agreement, name) for name in names}
