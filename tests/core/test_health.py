"""What a process remembers of steps that failed."""

from __future__ import annotations

from engine.core.health import Health, pause_s


def test_a_step_is_in_trouble_until_it_succeeds() -> None:
    health = Health()
    health.note("key", "write", OSError("full"), 5)
    health.note("key", "write", OSError("full"), 9)
    (trouble,) = health.troubles()
    assert (trouble.step, trouble.error, trouble.since_ns, trouble.last_ns, trouble.count) == (
        *("write", "OSError: full"),
        *(5, 9, 2),
    )
    assert health.degraded
    assert health.heal("key", 20) is not None
    assert health.troubles() == []
    assert [(each.count, each.healed_ns) for each in health.recent()] == [(2, 20)]
    assert health.heal("key", 21) is None


def test_each_kind_of_failure_is_news_once() -> None:
    health = Health()
    errors = [OSError("full"), OSError("full"), OSError("read-only"), ValueError("full"), OSError("full")]
    assert [health.note("key", "write", error, 1).is_news for error in errors] == [True, False, True, True, False]
    assert health.note("another", "read", OSError("full"), 1).is_news


def test_pauses_double_up_to_a_bound() -> None:
    health = Health()
    pauses = [health.note("key", "write", OSError(), now).pause_s for now in range(1000)]
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pause_s(10**9) == 2.0


def test_what_is_remembered_is_bounded() -> None:
    health = Health()
    for number in range(5000):
        health.note(number, "write", OSError("x" * 10_000 + str(number)), number)
        health.heal(number, number)
    assert len(health.recent()) == 20
    assert len(health.recent()[-1].error) <= 1000
