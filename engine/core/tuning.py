"""What becomes of tuning one deployment: when trials are due, what their end asks for, when enough was tried.

A version that serves as the model came is looked up in what earlier trials have found. Where nothing was found trials
are made, once for each version; what they found is served by another version of the same plan. Whatever goes wrong, the
model as it came serves on: only a `precision` that was asked for and that trials have refused stops the deployment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engine.forms import EAGER


class TuningState(str, Enum):
    """Where the tuning of a deployment is."""

    OFF = "off"  # it is not asked for
    IDLE = "idle"  # no version serves that could be tuned, or another one is about to
    LOOKING = "looking"  # for what trials have found already
    WAITING = "waiting"  # for the trials of another deployment to end
    RUNNING = "running"  # trials are made
    SWAPPING = "swapping"  # a version in the form that won is being started
    WON = "won"  # that form serves
    NONE = "none"  # no other form may serve, or is faster
    FAILED = "failed"  # there are no trials, or not the form that they found: the reason says why


class TuningStep(str, Enum):
    """What is to be done next."""

    NOTHING = "nothing"
    LOOK = "look"  # read what trials have found
    TRY = "try"  # start trials as soon as no others run
    SWAP = "swap"  # start a version in the form that won
    STOP = "stop"  # take the deployment out of service, with the reason


@dataclass(frozen=True, slots=True)
class Finding:
    """What complete trials have found."""

    winner: str  # name of a form; empty: the precision that was asked for cannot be had
    reason: str = ""  # why so, or why the eager form stays; one line


class Tuning:
    """Of one deployment. Changed by its methods alone, each of which says what is to be done next.

    Equation: `version` is 0 if and only if the state is IDLE.
    """

    def __init__(self) -> None:
        self.state = TuningState.IDLE
        self.version = 0  # the one that this is about, which serves
        self.form = EAGER.name  # that serves
        self.winner = ""  # the form that trials have chosen, as far as they are known
        self.reason = ""  # of FAILED, NONE and OFF, one line
        self._next = 0  # number of the version that is started in the form that won
        self._tried: dict[int, str] = {}  # versions whose trials have ended, with what to say of it if they failed
        self._made: set[int] = set()  # versions that were started in a form that had won

    @property
    def is_busy(self) -> bool:
        """Whether the form that serves may still change without anybody's order."""
        return self.state in _BUSY

    def serves(self, version: int, form: str, *, refused: str = "") -> TuningStep:
        """`version` serves in `form`, and no other is being started. May be said as often as one likes.

        `refused`: why it is not to be tuned.
        """
        if version == self.version and self.state is not TuningState.SWAPPING:
            return TuningStep.NOTHING
        failed = self.state is TuningState.SWAPPING and version == self.version
        self.version, self.form, self._next = version, form, 0
        if failed:
            return self._fail(f"{self.winner} did not start")
        if refused:
            return self._become(TuningState.OFF, reason=refused)
        if form != EAGER.name:
            self.winner = form
            self._become(TuningState.WON)
            return TuningStep.LOOK  # for the figures
        self.winner = ""
        if self._tried.get(version):
            return self._fail(self._tried[version])
        return self._become(TuningState.LOOKING, TuningStep.LOOK)

    def interrupted(self, starting: int = 0) -> None:
        """Nothing serves, or `starting` is about to take its place: it may be tuned once it serves."""
        if self.state is TuningState.SWAPPING and starting == self._next:
            return
        self.version, self._next = 0, 0
        self._become(TuningState.IDLE)

    def looked(self, finding: Finding | None, told: str = "") -> TuningStep:
        """What earlier trials have found of the version that serves: None for nothing that could be used.

        `told`: what its instances say of a form that they could not serve.
        """
        if self.state is not TuningState.LOOKING:
            return TuningStep.NOTHING
        if finding is None:
            if self.version in self._tried:
                return self._fail(f"what trials found cannot be read{_because(told)}")
            return self._become(TuningState.WAITING, TuningStep.TRY)
        self.winner = finding.winner
        if not finding.winner:
            return self._become(TuningState.FAILED, TuningStep.STOP, reason=finding.reason)
        if finding.winner == EAGER.name:
            return self._become(TuningState.NONE, reason=finding.reason)
        if self.version in self._made:
            return self._fail(f"{finding.winner} could not be served{_because(told)}")
        return TuningStep.SWAP

    def began(self) -> None:
        """Trials run."""
        self._become(TuningState.RUNNING)

    def ended(self, failure: str) -> TuningStep:
        """Trials of the version that serves are over; empty: there is a result on disk."""
        self._tried[self.version] = failure
        if failure:
            return self._fail(failure)
        return self._become(TuningState.LOOKING, TuningStep.LOOK)

    def look_again(self) -> None:
        """What `looked` has asked for could not be done, and will be asked for once more."""
        self._next = 0
        self._become(TuningState.LOOKING)

    def swaps(self, version: int) -> None:
        """`version` is being started in the form that won."""
        self._next = version
        self._made.add(version)
        self._become(TuningState.SWAPPING)

    def _fail(self, reason: str) -> TuningStep:
        return self._become(TuningState.FAILED, reason=reason)

    def _become(
        self, state: TuningState, step: TuningStep = TuningStep.NOTHING, *, reason: str = ""
    ) -> TuningStep:
        self.state, self.reason = state, reason
        return step


_BUSY = (TuningState.LOOKING, TuningState.WAITING, TuningState.RUNNING, TuningState.SWAPPING)


def _because(told: str) -> str:
    return f": {told}" if told else ""
