"""Fields, query parameters and headers: what is allowed, what is refused, and which name the refusal gives."""

from __future__ import annotations

import pytest

from engine.clock import NS_PER_MS
from engine.config import Settings
from engine.errors import InvalidField
from frontend.predict.parameters import Parameters, caller_hash_of, deadline_of, read_parameters, request_id_of
from frontend.server.message import HttpRequest


def request_with(headers: dict[str, str], arrival_ns: int = 0) -> HttpRequest:
    return HttpRequest("POST", "/predict", "", headers, b"", "192.0.2.7", arrival_ns)


def test_nothing_given_is_the_defaults() -> None:
    defaults = Parameters(top_k=7)
    assert read_parameters("", {}, defaults) is defaults


def test_every_field_is_read_from_the_query() -> None:
    query = "top_k=2&priority=-3&segmentation=silence&overlap_s=1.5&min_confidence=0.25&deployment=other_model-1.2"
    assert read_parameters(query, {}, Parameters()) == Parameters(2, -3, "silence", 1.5, 0.25, "other_model-1.2")


def test_a_form_field_wins_over_the_query() -> None:
    assert read_parameters("top_k=2&priority=1", {"top_k": "9"}, Parameters()) == Parameters(top_k=9, priority=1)


def test_other_peoples_fields_are_ignored() -> None:
    assert read_parameters("utm=1", {"csrf_token": "x", "submit": ""}, Parameters()) == Parameters()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", "0"), ("top_k", "-1"), ("top_k", "1001"), ("top_k", "many"), ("top_k", ""), ("top_k", "2.5"),
        ("top_k", "9" * 5000), ("priority", "high"), ("priority", "101"), ("priority", "-101"),
        ("segmentation", "none"), ("segmentation", ""), ("overlap_s", "-0.1"), ("overlap_s", "nan"),
        ("overlap_s", "inf"), ("min_confidence", "1.01"), ("min_confidence", "-1"), ("min_confidence", "NaN"),
        ("deployment", ""), ("deployment", "../x"), ("deployment", "x" * 129), ("deployment", "a b"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read_parameters("", {name: value}, Parameters())
    assert caught.value.field == name
    assert name in str(caught.value)


def test_a_hostile_query_is_bounded() -> None:
    with pytest.raises(InvalidField):
        read_parameters("&".join(f"a{n}=1" for n in range(10_000)), {}, Parameters())


def test_sixty_four_kilobytes_of_query_are_refused_unread() -> None:
    with pytest.raises(InvalidField, match="8192 characters"):
        read_parameters("a=" + "%41" * 21_000, {}, Parameters())


@pytest.mark.parametrize(("priority", "level"), [(-100, -1), (-1, -1), (0, 0), (1, 1), (100, 1)])
def test_three_levels(priority: int, level: int) -> None:
    assert Parameters(priority=priority).level == level


@pytest.mark.parametrize("given", ["a", "req_001", "A.b-c_1", "x" * 128])
def test_the_callers_request_id_is_kept(given: str) -> None:
    assert request_id_of({"x-request-id": given}) == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\r\nSet-Cookie: x", "é", "a/b", "a\n"])
def test_another_request_id_is_replaced(given: str) -> None:
    made = request_id_of({"x-request-id": given})
    assert made != given and len(made) == 32
    assert made != request_id_of({})


def test_an_upload_that_took_longer_than_the_deadline_is_answered_in_time() -> None:
    """Without a time-out of its own a request is due so long after its body, however slow the link was."""
    settings = Settings()
    slow = request_with({}, arrival_ns=5)
    slow.complete_ns = 5 + 60_000 * NS_PER_MS
    assert deadline_of(slow, settings).at_ns == slow.complete_ns + settings.request_timeout_ms * NS_PER_MS


def test_a_timeout_that_the_caller_names_counts_from_the_arrival() -> None:
    short = request_with({"x-request-timeout-ms": "250"}, 5)
    assert deadline_of(short, Settings()).at_ns == 5 + 250 * NS_PER_MS


@pytest.mark.parametrize("given", ["0", "-5", "soon", "nan", "600001", "", "9" * 60_000])
def test_a_timeout_out_of_range_names_the_header(given: str) -> None:
    with pytest.raises(InvalidField) as caught:
        deadline_of(request_with({"x-request-timeout-ms": given}), Settings())
    assert caught.value.field == "X-Request-Timeout-Ms"


def test_a_caller_is_the_same_in_every_process() -> None:
    assert caller_hash_of(request_with({})) == caller_hash_of(request_with({"x-other": "1"}))
