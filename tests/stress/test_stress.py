"""Random SIGKILL on real producers and consumers: no answer wrong, lost or doubled, and nobody waits on the dead."""

from __future__ import annotations

import os
import random

import pytest

from tests.stress.arena import Arena, Plan

SEED = int(os.environ.get("NIGHTSCAN_STRESS_SEED", "0")) or random.randrange(1, 1 << 30)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(seed=SEED, handovers=20_000, kill_every_s=0.4, at_least_kills=12), id="many-deaths"),
        pytest.param(Plan(seed=SEED + 1, handovers=4_000, slots=1, max_batch=1, at_least_kills=4), id="one-slot"),
    ],
)
def test_every_request_gets_its_own_answer_once(plan: Plan) -> None:
    print(f"NIGHTSCAN_STRESS_SEED={plan.seed}")
    outcome = Arena(plan).run()
    print(outcome)
    assert not outcome.wrong
    assert outcome.answered >= plan.handovers
    assert outcome.consumer_deaths + outcome.producer_deaths >= plan.at_least_kills
