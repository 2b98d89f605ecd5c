"""When trials are due, and when enough was tried: one step at a time, then thousands of lives of a deployment."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from engine.core.tuning import Finding, Tuning, TuningState, TuningStep

WINNER = "onnxruntime-fp32"
FAST = Finding(WINNER)


def looking(version: int = 1) -> Tuning:
    """`version` serves as it came."""
    tuning = Tuning()
    assert tuning.serves(version, "eager") is TuningStep.LOOK
    return tuning


def tried(version: int = 1) -> Tuning:
    """Trials of it run."""
    tuning = looking(version)
    assert tuning.looked(None) is TuningStep.TRY and tuning.state is TuningState.WAITING
    tuning.began()
    return tuning


def test_a_model_is_tried_and_the_winner_swapped_in() -> None:
    tuning = tried()
    assert tuning.ended("") is TuningStep.LOOK
    assert tuning.looked(FAST) is TuningStep.SWAP
    tuning.swaps(2)
    tuning.interrupted(2)
    assert tuning.is_busy and tuning.serves(2, WINNER) is TuningStep.LOOK  # for its figures
    assert (tuning.state, tuning.form, tuning.is_busy) == (TuningState.WON, WINNER, False)
    assert tuning.looked(FAST) is TuningStep.NOTHING


def test_what_serves_in_another_form_already_is_not_tried() -> None:
    tuning = Tuning()
    assert tuning.serves(1, WINNER) is TuningStep.LOOK
    assert tuning.looked(None) is TuningStep.NOTHING and tuning.state is TuningState.WON


def test_tuning_that_is_off_is_not_looked_at() -> None:
    tuning = Tuning()
    assert tuning.serves(1, "eager", refused="tuning=off") is TuningStep.NOTHING
    assert (tuning.state, tuning.reason) == (TuningState.OFF, "tuning=off")


def test_trials_that_failed_are_not_made_again_for_that_version_but_for_the_next() -> None:
    tuning = tried()
    assert tuning.ended("no room on the disk") is TuningStep.NOTHING
    assert (tuning.state, tuning.reason) == (TuningState.FAILED, "no room on the disk")
    tuning.interrupted(2)
    assert tuning.serves(1, "eager") is TuningStep.NOTHING and tuning.reason == "no room on the disk"
    assert tuning.serves(2, "eager") is TuningStep.LOOK


def test_trials_that_were_interrupted_are_made_when_it_serves_again() -> None:
    tuning = tried()
    tuning.interrupted(2)
    assert tuning.state is TuningState.IDLE
    assert tuning.serves(1, "eager") is TuningStep.LOOK and tuning.looked(None) is TuningStep.TRY


def test_a_result_that_cannot_be_read_is_not_tried_for_twice() -> None:
    tuning = tried()
    tuning.ended("")
    assert tuning.looked(None) is TuningStep.NOTHING and tuning.state is TuningState.FAILED


def test_no_better_form_is_no_failure() -> None:
    tuning = looking()
    assert tuning.looked(Finding("eager", "1.01 times as fast: not worth a swap")) is TuningStep.NOTHING
    assert tuning.state is TuningState.NONE and "not worth" in tuning.reason


def test_a_precision_that_cannot_be_had_stops_the_deployment() -> None:
    tuning = looking()
    assert tuning.looked(Finding("", "no form in int8")) is TuningStep.STOP and tuning.reason == "no form in int8"


def test_a_winner_that_its_version_cannot_serve_is_not_swapped_in_again() -> None:
    tuning = looking()
    tuning.looked(FAST)
    tuning.swaps(2)
    assert tuning.serves(2, "eager") is TuningStep.LOOK
    assert tuning.looked(FAST, "checksum") is TuningStep.NOTHING
    assert tuning.reason == f"{WINNER} could not be served: checksum" and not tuning.is_busy


def test_a_swap_that_fails_leaves_the_old_version_with_the_reason() -> None:
    tuning = looking()
    tuning.looked(FAST)
    tuning.swaps(2)
    assert tuning.serves(1, "eager") is TuningStep.NOTHING
    assert (tuning.state, tuning.reason) == (TuningState.FAILED, f"{WINNER} did not start")


class Life:
    """A deployment that anything may happen to, whose tuner does what it is told."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tuning = Tuning()
        self.serving, self.form = 0, "eager"
        self.starting, self.newest = 0, 0
        self.on_disk: Finding | None = None
        self.step = TuningStep.NOTHING
        self.swaps: list[int] = []  # versions that were started by the tuner
        self.ended: Counter[int] = Counter()  # trials by version
        self.running = 0

    def act(self) -> None:
        """One thing happens, and then what the tuner does about it."""
        self.random.choice((self.deploy, self.end_start, self.end_start, self.end_trial, self.lose_disk, self.work))()
        if self.serving and not self.starting:
            self.take(self.tuning.serves(self.serving, self.form))
        else:
            self.tuning.interrupted(self.starting)
        if self.running and self.tuning.version != self.running:
            self.running = 0  # it is killed

    def take(self, step: TuningStep) -> None:
        if step is not TuningStep.NOTHING:
            self.step = step

    def deploy(self) -> None:
        if self.random.random() < 0.2:
            self.start()

    def start(self) -> None:
        self.newest += 1
        self.starting = self.newest

    def end_start(self) -> None:
        if self.starting and self.random.random() < 0.8:
            self.serving = self.starting
            served = self.on_disk is not None and self.on_disk.winner and self.random.random() < 0.7
            self.form = self.on_disk.winner if served and self.on_disk is not None else "eager"
        self.starting = 0

    def end_trial(self) -> None:
        if self.running:
            self.ended[self.running] += 1
            self.running = 0
            failure = self.random.choice(("", "", "no luck"))
            if not failure:
                self.on_disk = self.random.choice((FAST, Finding("eager", "no faster"), Finding("", "refused")))
            self.take(self.tuning.ended(failure))

    def lose_disk(self) -> None:
        if self.random.random() < 0.1:
            self.on_disk = None

    def work(self) -> None:
        """What the tuner was told last, if it still counts."""
        step, self.step = self.step, TuningStep.NOTHING
        if not self.serving or self.starting or self.tuning.version != self.serving:
            return
        if step is TuningStep.LOOK:
            self.take(self.tuning.looked(self.on_disk))
        elif step is TuningStep.TRY and self.tuning.state is TuningState.WAITING:
            self.tuning.began()
            self.running = self.serving
        elif step is TuningStep.SWAP:
            assert self.serving not in self.swaps, "swapped again, for what it could not serve"
            self.start()
            self.swaps.append(self.newest)
            self.tuning.swaps(self.newest)
        elif step is TuningStep.STOP:
            self.serving = 0

    def check(self) -> None:
        tuning = self.tuning
        assert (tuning.version == 0) == (tuning.state is TuningState.IDLE)
        assert (tuning.state is TuningState.RUNNING) == bool(self.running)
        assert tuning.reason or tuning.state is not TuningState.FAILED
        assert not self.ended or max(self.ended.values()) == 1, "tried again, unasked"


@pytest.mark.parametrize("seed", range(20))
def test_thousands_of_lives_end_tuned_or_with_a_reason(seed: int) -> None:
    for number in range(100):
        life = Life(1000 * seed + number)
        life.start()
        for _ in range(life.random.randrange(60)):
            life.act()
            life.check()
        if not life.serving and not life.starting:
            continue
        orders = life.newest
        for _ in range(60):  # nobody orders anything any more, and nothing fails
            if life.starting:
                life.serving, life.starting = life.starting, 0
                life.form = life.on_disk.winner if life.on_disk is not None and life.on_disk.winner else "eager"
            if not life.serving:
                break
            life.take(life.tuning.serves(life.serving, life.form))
            if life.running:
                life.running, life.on_disk = 0, FAST
                life.take(life.tuning.ended(""))
            life.work()
            if life.starting:
                life.tuning.interrupted(life.starting)
        assert not life.serving or not life.tuning.is_busy, (life.tuning.state, life.step)
        assert life.newest - orders <= 2  # what was swapping, and one swap to what was found
