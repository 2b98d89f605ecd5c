"""Where the time of one request went: the header Server-Timing, and what is remembered of the request."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from engine.client import Item
from engine.clock import NS_PER_MS, NS_PER_S
from engine.observe.answered import PARTS, UNKNOWN_NS
from frontend.predict.dialect import Prediction
from frontend.server.message import HttpRequest


class RequestTiming(NamedTuple):
    """`parts_ns`: as `AnsweredRequest` has them; those that are known are together `total_ns`."""

    end_ns: int
    total_ns: int
    parts_ns: tuple[int, ...]

    def header(self) -> str:
        """Durations in milliseconds of the parts that the request had, and of the whole."""
        if UNKNOWN_NS not in self.parts_ns:  # of nearly every request
            receive, decode, cache, queue, compute, answer = self.parts_ns
            return _ALL_KNOWN % (
                receive / NS_PER_MS, decode / NS_PER_MS, cache / NS_PER_MS, queue / NS_PER_MS, compute / NS_PER_MS,
                answer / NS_PER_MS, self.total_ns / NS_PER_MS,
            )  # fmt: skip
        known = [part_ns != UNKNOWN_NS for part_ns in self.parts_ns]
        durations = [part_ns / NS_PER_MS for part_ns in self.parts_ns if part_ns != UNKNOWN_NS]
        return _form(tuple(known)) % (*durations, self.total_ns / NS_PER_MS)


@functools.lru_cache(maxsize=64)
def _form(known: tuple[bool, ...]) -> str:
    names = [name for name, is_known in zip(PARTS, known, strict=True) if is_known]
    return ", ".join(f"{name};dur=%.3f" for name in (*names, "total"))


_ALL_KNOWN = _form((True,) * len(PARTS))


def timing_of_computed(
    prediction: Prediction, answers: Sequence[Item], request: HttpRequest, end_ns: int
) -> RequestTiming:
    """Of an answer that was computed for this request. Of several windows the slowest one counts.

    Handing over, and what lies between the parts, is in "answer".
    """
    slowest = answers[0] if len(answers) == 1 else max(answers, key=_computed_s)
    decode_ns = max(0, prediction.decoded_ns - request.complete_ns - request.cache_ns)
    return _timing(
        request, end_ns, decode_ns, request.cache_ns,
        int(slowest.queue_s * NS_PER_S), int(slowest.compute_s * NS_PER_S),
    )  # fmt: skip


def timing_of_known(request: HttpRequest, end_ns: int) -> RequestTiming:
    """Of an answer that had been computed before, or for another request."""
    return _timing(request, end_ns, 0, request.cache_ns, 0, 0)


def timing_of_other(request: HttpRequest, end_ns: int) -> RequestTiming:
    """Of a refusal, or of what somebody else has answered."""
    return _timing(request, end_ns, UNKNOWN_NS, request.cache_ns or UNKNOWN_NS, UNKNOWN_NS, UNKNOWN_NS)


def _computed_s(answer: Item) -> float:
    return answer.queue_s + answer.compute_s


def _timing(
    request: HttpRequest, end_ns: int, decode_ns: int, cache_ns: int, queue_ns: int, compute_ns: int
) -> RequestTiming:
    total_ns = max(0, end_ns - request.arrival_ns)
    receive_ns = max(0, request.complete_ns - request.arrival_ns)
    known_ns = receive_ns + sum([part for part in (decode_ns, cache_ns, queue_ns, compute_ns) if part > 0])
    # Windows of one recording are computed beside each other: only then can the parts be more than the whole.
    answer_ns = max(0, total_ns - known_ns)
    return RequestTiming(end_ns, total_ns, (receive_ns, decode_ns, cache_ns, queue_ns, compute_ns, answer_ns))
