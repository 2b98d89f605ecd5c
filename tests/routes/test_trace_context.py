"""The caller's own trace: the header is believed to the letter, or not at all."""

from __future__ import annotations

import pytest

from engine.observe.answered import TraceParent
from frontend.predict.trace_context import trace_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [(GOOD, True), (GOOD[:-1] + "0", False), (GOOD[:-2] + "fe", False), ("cc" + GOOD[2:], True),
     ("cc" + GOOD[2:] + "-what-comes-later", True)],
)  # fmt: skip
def test_a_trace_is_taken_over(header: str, sampled: bool) -> None:
    assert trace_of({"traceparent": header}) == TraceParent(bytes.fromhex(TRACE), bytes.fromhex(SPAN), sampled)


@pytest.mark.parametrize(
    "header",
    [
        "", "00", GOOD.upper(), GOOD + "-", GOOD + "-more", "ff" + GOOD[2:], f" {GOOD}", GOOD + "\n", GOOD[:-1],
        GOOD.replace(TRACE, "0" * 32), GOOD.replace(SPAN, "0" * 16), GOOD.replace("-", "_"), GOOD.replace("b", "g", 1),
        f"00-{TRACE[:-1]}٣-{SPAN}-01", "cc" + GOOD[2:] + "-" + "x" * 300, "cc" + GOOD[2:] + "x",
    ],
)  # fmt: skip
def test_anything_else_is_as_nothing(header: str) -> None:
    assert trace_of({"traceparent": header}) is None


def test_most_say_nothing() -> None:
    assert trace_of({}) is None
