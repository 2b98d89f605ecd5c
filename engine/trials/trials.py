"""One set of trials, from the lock to the result on disk: every candidate in processes of its own, one after the other.

Nothing of the model runs here, so nothing that it does ends here. Torch is not imported.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection

from engine.clock import NS_PER_S, now_ns, wall_clock_s
from engine.core.form_choice import taken_by
from engine.errors import TrialsFailed
from engine.forms import EAGER, ModelForm, Precision
from engine.tuning.candidates import TrialCandidate, candidates_for, kinder
from engine.trials.findings import TrialFindings
from engine.trials.priority import Share
from engine.trials.stage_process import StageProcess
from engine.trials.stage_request import StageKind, StageReport, StageRequest
from engine.tuning.artefacts import artefact_of
from engine.tuning.folder import TuningFolder, checksums, read
from engine.tuning.key import installed_versions, processor_name
from engine.tuning.order import TrialNews, TrialOrder
from engine.tuning.result import TuningResult

REFERENCE_SHARE = 0.6  # of the limit: without it there is nothing to compare with
CANDIDATE_SHARE = 0.4  # of the limit: what hangs costs others no more
# Times the limit, by the clock, where others have the processor and nothing better is found yet. Below the patience of
# the supervisor, which would lose what was found.
LONGEST = 9
STARVED_S = 4.0  # of waiting for the processor, then a stage begins anew with a share of it
UNTRIED = "not tried: the time for trials was over (trial_limit_s)"


class Trials:
    """`run` makes the result, once. `tell` is told what happens."""

    def __init__(
        self,
        order: TrialOrder,
        factory_fd: int | None,
        tell: Callable[[TrialNews], object],
        *,
        share: Share = Share.IDLE,
        forms: Collection[str] | None = None,
    ) -> None:
        """`factory_fd`: of the pickled factory, which stays the caller's; `forms`: names of those to try, else all."""
        self._order = order
        self._factory_fd = factory_fd
        self._tell = tell
        self._terms = order.terms
        self._findings = TrialFindings(self._terms)
        self._folder = TuningFolder(self._terms, order.key())
        self._spent_s = 0.0  # by stages, of their own time
        self._started_ns = now_ns()
        self._share = share
        self._forms = forms
        self._files: dict[str, str] = {}  # artefact -> why it could not be made; empty: it is there
        self._reference: dict[str, object] = {}  # what the reference stage has reported

    def run(self) -> None:
        """Makes the result, or finds that others have. Raises TrialsFailed, OSError without room on the disk."""
        self._tell(TrialNews(state="waiting"))
        lock = self._folder.lock(limit_s=LONGEST * self._terms.trial_limit_s)
        if lock is None:
            raise TrialsFailed("others have been trying this model for as long as trials may take")
        try:
            if read(self._folder.path) is None:
                self._make()
        finally:
            if self._folder.path.exists():
                lock.release()
            else:  # nothing that it is the lock of
                lock.remove()

    def _make(self) -> None:
        self._started_ns = now_ns()
        self._folder.begin()
        try:
            (self._folder.work / "tmp").mkdir()
            self._make_reference()
            self._try_all()
            self._folder.finish(self._result())
        finally:
            self._folder.give_up()

    # --- stages -----------------------------------------------------------------------------------------------------

    def _make_reference(self) -> None:
        self._tell(TrialNews(state="trying", candidate=EAGER.name))
        report = self._stage(StageKind.REFERENCE, share=REFERENCE_SHARE)
        if report.failed:
            raise TrialsFailed(f"the eager form cannot be measured: {report.failed}")
        self._reference = report.values
        speeds = {int(size): float(speed) for size, speed in report.values["items_per_s"].items()}
        self._findings.note_eager(speeds, report.seconds)
        self._tell(TrialNews(state="done", candidate=EAGER.name))

    def _try_all(self) -> None:
        allowed = [each.value for each in Precision if self._terms.precision in taken_by(ModelForm(precision=each))]
        possible = candidates_for(self._order.device, allowed)
        waiting = [each for each in possible if self._forms is None or each.form.name in self._forms]
        while waiting:
            candidate = waiting.pop(0)
            self._tell(TrialNews(state="trying", candidate=candidate.form.name))
            refused = self._try(candidate)
            state = "refused" if refused else "done"
            self._tell(TrialNews(state=state, candidate=candidate.form.name, text=refused))
            other = kinder(candidate.form)
            if other is not None and self._findings.was_refused_by_gate(candidate.form):
                waiting.insert(_after(waiting, candidate.form.precision), TrialCandidate(other))

    def _try(self, candidate: TrialCandidate) -> str:
        """Why it may not serve; empty if it may."""
        form = candidate.form
        reason = candidate.refused or (UNTRIED if self._left_s <= 0 else self._file_for(form))
        if reason:
            return self._findings.refuse(form, reason)
        return self._findings.note(form, self._stage(StageKind.MEASURE, form))

    def _file_for(self, form: ModelForm) -> str:
        """Has the file made that `form` is computed from, if it is not there; why it could not be, if so."""
        name = artefact_of(form)
        if not name:
            return ""
        exported = self._made(artefact_of(ModelForm(form.runtime)), StageKind.EXPORT, form, "it cannot be exported")
        if exported or form.precision is not Precision.INT8:
            return exported
        return self._made(name, StageKind.QUANTISE, form, "it cannot be quantised")

    def _made(self, name: str, kind: StageKind, form: ModelForm, blame: str) -> str:
        if name not in self._files:
            report = self._stage(kind, form)
            self._files[name] = f"{blame}: {report.failed}" if report.failed else ""
        return self._files[name]

    def _stage(self, kind: StageKind, form: ModelForm = EAGER, *, share: float | None = None) -> StageReport:
        """`share`: of the limit, as the most that it may take; None: that of a candidate."""
        own_limit_s = (share or CANDIDATE_SHARE) * self._terms.trial_limit_s
        limit_s = min(self._left_s, own_limit_s)
        report = self._run_stage(kind, form, limit_s)
        if report is None:
            self._share = Share.SMALL
            report = self._run_stage(kind, form, limit_s)
        assert report is not None, "only a stage of the idle class is given up because it starves"
        self._spent_s += report.seconds
        if report.failed and limit_s < own_limit_s and self._left_s <= 0:
            return StageReport(failed=UNTRIED, seconds=report.seconds)  # cut short, by no fault of its own
        return report

    def _run_stage(self, kind: StageKind, form: ModelForm, limit_s: float) -> StageReport | None:
        """None: in the idle class it hardly gets the processor."""
        starved_s = STARVED_S if self._share is Share.IDLE else float("inf")
        environment = {**os.environ, "TMPDIR": str(self._folder.work / "tmp")}
        with StageProcess(self._request(kind, form), self._factory_fd, environment) as process:
            return process.wait(limit_s=limit_s, clock_limit_s=self._clock_left_s, starved_s=starved_s)

    def _request(self, kind: StageKind, form: ModelForm) -> StageRequest:
        is_measured = kind is StageKind.MEASURE
        return StageRequest(
            kind=kind, order=self._order, work=str(self._folder.work), form=form.name, share=self._share,
            sounds=self._reference.get("sounds", {}),  # type: ignore[arg-type]
            eager_items_per_s=self._reference.get("items_per_s", {}),  # type: ignore[arg-type]
            worth_items_per_s=self._findings.worth_items_per_s(form) if is_measured else 0.0,
        )

    @property
    def _left_s(self) -> float:
        """Of the stages' own time."""
        return min(self._terms.trial_limit_s - self._spent_s, self._clock_left_s)

    @property
    def _clock_left_s(self) -> float:
        """By the clock: once there is a winner, what others had of the processor counts as well."""
        factor = 1 if self._findings.has_winner else LONGEST
        return factor * self._terms.trial_limit_s - self._elapsed_s

    @property
    def _elapsed_s(self) -> float:
        return (now_ns() - self._started_ns) / NS_PER_S

    # --- the result -------------------------------------------------------------------------------------------------

    def _result(self) -> TuningResult:
        choice = self._findings.choice()
        winner = choice.form
        kept = self._kept(artefact_of(winner) if winner is not None else "")
        sounds = self._reference["sounds"]
        assert isinstance(sounds, dict)
        return TuningResult(
            winner="" if winner is None else winner.name, speedup=choice.gain, reason=choice.reason,
            candidates=self._findings.results(), sounds=sounds["note"], device=self._order.device,
            processor=str(self._reference["device_name"]) or processor_name(),
            versions=dict(installed_versions()),
            finished_at_s=wall_clock_s(), seconds=self._elapsed_s, artefacts=checksums(self._folder.work, kept),
        )

    def _kept(self, artefact: str) -> list[str]:
        """Removes all files but this one and those beside it that have its weights; the names of what is left."""
        kept = []
        for each in self._folder.work.iterdir():
            if artefact and each.name.startswith(artefact):
                kept.append(each.name)
            elif each.is_dir():
                shutil.rmtree(each)
            else:
                each.unlink()
        return sorted(kept)


def _after(waiting: list[TrialCandidate], precision: Precision) -> int:
    """Behind the last that waits with this precision: another runtime may do better with the same numbers."""
    places = [place for place, each in enumerate(waiting, 1) if each.form.precision is precision]
    return max(places, default=0)
