"""The READMEs tell the rooms that there are, and the way of a request by functions that there are."""

from __future__ import annotations

import pytest

from tests.support.way import PACKAGES, ROOT, Step, contract_of, rooms_of, way_of

MOST_STEPS = 15
STEPS = sorted({step for package in PACKAGES for step in way_of(package)}, key=lambda step: (step.file, step.function))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_rooms_stand_in_their_table_as_they_stand_above_each_other(package: str) -> None:
    rooms = rooms_of(package)
    assert rooms == contract_of(package)
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    loose = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert set(rooms) == folders | loose


@pytest.mark.parametrize("package", PACKAGES)
def test_the_way_of_a_request_is_short(package: str) -> None:
    assert MOST_STEPS // 2 < len(way_of(package)) <= MOST_STEPS


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.file}:{step.function}")
def test_every_function_on_the_way_exists(step: Step) -> None:
    assert step.exists


@pytest.mark.parametrize(
    "step",
    [
        Step("engine/client/gone.py", "submit"),
        Step("engine/clock.py", "now_ms"),
        Step("engine/clock.py", "Deadline.before_s"),
        Step("engine/clock.py", "after_s"),
    ],
)
def test_a_function_that_is_gone_is_missed(step: Step) -> None:
    assert not step.exists
